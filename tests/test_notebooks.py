"""Every notebook, run headless on synthetic and on real galaxies, with the numbers that it shows."""

import json
import math
import os
import shutil
import tomllib

import pytest

from blendkit.data.remote import data_folder
from blendkit.lessons.exercises import WORDS
from tools import run_notebooks as runner
from tools.notebook_numbers import NUMBERS

# value and tolerance for each number on synthetic galaxies, and on those of hst-drizzled; the same seed gives the same
# galaxies, tolerances allow for other libraries
EXPECTED = {
    "01_clean_the_sample": {
        "galaxies": ((200, 0), (96, 0)), "kept": ((179, 3), (91, 2)), "truth.n": ((177, 3), None)},
    "02_build_blends": {
        "blends": ((300, 0), (300, 0)), "median_distance": ((17, 4), None),
        "step.zero_outside": ((0.0060, 0.0002), (0.0060, 0.0002))},
    "02b_how_a_network_learns": {
        "mape.blend2flux": ((10.9, 2), (22.5, 4)), "mape.SExtractor": ((17.4, 4), (21.4, 6)),
        "last": ((40, 10), (43, 12))},
    "03_train_networks": {
        "blends": ((300, 0), (300, 0)), "galaxies.train": ((107, 3), (56, 2)), "total_mape": ((4.3, 0.7), (4.3, 0.7)),
        "half_each_mape": ((52, 8), (60, 10)), "networks.blend2flux.parameters": ((25_274, 0), (25_274, 0)),
        "networks.blend2flux.mape_central": ((40, 12), (49, 14)),
        "networks.unet.iou_central": ((0.46, 0.15), (0.48, 0.15)),
        "networks.fractions.mape_central": ((22, 8), (20, 8)), "networks.fractions.mape_companion": ((18, 7), (27, 9)),
        "sep.mape_central": ((14.5, 4), (16, 5)), "sep.mape_companion": ((19, 5), (25, 7))},
    "04_compare_methods": {
        "cases.both": ((0.80, 0.05), (0.74, 0.06)), "cases.more": ((0.06, 0.03), None),
        "scores.SEP isophotal, central.mape_flux": ((22, 4), (17, 5)),
        "scores.SEP Kron, central.mape_flux": ((79, 12), (118, 25)),
        "scores.SEP Kron, neighbour masked, central.mape_flux": ((15, 4), (16, 5)),
        "scores.SEP Kron, neighbour masked, companion.mape_flux": ((20, 5), (23, 7)),
        "scores.SEP Kron, neighbour masked, companion.scatter": ((0.39, 0.12), None),
        "exam.fractions.mean": ((6.0, 1.5), (7.1, 1.5)), "exam.blend2flux.mean": ((10.8, 2), (18.8, 3)),
        "exam.blend2mask2flux.mean": ((11.1, 2), (14.6, 3)), "exam.SExtractor.mean": ((23.2, 4), (29.7, 6)),
        "iou.fractions": ((0.81, 0.03), (0.82, 0.04)), "iou.unet": ((0.78, 0.03), (0.74, 0.04)),
        "iou.blend2mask2flux": ((0.71, 0.05), (0.71, 0.05)),
        "published.blend2flux": ((0.1203, 0.0001), (0.1203, 0.0001))},
    "05_trust_the_numbers": {
        "blends": ((24, 0), (24, 0)), "SEP.off 0.median": ((11.3, 4), (17.7, 5)),
        "fractions.off 0.median": ((2.2, 1.0), (4.5, 1.5)), "crowd.bias": ((0.17, 0.08), (0.03, 0.05)),
        "crowd.plain": ((0.43, 0.12), (0.09, 0.05)), "flags.ordinary": ((0.0, 0.09), (0.04, 0.09)),
        "flags.strange": ((1.0, 0.1), (0.96, 0.13))},
    "06_your_own_method": {
        "blends": ((300, 0), (300, 0)), "ranking.two Sérsic profiles.mape_all": ((6.4, 2), None),
        "ranking.fractions.mape_all": ((7.9, 2), (5.7, 2)), "ranking.half a turn.median": ((16.9, 5), None),
        "lone.two or more found, pixels only": ((12.0, 3), (11.1, 4))},
}  # fmt: skip
BOTH, NOTEBOOKS = ("central", "companion"), runner.ROOT / "notebooks"
TASKS = tomllib.loads(WORDS.read_text(encoding="utf-8"))["exercises"]


@pytest.fixture(scope="module")
def catalogue_at_hand(published_csv):
    """The published catalogue where `load_published` would have downloaded it to."""
    place = data_folder() / "coindeblend" / published_csv.name
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_suffix(f".{os.getpid()}")
    shutil.copyfile(published_csv, draft)
    os.replace(draft, place)


@pytest.fixture(scope="module", params=["synthetic", "hst"])
def run(request, tmp_path_factory, catalogue_at_hand):
    """The results of all notebooks on one sample: (name, folder). The two samples run side by side."""
    sample = "synthetic" if request.param == "synthetic" else str(request.getfixturevalue("drizzled_folder"))
    results = tmp_path_factory.mktemp(f"results-{request.param}")
    assert runner.main(["--sample", sample, "--profile", "quick", "--results", str(results)]) == 0
    return request.param, results


