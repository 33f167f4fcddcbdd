"""Widgets: real buttons are clicked, real sliders moved, and view and state compared after each step."""

import asyncio
import base64
import json
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import ipywidgets as ipw
import numpy as np
import pytest
from astropy.table import Table

import blendkit as bk
from blendkit.cleaning import read_decisions
from blendkit.widgets import errors

SKY = 0.006


@pytest.fixture(scope="module")
def stamps():
    """Eight round galaxies of 21st to 22nd magnitude, the last one with a neighbour."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:64, :64]
    mag = np.linspace(21, 22, 8)
    images = rng.normal(0, SKY, (8, 64, 64))
    segmaps = np.zeros((8, 64, 64), np.uint8)
    for image, segmap, m in zip(images, segmaps, mag, strict=True):
        image += 10 ** (-0.4 * (m - 25.96)) * np.exp(-((x - 32) ** 2 + (y - 32) ** 2) / 18) / (18 * np.pi)
        segmap[(x - 32) ** 2 + (y - 32) ** 2 < 80] = 3
    images[7] += np.exp(-((x - 50) ** 2 + (y - 50) ** 2) / 8)
    segmaps[7][(x - 50) ** 2 + (y - 50) ** 2 < 40] = 5
    catalog = Table(
        {
            "id": np.arange(10, 18),
            "mag": mag,
            "r_eff": np.full(8, 3.5),
            "morphology": ["sph", "disk"] * 4,
            "segval": np.full(8, 3),
        }
    )
    return bk.Sample(images.astype(np.float32), segmaps, catalog)


@pytest.fixture(scope="module")
def galaxies(stamps):
    return bk.clean(stamps, n_jobs=1, decisions={i: "accept" for i in range(10, 18)})


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No widgets and no errors from other tests; the hooks that `watch` installs are taken away again."""
    ipw.Widget.close_all()
    errors.ERRORS.clear()
    monkeypatch.delenv(errors.FILE_VARIABLE, raising=False)
    for owner, name in (
        (threading, "excepthook"),
        (ThreadPoolExecutor, "submit"),
        (Future, "result"),
        (Future, "exception"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    yield
    errors.ERRORS.clear()


def view(explorer):
    """Everything that the explorer shows."""
    painted = {name: panel.painted(1.0).tobytes() for name, panel in explorer._panels().items()}
    return painted | {"answer": explorer.answer.value, "pair": explorer.view.pair, "stamps": explorer.view.stamps}


def drive():
    asyncio.run(errors.drive(timeout=60))


def driven_errors():
    with pytest.raises(errors.WidgetError) as caught:
        drive()
    return str(caught.value)


# the explorer


def test_moving_a_slider_changes_pictures_recipe_and_answer(galaxies):
    explorer = bk.BlendExplorer(galaxies)
    for slider, value in (
        (explorer.dx, -9),
        (explorer.dy, 14),
        (explorer.dmag, 1.5),
        (explorer.dx, 31),
        (explorer.dy, -31),
    ):
        before = view(explorer)
        slider.value = value
        after = view(explorer)
        assert after["blend"] != before["blend"]
        assert after["companion"] != before["companion"]
        assert after["central"] == before["central"]
        row = explorer.recipe[0]
        assert [row["dx"], row["dy"], row["dmag"]] == [explorer.dx.value, explorer.dy.value, explorer.dmag.value]
        assert [row["central"], row["companion"]] == [explorer.central.value, explorer.companion.value]
        for shown, rendered in zip(explorer.render(), bk.render(galaxies, explorer.recipe), strict=True):
            np.testing.assert_array_equal(shown, rendered)
    assert not errors.ERRORS


def test_sep_answers_in_words_one_object_and_two(galaxies):
    explorer = bk.BlendExplorer(galaxies)
    explorer.dx.value, explorer.dy.value = 20, 0
    assert "SEP sees two objects" in explorer.verdict.value
    assert "right within 2 %" in explorer.answer.value
    explorer.dx.value = 1
    assert "SEP sees one object" in explorer.verdict.value
    assert "not measured" in explorer.answer.value


def test_a_galaxy_with_itself_is_a_sentence_and_the_pictures_stay(galaxies):
    explorer = bk.BlendExplorer(galaxies)
    before, recipe = view(explorer), explorer.recipe
    explorer.companion.value = explorer.central.value
    assert 'role="alert"' in explorer.message.value
    assert "choose two different ones" in explorer.message.value
    assert view(explorer) == before
    assert explorer.recipe is recipe
    assert [str(explorer.central.value), str(explorer.companion.value)] == explorer.view.pair
    explorer.companion.value = next(i for _, i in explorer.companion.options if i != explorer.central.value)
    assert explorer.message.value == ""
    assert not errors.ERRORS


def test_surprise_and_reset(galaxies):
    explorer = bk.BlendExplorer(galaxies)
    start, values = view(explorer), [c.value for c in explorer._all]
    explorer.surprise.click()
    assert view(explorer) != start
    assert explorer.recipe["central"][0] == explorer.central.value
    explorer.reset.click()
    assert [c.value for c in explorer._all] == values
    assert view(explorer) == start


def test_sliders_end_where_blends_end(galaxies):
    explorer = bk.BlendExplorer(galaxies)
    assert (explorer.dx.min, explorer.dx.max, explorer.dy.min, explorer.dy.max) == (-31, 31, -31, 31)


def test_every_control_has_a_description_and_a_tooltip(galaxies):
    explorer = bk.BlendExplorer(galaxies)
    for control in (*explorer._all, explorer.surprise, explorer.reset):
        assert control.description
        assert control.tooltip


def test_own_deblenders_answer_beside_sep_with_errors_and_a_failure_is_told(galaxies):
    def half(images):
        images -= 1.0  # in place: the picture must not notice
        if half.broken:
            raise RuntimeError("no weights <b>")
        return Table({
            "flux_central": [10.0], "flux_companion": [np.nan], "flux_central_err": [1.0], "flux_companion_err": [1.0]
        })  # fmt: skip

    half.broken = False
    explorer = bk.BlendExplorer(galaxies, half)
    assert ">half<" in explorer.answer.value
    assert f"{galaxies.zeropoint - 2.5:.2f} ± 0.11 mag, Δmag" in explorer.answer.value
    half.broken = True
    explorer.dx.value = 3
    assert "half does not answer: no weights &lt;b&gt;" in explorer.message.value
    assert "SEP sees" in explorer.verdict.value
    assert ">half<" not in explorer.answer.value
    assert errors.ERRORS[0]["message"] == "no weights <b>"
    half.broken = False
    explorer.dx.value = 4
    assert explorer.message.value == ""
    explorer.asked["half"].value = False
    assert ">half<" not in explorer.answer.value
    own = bk.BlendExplorer(galaxies, {"SEP": half})  # a name that the explorer uses itself
    assert ">SEP<" in own.answer.value
    assert "SEP sees" in own.verdict.value


def test_methods_by_name_are_made_when_first_asked(galaxies, monkeypatch):
    assert list(bk.BlendExplorer(galaxies).asked) == []  # of another size than those of the shipped network
    monkeypatch.setattr(galaxies, "images", np.pad(galaxies.images, ((0, 0), (32, 32), (32, 32))))
    monkeypatch.setattr(galaxies, "segmaps", np.pad(galaxies.segmaps, ((0, 0), (32, 32), (32, 32))))
    monkeypatch.setattr(galaxies, "sky_stamps", np.zeros((2, 128, 128), np.float32))
    made = []
    answer = Table({"flux_central": [1.0], "flux_companion": [1.0]})
    monkeypatch.setattr("blendkit.widgets.explorer.by_name", lambda name: made.append(name) or (lambda images: answer))
    explorer = bk.BlendExplorer(galaxies)
    assert list(explorer.asked) == ["fractions"]
    assert made == []
    explorer.asked["fractions"].value = True
    explorer.dx.value = 3
    assert made == ["fractions"]
    assert ">fractions<" in explorer.answer.value
    assert list(bk.BlendExplorer(galaxies, ["sersic"]).asked) == ["sersic"]
    with pytest.raises(ValueError, match="there is no method 'fraction'"):
        bk.BlendExplorer(galaxies, ["fraction"])


async def until(condition):
    """Wait until it is true, which may take a while on a busy machine."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


def test_late_answers_are_dropped(galaxies):
    answers, gate = [], threading.Event()

    def slow(images):
        answers.append(images.sum())
        if len(answers) == 2:
            gate.wait(20)
        return Table({"flux_central": [10.0 ** len(answers)], "flux_companion": [1.0]})

    def at():
        return explorer.view.found["at"][2]

    def said():
        return explorer.answer.value.partition(">slow<")[2].partition("</tr>")[0]

    async def play():
        explorer.dx.value = 3
        await until(lambda: len(answers) == 2)  # now the second question is being answered
        explorer.dx.value = 4
        await until(lambda: at() == 4)  # SEP does not wait for the others
        assert explorer.view.found["waiting"]
        assert ">…<" in said()
        gate.set()
        await until(lambda: not explorer.view.found["waiting"])
        assert f"{galaxies.zeropoint - 2.5 * 3:.2f} mag" in said()
        explorer.dx.value = 5
        explorer.dx.value = 6
        await until(lambda: at() == 6 and not explorer.view.found["waiting"])

    explorer, told = bk.BlendExplorer(galaxies, slow), []
    explorer.view.observe(lambda change: told.append(change.new["at"][2]), "found")
    asyncio.run(play())
    assert told == sorted(told)
    assert len(answers) == 4  # nobody was asked about the shift that did not last
    assert not errors.ERRORS


def test_a_method_that_hangs_does_not_silence_sep(galaxies):
    gate = threading.Event()

    def hang(images):
        if hang.hanging:
            gate.wait(20)
        return Table({"flux_central": [1.0], "flux_companion": [1.0]})

    async def play():
        hang.hanging = True
        for dx in range(3, 9):
            explorer.dx.value = dx
            await until(lambda dx=dx: explorer.view.found["at"][2] == dx)
        assert sum(thread.name == "blendkit: hang" for thread in threading.enumerate()) == 1
        explorer.asked["hang"].value = False
        await until(lambda: not explorer.view.found["waiting"])
        gate.set()
        await until(lambda: not any(thread.name == "blendkit: hang" for thread in threading.enumerate()))

    hang.hanging = False
    explorer = bk.BlendExplorer(galaxies, [hang])
    assert list(explorer.asked) == ["hang"]
    asyncio.run(play())
    assert not errors.ERRORS


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"flux_central": [np.inf], "flux_companion": [-1.0], "flux_central_err": [np.inf]}, ""),
        ({"flux_central": [1.0], "flux_companion": [1.0], "masks": np.zeros((1, 3, 3, 2), bool)}, "masks of shape"),
        (SystemExit("bye"), "odd does not answer: bye"),
    ],
)
def test_odd_answers(galaxies, answer, sentence):
    def odd(images):
        if isinstance(answer, BaseException):
            raise answer
        return Table(answer)

    explorer = bk.BlendExplorer(galaxies, {"odd": odd})
    assert sentence in explorer.message.value
    assert bool(sentence) == bool(errors.ERRORS)
    assert "inf" not in explorer.answer.value
    errors.ERRORS.clear()


def test_ids_may_be_as_long_as_those_of_surveys(galaxies):
    long = galaxies[:4]
    long.catalog["id"] = np.arange(4) + 1234567890123456789
    explorer = bk.BlendExplorer(long)
    explorer.surprise.click()
    assert explorer.view.pair == [str(explorer.recipe[name][0]) for name in ("central", "companion")]
    assert not errors.ERRORS


def test_surprise_where_no_two_galaxies_are_alike(galaxies):
    two = galaxies[[0, 7]]
    two.catalog["mag"] = [20.0, 25.0]
    explorer = bk.BlendExplorer(two)
    for _ in range(3):
        explorer.surprise.click()
    assert explorer.message.value == ""
    assert not errors.ERRORS


def test_the_line_names_the_readers_sample(galaxies, monkeypatch):
    import IPython

    shell = type("Shell", (), {"user_ns": {"_3": galaxies, "mine": galaxies}})
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    assert bk.BlendExplorer(galaxies).view.called == "mine"
    assert bk.BlendExplorer(galaxies[:3]).view.called == "sample"


def test_extra_noise_is_in_the_pixels_and_not_in_the_recipe(galaxies):
    explorer = bk.BlendExplorer(galaxies)
    clean = explorer.render()[0]
    np.testing.assert_array_equal(clean, bk.render(galaxies, explorer.recipe)[0])
    explorer.extra_noise.value = 2.0
    more = explorer.render()[0] - clean
    assert more.dtype == np.float32
    assert more.std() == pytest.approx(2 * explorer.view.sigma, rel=0.1)


def test_the_truth_hides_until_the_reader_has_guessed(galaxies):
    explorer = bk.BlendExplorer(galaxies)
    explorer.hide.value = True
    assert "write down your guesses" in explorer.verdict.value
    assert list(explorer._panels()) == ["blend"]
    both = explorer.recipe["flux_central"][0] + explorer.recipe["flux_companion"][0]
    assert f"together have {galaxies.zeropoint - 2.5 * np.log10(both):.2f} mag" in explorer.verdict.value
    assert "mag" not in "".join(name for name, _ in explorer.central.options)
    assert "mag" not in "".join(explorer.pickers[0].names)
    assert explorer.view.found == {}
    explorer.dx.value = 9
    assert "SEP" not in explorer.verdict.value + explorer.answer.value
    flux = explorer.recipe["flux_central"][0]
    explorer.guesses[0].value = f"{galaxies.zeropoint - 2.5 * np.log10(flux):.3f}".replace(".", ",")
    explorer.guesses[1].value = "bright"
    explorer.hide.value = False
    you = explorer.answer.value.partition(">you<")[2]
    assert "right within 2 %" in you
    assert "bright is no magnitude" in you
    explorer.guesses[1].value = "-99"
    assert "-99 is no magnitude" in explorer.answer.value
    explorer.surprise.click()
    assert [text.value for text in explorer.guesses] == ["", ""]
    assert ">you<" not in explorer.answer.value
    assert "mag" in explorer.central.options[0][0]


def test_thumbnails_and_lists_choose_the_same(galaxies):
    explorer = bk.BlendExplorer(galaxies)
    free = next(k for k, i in enumerate(explorer._offered) if str(i) not in explorer.view.pair)
    explorer.pickers[1].index = free
    assert explorer.companion.value == explorer.recipe["companion"][0] == explorer._offered[free]
    explorer.central.value = next(i for i in explorer._offered if i != explorer.companion.value)
    assert explorer._offered[explorer.pickers[0].index] == explorer.central.value


def test_page_without_kernel_gets_a_picture(galaxies, tmp_path):
    for widget in (bk.BlendExplorer(galaxies), bk.StampInspector(galaxies, tmp_path / "d.csv")):
        bundle = widget._repr_mimebundle_()
        assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
        assert "application/vnd.jupyter.widget-view+json" in bundle


def test_one_galaxy_is_refused(galaxies):
    with pytest.raises(ValueError, match="at least two"):
        bk.BlendExplorer(galaxies[0])


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_explorer_starts_with_two_different_galaxies(galaxies, n):
    few = galaxies[:n]
    explorer = bk.BlendExplorer(few)
    assert explorer.central.value != explorer.companion.value
    assert explorer.message.value == ""
    for i in few.catalog["id"]:
        for given in ({"central": i}, {"companion": i}):
            explorer = bk.BlendExplorer(few, **given)
            assert explorer.recipe[next(iter(given))][0] == i
            assert explorer.central.value != explorer.companion.value


def test_explorer_starts_and_resets_with_the_galaxies_given(galaxies):
    explorer = bk.BlendExplorer(galaxies, central=16, companion=11)
    explorer.surprise.click()
    explorer.reset.click()
    assert (explorer.central.value, explorer.companion.value) == (16, 11)
    assert (explorer.recipe["central"][0], explorer.recipe["companion"][0]) == (16, 11)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [({"central": 5}, "not in the sample"), ({"companion": 5}, "not in the sample"),
     ({"central": 11, "companion": 11}, "galaxy 11 was given as both central and companion")],
)  # fmt: skip
def test_explorer_needs_two_different_galaxies_of_the_sample(galaxies, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        bk.BlendExplorer(galaxies, **given)


def test_explorer_says_what_its_magnitudes_are(galaxies):
    explorer = bk.BlendExplorer(galaxies)
    assert explorer.dmag.description == "magnitude offset"
    assert "Positive = fainter" in explorer.dmag.tooltip
    assert "Kron fluxes" in explorer.answer.value
    assert "neighbour masked" in explorer.answer.value


def test_drive_leaves_the_explorer_as_it_was(galaxies):
    errors.watch()
    explorer = bk.BlendExplorer(galaxies)
    before = view(explorer)
    drive()
    assert view(explorer) == before


# the inspector


def test_inspector_saves_each_decision_and_clean_honours_it(stamps, tmp_path):
    path = tmp_path / "deep" / "decisions.csv"
    inspector = bk.StampInspector(stamps, path)
    assert "1 of 8</b>, 0 decided" in inspector.progress.value
    inspector.buttons["reject"].click()
    assert path.read_text().split() == ["id,decision", "10,reject"]
    assert "2 of 8</b>, 1 decided" in inspector.progress.value
    picture = inspector.view.panels[0]
    inspector.buttons["accept"].click()
    assert inspector.view.panels[0] != picture
    assert read_decisions(path) == {10: "reject", 11: "accept"}
    assert [p.name for p in path.parent.iterdir()] == ["decisions.csv"]
    report = bk.clean(stamps, decisions=path, n_jobs=1).report
    assert list(report["kept"][:2]) == [False, True]
    assert report["reason"][0] == "rejected by eye"


def test_inspector_goes_on_where_it_stopped(stamps, tmp_path):
    path = tmp_path / "decisions.csv"
    path.write_text("id,decision\n99,accept\n10,accept\n11,reject\n")
    inspector = bk.StampInspector(stamps, path)
    assert inspector.current == 12
    inspector.buttons["back"].click()
    assert inspector.current == 11
    assert "rejected" in inspector.facts.value
    inspector.buttons["accept"].click()
    assert read_decisions(path) == {99: "accept", 10: "accept", 11: "accept"}


def test_inspector_obeys_keys_and_tells_the_end(stamps, tmp_path):
    inspector = bk.StampInspector(stamps, tmp_path / "d.csv", ids=[17, 12])
    assert inspector.current == 17
    for key, current in (("ArrowRight", 12), ("ArrowRight", 12), ("ArrowLeft", 17), ("a", 12), ("r", 12)):
        inspector.keys_widget._handle_custom_msg({"key": key}, [])
        assert inspector.current == current
    assert inspector.decisions == {17: "accept", 12: "reject"}
    assert "All are decided" in inspector.progress.value
    assert not errors.ERRORS


def test_inspector_says_how_to_start_over(stamps, tmp_path):
    inspector = bk.StampInspector(stamps, tmp_path / "d.csv")
    assert "To start over, delete d.csv and run this cell again." in inspector.keys_widget.hint


def test_inspector_shows_what_the_checks_found(stamps, tmp_path):
    report = bk.clean(stamps, n_jobs=1).report
    report["flags"] = report["flags"].astype("U40")
    report["flags"][0] = "at the edge"
    inspector = bk.StampInspector(stamps, tmp_path / "d.csv", report=report)
    assert "checks: at the edge" in inspector.facts.value


def test_inspector_replaces_neighbours_in_the_second_picture(stamps, tmp_path):
    inspector = bk.StampInspector(stamps, tmp_path / "d.csv", ids=[17])
    assert inspector.view.panels[0] != inspector.view.panels[1]


def test_inspector_shows_a_stamp_without_sky(stamps, tmp_path):
    full = stamps[[0, 1]]
    full.segmaps = np.where(full.segmaps == 0, np.uint8(9), full.segmaps)
    inspector = bk.StampInspector(full, tmp_path / "d.csv")
    inspector.buttons["reject"].click()
    assert inspector.decisions == {10: "reject"}


def test_inspector_needs_ids_of_the_sample(stamps, tmp_path):
    with pytest.raises(ValueError, match="not in the sample"):
        bk.StampInspector(stamps, tmp_path / "d.csv", ids=[5])
    with pytest.raises(ValueError, match="at least one"):
        bk.StampInspector(stamps, tmp_path / "d.csv", ids=[])


def test_driving_an_inspector_decides_nothing(stamps, tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("id,decision\n10,accept\n")
    inspector = bk.StampInspector(stamps, path)
    new = bk.StampInspector(stamps, tmp_path / "new.csv")
    drive()
    assert path.read_text() == "id,decision\n10,accept\n"
    assert inspector.decisions == {10: "accept"}
    assert inspector.current == 11
    assert not (tmp_path / "new.csv").exists()
    assert not new.decisions


# recorded, watch, drive


def test_recorded_says_writes_and_goes_on(tmp_path, monkeypatch):
    file, message = tmp_path / "errors.jsonl", ipw.HTML()
    monkeypatch.setenv(errors.FILE_VARIABLE, str(file))
    callback = errors.recorded("dividing", message)(lambda x: 1 / x)
    assert callback(0) is None
    assert "Something went wrong (dividing): division by zero" in message.value
    assert 'role="alert"' in message.value
    (line,) = file.read_text().splitlines()
    assert json.loads(line) == errors.ERRORS[0]
    assert {"where", "type", "message", "traceback"} <= set(errors.ERRORS[0])
    assert callback(2) == 0.5
    assert message.value == ""


def test_recorded_coroutine():
    @errors.recorded("answering")
    async def answer():
        raise LookupError("late")

    asyncio.run(answer())
    assert errors.report(errors.ERRORS).startswith("answering: LookupError: late (test_widgets.py, line")


def test_drive_is_quiet_when_all_is_well():
    slider, seen = ipw.IntSlider(3, 0, 10), []
    slider.observe(lambda change: seen.append(change.new), "value")
    drive()
    assert seen == [0, 10, 3]


def controls():
    return {
        "IntSlider": (ipw.IntSlider(3, 0, 10), 10),
        "FloatLogSlider": (ipw.FloatLogSlider(value=10, base=10, min=0, max=3), 1000),
        "IntRangeSlider": (ipw.IntRangeSlider(value=(2, 4), min=0, max=9), (9, 9)),
        "Dropdown": (ipw.Dropdown(options=["a", "b", "c"], value="b"), "c"),
        "SelectMultiple": (ipw.SelectMultiple(options=["a", "b"], value=("a", "b")), ("b",)),
        "SelectionRangeSlider": (ipw.SelectionRangeSlider(options=[1, 2, 3], index=(0, 1)), (3, 3)),
        "Checkbox": (ipw.Checkbox(False), True),
    }


@pytest.mark.parametrize("kind", controls())
def test_drive_finds_an_error_at_one_end_of(kind):
    control, bad = controls()[kind]
    start = control.value

    def callback(change):
        assert change.new != bad, "the far end"

    control.observe(callback, "value")
    message = driven_errors()
    assert f"{kind} set to" in message
    assert "AssertionError: the far end" in message
    assert message.count("\n") == 0
    assert control.value == start


def test_drive_leaves_disabled_controls_alone():
    slider = ipw.IntSlider(disabled=True)
    slider.observe(lambda change: 1 / 0, "value")
    drive()


def test_drive_finds_a_button_whose_error_ipywidgets_only_logs():
    errors.watch()
    button = ipw.Button(description="go")
    button.on_click(lambda b: 1 / 0)
    assert "Button 'go' clicked: ZeroDivisionError" in driven_errors()


def test_drive_finds_what_interactive_output_raises():
    errors.watch()
    slider = ipw.IntSlider(3, 0, 10)
    ipw.interactive_output(lambda x: 1 / (x - 10), {"x": slider})
    assert "ZeroDivisionError" in driven_errors()


def test_drive_finds_an_error_that_an_output_widget_captured():
    ipw.Output(outputs=({"output_type": "error", "ename": "KeyError", "evalue": "'mag'", "traceback": []},))
    assert driven_errors() == "output widget: KeyError: 'mag'"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_drive_waits_for_a_thread_and_finds_its_error():
    errors.watch()
    slider, gate = ipw.IntSlider(3, 0, 10), threading.Event()

    def background(value):
        gate.wait(0.05)
        assert value != 10, "background"

    slider.observe(lambda change: threading.Thread(target=background, args=(change.new,)).start(), "value")
    assert "IntSlider set to 10: AssertionError: background" in driven_errors()


def test_drive_finds_a_failed_executor_job_that_nobody_looked_at():
    errors.watch()
    button = ipw.Button()
    with ThreadPoolExecutor(1) as pool:
        looked_at = pool.submit(int, "no number")
        assert isinstance(looked_at.exception(), ValueError)
        button.on_click(lambda b: pool.submit(lambda: 1 / 0))
        message = driven_errors()
    assert "executor job: ZeroDivisionError" in message
    assert "ValueError" not in message


@pytest.mark.parametrize("held", [False, True], ids=["dropped", "held"])
def test_drive_finds_a_failed_task(held):
    errors.watch()
    slider, tasks = ipw.IntSlider(3, 0, 10), []

    async def answer(value):
        await asyncio.sleep(0.02)
        assert value != 10, "in the task"

    def start(change):
        task = asyncio.get_running_loop().create_task(answer(change.new))
        if held:
            tasks.append(task)

    slider.observe(start, "value")
    assert "background task" in (message := driven_errors())
    assert "AssertionError: in the task" in message
    assert message.count("in the task") == 1


def test_drive_does_not_wait_for_ever():
    button = ipw.Button()
    button.on_click(lambda b: button.tasks.append(asyncio.get_running_loop().create_task(asyncio.sleep(60))))
    button.tasks = []
    with pytest.raises(errors.WidgetError, match=r"no answer within 0\.1 s"):
        asyncio.run(errors.drive(timeout=0.1))


def test_watch_records_errors_in_comm_messages():
    from comm.base_comm import BaseComm, CommManager

    errors.watch()
    manager = CommManager()
    comm = BaseComm.__new__(BaseComm)
    comm.comm_id, comm.handle_msg = "x", lambda msg: 1 / 0
    manager.register_comm(comm)
    manager.comm_msg(None, None, {"content": {"comm_id": "x"}})
    assert errors.ERRORS[0]["type"] == "ZeroDivisionError"


def test_watch_twice_records_once():
    errors.watch()
    hook = threading.excepthook
    errors.watch()
    assert threading.excepthook is hook
    errors.record("first", error := ValueError("x"))
    errors.record("second", error)
    assert len(errors.ERRORS) == 1


def test_importing_blendkit_does_not_load_ipywidgets():
    code = "import sys, blendkit, blendkit.samples; sys.exit('ipywidgets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
