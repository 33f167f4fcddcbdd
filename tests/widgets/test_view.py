"""What widgets share: nothing is left behind or lost; the browser of errors, and the inspector of stamps."""

import gc
import json
import re
import weakref
from types import SimpleNamespace

import ipywidgets as ipw
import numpy as np
import pytest
import widget_driver
from conftest import module, refused
from IPython.core.events import EventManager
from ipywidgets.widgets.widget import _instances

import blendkit as bk
from blendkit.data.cleaning import read_decisions
from blendkit.figures.hover import errors_plotly
from blendkit.figures.stamps import worst_rows
from blendkit.widgets.view import shown_errors

# eight round galaxies, ids 10 to 17, each with a neighbour
stamps = module(lambda make_sample: make_sample(8, sigma=2.5, neighbours=((18, 18, 20.0),)))
path = pytest.fixture(lambda tmp_path: tmp_path / "deep" / "decisions.csv")
browser = pytest.fixture(lambda accepted, twenty: bk.ErrorsBrowser(accepted, *twenty))


def click(browser, trace, point):
    """What the browser page sends when a point is clicked."""
    points = {"trace_indexes": [trace], "point_indexes": [point], "xs": [0.0], "ys": [0.0]}
    browser.figure._js2py_pointsCallback = {"event_type": "plotly_click", "points": points, "device_state": None}


def test_a_click_shows_that_blend(browser, accepted, twenty):
    blends, _ = twenty
    click(browser, 1, 13)
    assert (browser.row, browser.method.value) == (13, "exact")
    (image,), (true,), _ = bk.render(accepted, blends[13:14])
    shown, sent = browser.view.shown, {panel["name"]: panel for panel in browser.view.panels}
    assert list(sent) == ["blend", "true", "masks", "central", "companion", "left"]
    for name in ("true", "masks"):
        code = np.frombuffer(sent[name]["pixels"], np.uint8).reshape(image.shape)
        np.testing.assert_array_equal(code, true[..., 0] + 2 * true[..., 1])
    np.testing.assert_array_equal(np.frombuffer(sent["blend"]["pixels"], np.float32), image.ravel())
    assert [owner for _, owner in shown["blend"].outlines] == [0, 1]
    assert abs(shown["left"].pixels).max() < 1e-5  # the two images are all of the blend
    assert f"Row 13, {blends['distance'][13]:.1f} pixels apart" in browser.facts.value
    ring, second = browser.figure.data[-1], browser.figure.data[1]
    assert (ring.x[1], ring.y[1]) == (second.x[13], second.y[13])


def test_a_method_without_masks_shows_what_it_has(browser, accepted, twenty):
    blends, predictions = twenty
    browser.show(2, "exact")
    click(browser, 0, 2)
    shown = browser.view.shown
    assert "masks" not in shown
    parts = bk.render_parts(accepted, blends[2:3])[0]
    left = parts.sum(axis=-1) - parts @ (predictions["fluxes"]["flux"][2] / blends["flux"][2])
    np.testing.assert_allclose(shown["left"].pixels, left, atol=1e-5)
    refused(lambda: browser.show(20), "expected")
    browser.show(4)
    assert "it did not measure the companion" in browser.facts.value
    assert list(browser.figure.data[-1].y) == [0.0]  # Jupyter sends no NaN


def test_buttons_go_through_the_worst_and_stop_at_the_ends(browser, twenty):
    blends, predictions = twenty
    order, seen = worst_rows(blends, predictions["fluxes"], "companion").tolist(), [browser.row]
    for _ in order:
        browser.buttons["less bad"].click()
        seen.append(browser.row)
    assert seen == [*order, order[-1]]
    browser.buttons["worse"].click()
    assert browser.row == order[-2]
    assert "rank 19 of 20 for fluxes" in browser.facts.value


def test_lists_change_what_is_plotted(browser, twenty):
    browser.by.value, browser.member.value = "distance", "central"
    expected = errors_plotly(*twenty, "distance", "central")
    for shown, trace in zip(browser.figure.data, expected.data, strict=False):
        np.testing.assert_array_equal([shown.x, shown.y], [trace.x, trace.y])
        assert shown.name == trace.name
    titles = [(fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) for fig in (browser.figure, expected)]
    assert titles[0] == titles[1]
    browser.method.value = "exact"
    assert "masks of exact" in browser.view.shown["masks"].caption


@pytest.mark.parametrize("act", [
    lambda b: click(b, 1, 3), lambda b: b.buttons["worse"].click(), lambda b: setattr(b.by, "value", "distance"),
], ids=["click", "button", "list"])  # fmt: skip
def test_a_broken_callback_is_said_and_recorded(browser, errors, monkeypatch, act):
    for name in ("render", "worst_rows", "errors_plotly"):
        monkeypatch.setattr(f"blendkit.widgets.browser.{name}", lambda *_: {}["planted"])
    act(browser)
    assert "planted" in browser.message.value
    assert errors.pop()["type"] == "KeyError"


def test_without_a_kernel_there_are_plot_and_picture(browser):
    bundle = browser._repr_mimebundle_()
    assert "image/png" in bundle
    assert len(bundle["application/vnd.plotly.v1+json"]["data"]) == 3


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


@pytest.fixture(params=["BlendExplorer", "StampInspector", "ErrorsBrowser"])
def make(request, accepted, twenty, tmp_path):
    rest = {"StampInspector": (tmp_path / "decisions.csv",), "ErrorsBrowser": twenty}.get(request.param, ())
    return lambda: getattr(bk, request.param)(accepted, *rest)


def test_a_closed_one_takes_all_its_parts_and_its_memory_along(make):
    gone = weakref.ref(widget := make())
    widget.close()
    del widget
    gc.collect()
    assert (gone(), len(_instances)) == (None, 0)


def test_a_cell_that_runs_again_frees_what_it_showed(make, monkeypatch):
    shell = SimpleNamespace(kernel=SimpleNamespace(), user_ns={}, events=EventManager(None, ["post_run_cell"]))
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    a, b, unknown, new = ([make() for _ in range(n)] for n in (2, 2, 1, 1))
    for run, (cell, shown) in enumerate([("a", a), ("b", b), ("b", b), ("", unknown), ("", b), ("a", new)]):
        assert all(widget.comm for widget in (*a, *b))
        shell.kernel.get_parent = lambda c=cell, r=run: {"metadata": {"cellId": c}, "header": {"msg_id": r}}
        for widget in shown:
            widget._repr_mimebundle_()
        shell.events.trigger("post_run_cell", None)
    assert [bool(widget.comm) for widget in (*a, *b, *unknown, *new)] == [False] * 2 + [True] * 4


def test_driving_leaves_it_as_it_was(make, drive, tmp_path):
    before = (widget := make())._repr_mimebundle_()
    drive()
    assert widget._repr_mimebundle_() == before
    assert [*tmp_path.iterdir()] == []  # nothing is decided


def test_shown_errors_says_records_and_goes_on(tmp_path, monkeypatch, errors):
    file, message = tmp_path / "errors.jsonl", ipw.HTML()
    monkeypatch.setenv(widget_driver.FILE_VARIABLE, str(file))
    callback = shown_errors("dividing", message)(lambda x: 1 / x)
    assert callback(0) is None
    assert all(said in message.value for said in ("(dividing): division by zero", 'role="alert"'))
    assert json.loads(file.read_text()) == errors[0]
    widget_driver.record("again", error := ValueError("x"))
    widget_driver.record("and again", error)
    assert len(errors) == 2
    errors.clear()
    assert (callback(2), message.value) == (0.5, "")