def numbers(folder, notebook):
    """The numbers of a notebook, nested names joined by dots."""
    return flat(json.loads((folder / f"{notebook}.json").read_text()))


def flat(value, name=""):
    if not isinstance(value, dict):
        return {name.removeprefix("."): value}
    return {k: v for key, item in value.items() for k, v in flat(item, f"{name}.{key}").items()}


def exercises(path, tag):
    """Heading, number as tagged, and what was printed, of each exercise in a notebook."""
    heading = ""
    for cell in json.loads(path.read_text())["cells"]:
        source, tags = "".join(cell["source"]), cell["metadata"].get("tags", [])
        heading = source if source.startswith("### ") else heading
        if tag in tags:
            assert source.endswith(f'\n\nbk.lessons.check("{tags[1]}", answer);')
            said = [line for output in cell["outputs"] for line in output.get("text", [])]
            yield heading.splitlines()[0], tags[1], said


def test_exercises_and_solutions_agree_and_solutions_pass(tmp_path):
    solutions, titles = sorted((NOTEBOOKS / "solutions").glob("*.ipynb")), {}
    assert [path.name for path in solutions] == [f"{notebook}.ipynb" for notebook in EXPECTED]
    arguments = ["--sample", "synthetic", "--profile", "quick", "--results", str(tmp_path)]
    assert runner.main([*arguments, *map(str, solutions)]) == 0
    for path in solutions:
        asked, solved = exercises(NOTEBOOKS / path.name, "exercise"), [*exercises(tmp_path / path.name, "solution")]
        assert [row[:2] for row in asked] == [row[:2] for row in solved]
        assert 3 <= len(solved) <= 5
        titles |= {number: heading for heading, number, _ in solved}
        assert [said for _, number, said in solved if TASKS[number]["right"] not in "".join(said[-1:])] == []
    assert titles == {number: f"### {number} · {task['title']}" for number, task in TASKS.items()}


def test_unanswered_exercises_say_what_is_expected(run):
    for notebook in EXPECTED:
        for _, number, said in exercises(run[1] / f"{notebook}.ipynb", "exercise"):
            assert len(said) == 1
            assert TASKS[number]["expects"] in said[0]


def test_every_notebook_has_numbers_to_compare():
    notebooks = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    assert [path.stem for path in notebooks] == sorted(NUMBERS) == sorted(EXPECTED)
    cells = [cell for path in notebooks[3:] for cell in json.loads(path.read_text())["cells"]]
    lines = [line.rstrip() for cell in cells if cell["cell_type"] == "code" for line in cell["source"]]
    assert max(map(len, lines)) <= 105, "at 1280 pixels JupyterLab scrolls longer lines sideways"


@pytest.mark.parametrize("notebook", EXPECTED)
def test_numbers_are_the_expected_ones(run, notebook):
    shown, which = numbers(run[1], notebook), run[0] == "hst"
    expected = {key: pair[which] for key, pair in EXPECTED[notebook].items() if pair[which]}
    wrong = {key: (shown[key], *pair) for key, pair in expected.items() if not abs(shown[key] - pair[0]) <= pair[1]}
    assert not wrong, "number: (shown, expected, tolerance)"


def test_laws_of_cleaning_hold(run):
    shown = numbers(run[1], "01_clean_the_sample")
    types = [shown[f"table1.{kind}"] for kind in ("sph", "disk", "sphd", "irr")]
    assert shown["kept"] <= shown["galaxies"]
    assert shown["table1.total"] == [shown["galaxies"], shown["kept"]] == [sum(n) for n in zip(*types, strict=True)]
    assert abs(shown["truth.bias"]) < 0.5
    assert shown["truth.scatter"] < 1
    assert shown["truth.caught_edge"] == 100


def test_laws_of_blending_hold(run):
    shown = numbers(run[1], "02_build_blends")
    assert shown["shared_galaxies"] == 0
    assert shown["largest_flux_difference"] < 1e-5
    assert 0 <= shown["least_inside"] <= 1
    assert shown["step.zero_inside"] / shown["step.zero_outside"] == pytest.approx(math.sqrt(2), rel=0.03)
    assert shown["step.sky_inside"] / shown["step.sky_outside"] == pytest.approx(1, rel=0.03)


def test_laws_of_learning_hold(run):
    shown = numbers(run[1], "02b_how_a_network_learns")
    assert shown["parameters"][0] == shown["parameters"][1], "the network on the page is the paper's"
    assert shown["last"] < 0.9 * shown["first"]
    assert shown["mape.blend2flux"] < shown["mape.ten lines"] / 1.5


