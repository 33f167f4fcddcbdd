"""The inspector: every decision is saved at once, by button or key."""

import re

import pytest
from conftest import module, refused

import blendkit as bk
from blendkit.data.cleaning import read_decisions

# eight round galaxies, ids 10 to 17, each with a neighbour
stamps = module(lambda make_sample: make_sample(8, sigma=2.5, neighbours=((18, 18, 20.0),)))
path = pytest.fixture(lambda tmp_path: tmp_path / "deep" / "decisions.csv")


def test_each_decision_is_saved_and_honoured_by_clean(stamps, path):
    inspector = bk.StampInspector(stamps, path)
    assert "1 of 8</b>, 0 decided" in inspector.progress.value
    before, after = inspector.view.panels
    assert before["pixels"] != after["pixels"]  # the neighbour is replaced
    assert [outline["owner"] for outline in before["contours"]] == [0, 1]  # a neighbour may lie inside the galaxy
    inspector.buttons["reject"].click()
    assert path.read_text().split() == ["id,decision", "10,reject"]
    assert "2 of 8</b>, 1 decided" in inspector.progress.value
    inspector.buttons["accept"].click()
    assert inspector.view.panels[0] != before
    assert read_decisions(path) == {10: "reject", 11: "accept"}
    assert [p.name for p in path.parent.iterdir()] == ["decisions.csv"]
    report = bk.clean(stamps, decisions=path, n_jobs=1).report
    assert list(report["kept"][:2]) == [False, True]
    report["flags"] = ["at the edge"] * 8
    assert "checks: at the edge" in bk.StampInspector(stamps, path, report=report).facts.value


def test_it_starts_with_the_kept_ones_counts_them_and_jumps(stamps, path):
    report = bk.clean(stamps, decisions=dict.fromkeys((10, 11, 13), "reject"), n_jobs=1).report
    inspector = bk.StampInspector(stamps, path, report=report)
    for button, current, counts in (("back", 12, "150853"), ("reject", 14, "251844"), ("back", 12, "151844")):
        inspector.buttons[button].click()
        assert (inspector.current, "".join(re.findall(r"\d", inspector.progress.value)[2:])) == (current, counts)
    for name, ids in {"dropped": [10, 11, 12, 13], "decided by eye": [12], "kept": [14, 15, 16, 17]}.items():
        inspector.shown.value = name
        assert inspector.chosen == ids
    for text, current, name in (("4", 17, "kept"), ("16", 16, "kept"), ("10", 10, "all"), ("8", 17, "all")):
        inspector.jump.value = text
        assert (inspector.current, inspector.shown.value, inspector.jump.value) == (current, name, "")
    inspector.jump.value = "9"
    assert (inspector.current, bool(inspector.message.value)) == (17, True)


def test_it_goes_on_where_it_stopped(stamps, tmp_path):
    path = tmp_path / "decisions.csv"
    path.write_text("id,decision\n99,accept\n10,accept\n17,reject\n")
    inspector = bk.StampInspector(stamps, path, ids=[17, 12])
    assert inspector.current == 12
    for button, current in (("next", 12), ("back", 17), ("accept", 12), ("reject", 12)):
        inspector.buttons[button].click()
        assert inspector.current == current
    assert read_decisions(path) == {99: "accept", 10: "accept", 17: "accept", 12: "reject"}
    refused(lambda: bk.StampInspector(stamps, path, ids=[5]), "not in the sample")


def test_a_stamp_without_sky_is_shown(make_sample, path):
    full = make_sample(2)
    full.segmaps[full.segmaps == 0] = 9
    assert bk.StampInspector(full, path).view.panels[1]["pixels"] == full.images[0].tobytes()