def test_laws_of_training_hold(run):
    shown = numbers(run[1], "03_train_networks")
    for name in ("blend2flux", "unet", "blend2mask2flux", "fractions"):
        of = {key.removeprefix(f"networks.{name}."): value for key, value in shown.items() if f".{name}." in key}
        assert of["last_loss"] < of["first_loss"]
        assert of["best_val_loss"] <= of["first_val_loss"]
        assert [n + failed for n, failed in zip(of["n"], of["failed"], strict=True)] == [shown["blends"]] * 2
        assert name == "blend2flux" or all(0 <= of[f"iou_{member}"] <= 1 for member in BOTH)
        assert shown[f"shown.{name}"] < sum(of[f"mape_{member}"] for member in BOTH) / 2, "a short training stands back"
    assert shown["shown.fractions"] < sum(shown[f"sep.mape_{member}"] for member in BOTH) / 4
    assert shown["iou.blend2mask2flux"] < shown["iou.unet"] < shown["iou.fractions"]
    for member in BOTH:
        ours, plain = (shown[f"networks.{name}.mape_{member}"] for name in ("fractions", "blend2flux"))
        assert ours < plain / 1.5
        assert ours < shown["half_each_mape"] / 2
    assert shown["total_mape"] < shown["half_each_mape"] / 4
    assert shown["fixed.loss"] < shown["fixed.val_loss"]  # memory
    assert shown["fixed.loss"] < shown["fresh.loss"]
    assert shown["fixed.val_loss"] - shown["fixed.loss"] > shown["fresh.val_loss"] - shown["fresh.loss"]
    assert shown["leak.n"] + shown["leak.failed"] == 4 * shown["blends"]
    assert shown["leak.difference"] > 0
    assert shown["table2.8.parameters"] == shown["networks.blend2flux.parameters"]


def test_laws_of_comparing_hold(run):
    shown = numbers(run[1], "04_compare_methods")
    assert sum(shown[key] for key in shown if key.startswith("cases.")) == pytest.approx(1)
    for member in BOTH:
        for method in ("SEP isophotal", "SEP Kron", "SEP Kron, neighbour masked"):
            assert sum(shown[f"scores.{method}, {member}.{name}"] for name in ("n", "failed")) == shown["blends"]
        plain, masked = (shown[f"scores.SEP Kron{how}, {member}.mape_flux"] for how in ("", ", neighbour masked"))
        assert plain > 2 * masked
    means = {key.split(".")[1]: shown[key] for key in shown if key.startswith("exam.") and key.endswith(".mean")}
    assert min(means, key=means.get) == "fractions"
    assert means["fractions"] < means["SExtractor"] / 2
    for method in means:  # networks always answer, if in one of hundreds with a companion that is not there
        assert (shown[f"exam.{method}.not found"] > 0.5) == (method == "SExtractor")
    assert shown["iou.blend2mask2flux"] < shown["iou.unet"] < shown["iou.fractions"]  # flux training spoils masks
    published = [f"{shown[f'published.{name}']:.3f}" for name in ("blend2flux", "blend2mask2flux", "SExtractor")]
    assert published == ["0.120", "0.111", "0.542"]


def test_laws_of_ones_own_method_hold(run):
    shown = numbers(run[1], "06_your_own_method")
    for member in BOTH:
        one, two = shown[f"calibration.{member}"]
        assert 0.5 < one < 0.85 < two <= 1
    assert sorted(shown[key] for key in shown if key.endswith(".rank")) == [1, 2, 3, 4, 5]
    assert shown["ranking.half a turn.mape_all"] > 2 * shown["ranking.fractions.mape_all"]
    assert shown["ranking.two Sérsic profiles.mape"] < shown["ranking.SExtractor.mape"]
    of = {key.removeprefix("lone."): value for key, value in shown.items() if key.startswith("lone.")}
    assert of["one found, pixels only"] > 1.5 * of["one found, told both"]  # the help counts where one was found
    assert of["two or more found, pixels only"] < 1.2 * of["two or more found, told both"]


def test_laws_of_trust_hold(run):
    shown = numbers(run[1], "05_trust_the_numbers")
    for where in ("units 0.001", "units 1e+06", "level -1", "level 1"):  # it measures noise and level itself
        assert shown[f"fractions.{where}.median"] == pytest.approx(shown["fractions.units 1.median"], rel=0.01)
    assert shown["SEP.level 1.median"] > 1.3 * shown["SEP.level 0.median"]
    assert shown["fractions.third 0.median"] > shown["fractions.third inf.median"]
    assert abs(shown["crowd.bias"]) < shown["crowd.plain"] / 2
    assert shown["flags.strange"] > shown["flags.ordinary"] + 0.7


def test_scoreboard_shows_both_worlds_with_errors(run):
    name, results = run
    text = (results / "scoreboard.txt").read_text()
    assert "real HST galaxies" in text or name == "hst"
    assert "synthetic, alike in magnitude and size" in text
    rows = [line for line in text.splitlines() if line.startswith("SEP")]
    assert len(rows) == (18 if name == "synthetic" else 12)
    assert (results / "scoreboard.ecsv").is_file()


def test_pages_are_left_for_reading(run):
    for notebook in EXPECTED:
        page = (run[1] / f"{notebook}.html").read_text(encoding="utf-8")
        assert "data:image/png" in page
        assert "Traceback" not in page
        assert "_widget_driver" not in page
