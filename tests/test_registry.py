"""The registry: any method beside the others, and one clear sentence for each that is none."""

import functools
import inspect
import subprocess
import sys

import numpy as np
import pytest
from astropy.table import Table

import blendkit as bk
from blendkit import deblenders, metrics, published, sersic, tables, weights
from blendkit.deblenders import SEP, measure, register, registered


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(deblenders, "_REGISTERED", {})


@pytest.fixture(scope="module")
def scene(make_sample):
    sample = make_sample(6)
    blends = bk.draw_blends(sample, 5, seed=1, separation=(4, 6))
    return blends, bk.render(sample, blends, masks=False)[0]


def half_each(images):
    light = images.sum(axis=(1, 2)) / 2
    return Table({"flux_central": light, "flux_companion": light})


class TestRegister:
    def test_as_a_function_and_as_a_decorator(self, scene):
        assert register("half", half_each) is half_each

        @register("twice")
        def twice(images):
            return {"flux_central": np.ones(len(images)), "flux_companion": np.ones(len(images))}

        assert registered()[-2:] == ("half", "twice")
        tables = measure(scene[1], ["twice", "half"])
        assert list(tables) == ["twice", "half"]
        assert (tables["half"]["flux_central"] == half_each(scene[1])["flux_central"]).all()
        assert twice(np.zeros((3, 2, 2)))["flux_central"].sum() == 3, "the decorator gives the function back"

    def test_what_is_there_from_the_start(self):
        assert registered() == ("SEP", "sersic", *weights.shipped())
        assert {"fractions", "blend2flux", "blend2mask2flux"} <= set(registered())

    @pytest.mark.parametrize("name", ["half", "SEP", "sersic", "fractions"])
    def test_a_name_in_use(self, name):
        register("half", half_each)
        with pytest.raises(ValueError, match=rf"the name '{name}' is in use already.*replace=True\.$"):
            register(name, half_each)
        with pytest.raises(ValueError, match="is in use already"):
            register(name)
        register(name, half_each, replace=True)
        assert registered().count(name) == 1

    @pytest.mark.parametrize(
        ("name", "known"), [("sep", "SEP"), (" SEP", "SEP"), ("Sersic ", "sersic"), ("Fractions", "fractions"),
                            ("c ", "c"), (" c", "c")],
    )  # fmt: skip
    def test_a_name_that_only_looks_new(self, name, known):
        register("c", half_each)
        with pytest.raises(ValueError, match=rf"the name '{known}' is in use already"):
            register(name, half_each)
        register(name, half_each, replace=True)
        assert registered().count(known) == 1
        assert name not in registered()

    def test_own_names_differ_by_their_capitals(self):
        register("c", half_each)
        register("C", half_each)
        assert registered()[-2:] == ("c", "C")

    def test_a_class(self):
        with pytest.raises(ValueError, match=r"'mine' is the class SEP, expected what measures .*as in SEP\(\)\.$"):
            register("mine", SEP)
        assert "mine" not in registered()

    def test_a_built_in_replaced(self, scene):
        register("SEP", half_each, replace=True)
        assert "case" not in measure(scene[1], ["SEP"])["SEP"].colnames

    def test_what_cannot_be_called(self):
        with pytest.raises(ValueError, match=r"'half' was registered with a int, expected a function.*\.$"):
            register("half", 3)
        assert "half" not in registered()

    @pytest.mark.parametrize("name", ["", " ", None, 3, half_each])
    def test_what_is_no_name(self, name):
        with pytest.raises(ValueError, match=r"the name .* was given, expected a text"):
            register(name, half_each)


class TestMeasure:
    def test_labels_names_and_functions(self, scene):
        blends, images = scene
        register("half", half_each)
        tables = measure(images, {"mine": "half", "f": half_each, "SEP": SEP(flux="kron"), "S": "SEP"}, truth=blends)
        assert list(tables) == ["mine", "f", "SEP", "S"]
        assert tables["SEP"].meta["method"] == "SEP Kron"
        assert tables["SEP"].meta["matching"].startswith("pixels only"), "made by the user, without truth"
        assert tables["S"].meta["matching"].startswith("true positions")
        assert "matching" not in tables["mine"].meta
        table = bk.metrics.scores(blends, tables, n_bootstrap=2)
        assert table.meta["matching"]["mine"] == "not stated"

    @pytest.mark.parametrize("name", ["SEP", "sersic"])
    def test_classical_ones_know_what_they_are_told(self, scene, name):
        blends, images = scene
        for truth, begins in ((blends[:1], "true positions"), (None, "pixels only")):
            assert measure(images[:1], [name], truth=truth)[name].meta["matching"].startswith(begins)

    def test_truth_is_given_to_those_that_ask(self, scene):
        blends, images = scene

        def oracle(images, truth):
            return truth["flux_central", "flux_companion"]

        def hears(images, truth="default"):
            assert truth is not None or len(images) == 2
            return half_each(images)

        tables = measure(images, {"oracle": oracle, "hears": hears}, truth=blends)
        assert (tables["oracle"]["flux_central"] == blends["flux_central"]).all()
        measure(images[:2], {"hears": hears})
        with pytest.raises(ValueError, match=r"'oracle' takes the blends' recipes.*give truth=blends\.$"):
            measure(images, {"oracle": oracle})

    def test_a_truth_of_its_own_is_kept(self, scene):
        blends, images = scene
        heard = []

        def hears(images, truth="mine"):
            heard.append(truth)
            return half_each(images)

        preset = functools.partial(hears, truth="preset")
        measure(images, {"f": hears, "preset": preset})
        assert heard == ["mine", "preset"]
        heard.clear()
        measure(images, {"f": hears, "preset": preset}, truth=blends)
        assert heard[0] is blends
        assert heard[1:] == ["preset"]

    def test_a_method_may_spoil_its_pixels(self, scene):
        blends, images = scene
        before = images.copy()

        def spoils(images):
            images -= 1
            images *= 0
            return {"flux_central": np.ones(len(images)), "flux_companion": np.ones(len(images))}

        tables = measure(images, {"spoils": spoils, "half": half_each, "SEP": "SEP"}, truth=blends)
        assert (images == before).all()
        assert (tables["half"]["flux_central"] == half_each(before)["flux_central"]).all()
        assert (tables["SEP"]["flux_central"] == SEP(truth=blends)(before)["flux_central"]).all()

    def test_no_copies_for_those_that_leave_pixels_alone(self, scene, monkeypatch):
        given = []

        class Network:
            def __call__(self, images):
                given.append(images)
                return half_each(images)

        monkeypatch.setattr(deblenders, "Network", Network)
        measure(scene[1], {"net": Network()})
        assert given[-1] is scene[1]

    def test_seconds(self, scene, monkeypatch):
        clock = iter((10.0, 13.0, 20.0, 20.5))
        monkeypatch.setattr(deblenders.time, "perf_counter", lambda: next(clock))
        measured = measure(scene[1], {"half each": half_each})["half each"]
        assert measured.meta["seconds_per_blend"] == 3 / len(scene[1])
        assert np.isnan(measure(scene[1][:0], {"half each": half_each})["half each"].meta["seconds_per_blend"])

    def test_a_shipped_network_by_name_may_compile_first(self, scene, monkeypatch):
        calls = []

        class Network:
            def __init__(self, source):
                self.source = source

            def __call__(self, images):
                calls.append((self.source, len(images)))
                return half_each(images)

        monkeypatch.setattr(deblenders, "Network", Network)
        measure(scene[1], {"fractions": "fractions", "mine": Network("mine"), "half": half_each}, truth=scene[0])
        assert calls == [("fractions", 2), ("fractions", 5), ("mine", 2), ("mine", 5)]

    def test_what_a_method_gave_stays_as_it_was(self, scene):
        kept = half_each(scene[1])
        kept.meta["matching"] = "none"
        table = measure(scene[1], {"kept": lambda images: kept})["kept"]
        assert kept.meta == {"matching": "none"}
        assert table.meta["matching"] == "none"
        assert table is not kept

    def test_no_keras_for_a_plain_function(self):
        code = (
            "import sys, numpy as np; from blendkit.deblenders import *; from blendkit.deblenders import register, "
            "measure; assert not {'astropy', 'keras', 'sep', 'scipy.optimize'} & set(sys.modules); "
            "register('x', lambda i: {'flux_central': i[:, 0, 0], 'flux_companion': i[:, 0, 0]}); "
            "measure(np.ones((2, 4, 4)), ['x']); assert not {'keras', 'sep', 'scipy.optimize'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestWrongAnswers:
    """Each with and without truth: one sentence that names the method."""

    @pytest.fixture(params=[True, False])
    def ask(self, request, scene):
        blends, images = scene
        return lambda function: measure(images, {"mine": function}, truth=blends if request.param else None)

    @pytest.mark.parametrize("answer", [None, 3.0, np.ones((5, 2)), [1, 2]])
    def test_no_table(self, ask, answer):
        with pytest.raises(ValueError, match=r"'mine' returned a .*, expected a table, or a dict of arrays"):
            ask(lambda images: answer)

    def test_a_class_instead_of_what_it_makes(self, ask):
        with pytest.raises(ValueError, match="'mine' returned a SEP, expected a table"):
            ask(lambda images: SEP(images))

    def test_a_ragged_dict(self, ask):
        with pytest.raises(ValueError, match=r"'mine' returned a dict that is no table \(.*\), expected arrays"):
            ask(lambda images: {"flux_central": np.ones(5), "flux_companion": np.ones(4)})

    def test_a_missing_column(self, ask):
        with pytest.raises(ValueError, match=r"'mine' .*no column flux_companion.*flux_central"):
            ask(lambda images: {"flux_central": np.ones(5)})

    def test_another_length(self, ask):
        with pytest.raises(ValueError, match=r"'mine' .*4.*5.*same order"):
            ask(lambda images: half_each(images[:4]))

    @pytest.mark.parametrize("column", [np.ones((5, 1)), np.full(5, "a")])
    def test_what_is_no_number_for_each_blend(self, ask, column):
        with pytest.raises(ValueError, match=r"'mine' .*flux_companion.*expected"):
            ask(lambda images: {"flux_central": np.ones(5), "flux_companion": column})

    def test_its_own_errors(self, ask):
        def broken(images):
            raise KeyError("weights")

        with pytest.raises(RuntimeError, match=r"the method 'mine' failed with KeyError: 'weights'") as caught:
            ask(broken)
        assert isinstance(caught.value.__cause__, KeyError)

    def test_a_user_who_stops_it(self, ask):
        def stopped(images):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ask(stopped)

    @pytest.mark.parametrize(
        ("column", "values", "words"),
        [
            ("masks", np.ones((5, 4, 4, 2)), "booleans"),
            ("flux_central_err", np.ones((5, 2)), "one number for each of the 5 blends"),
        ],
    )
    def test_columns_that_could_not_be_used(self, ask, column, values, words):
        with pytest.raises(ValueError, match=rf"'mine' have a column {column} of shape .*, expected {words}"):
            ask(lambda images: {**half_each(images), column: values})

    def test_ids_are_seen_where_there_is_truth(self, scene):
        blends, images = scene
        with pytest.raises(ValueError, match="'mine' are not of these blends"):
            measure(images, {"mine": lambda images: {**half_each(images), "central": np.arange(5)}}, truth=blends)

    def test_nothing_found_is_an_answer_that_cannot_be_scored(self, scene):
        blends, images = scene
        nothing = {"flux_central": np.full(5, np.nan), "flux_companion": np.full(5, np.nan)}
        tables = measure(images, {"mine": lambda images: nothing}, truth=blends)
        assert np.isnan(tables["mine"]["flux_central"]).all()
        assert measure(0 * images[:1], ["SEP"], truth=blends[:1])["SEP"]["case"][0] == "none"
        with pytest.raises(ValueError, match="'mine' measured nothing"):
            bk.metrics.scores(blends, tables)

    @pytest.mark.parametrize("known", [True, False])
    def test_no_blends(self, scene, known):
        blends, images = scene
        tables = measure(images[:0], {"SEP": "SEP", "half": half_each}, truth=blends[:0] if known else None)
        assert [len(table) for table in tables.values()] == [0, 0]


class TestWrongQuestions:
    @pytest.mark.parametrize(
        ("asked", "meant"),
        [("sep", "SEP"), ("Sersik", "sersic"), ("fraction", "fractions"), ("blend2flx", "blend2flux")],
    )
    def test_the_closest_name_is_told(self, scene, asked, meant):
        with pytest.raises(ValueError, match=rf"there is no method '{asked}', expected .*'{meant}'.*label\.$"):
            measure(scene[1], [asked])

    def test_nothing_close(self, scene):
        with pytest.raises(ValueError, match=r"no method 'qqqq', expected one of 'SEP', 'sersic', .*label\.$"):
            measure(scene[1], {"x": "qqqq"})
        with pytest.raises(ValueError, match=r"no method 3, expected"):
            measure(scene[1], {"x": 3})

    def test_all_names_are_read_before_anything_runs(self, scene):
        ran = []
        with pytest.raises(ValueError, match="no method 'nope'"):
            measure(scene[1], {"slow": lambda images: ran.append(1), "x": "nope"})
        assert not ran

    @pytest.mark.parametrize("methods", ["SEP", [half_each], [SEP()], 3, None])
    def test_what_is_no_list_of_names(self, scene, methods):
        with pytest.raises(ValueError, match=r"methods = .* was given, expected names: .*\{label: function\}.*\.$"):
            measure(scene[1], methods)

    def test_a_class(self, scene):
        with pytest.raises(ValueError, match=r"the method 'a' is the class SEP, expected what measures .*SEP\(\)\.$"):
            measure(scene[1], {"a": SEP}, truth=scene[0])

    def test_a_label_that_is_no_text(self, scene):
        with pytest.raises(ValueError, match=r"a method is called 1, expected a text: give for example '1'\.$"):
            measure(scene[1], {1: half_each})

    @pytest.mark.parametrize("methods", [[], {}])
    def test_no_method(self, scene, methods):
        with pytest.raises(ValueError, match=r"no method was given.*SEP, sersic"):
            measure(scene[1], methods)

    def test_truth_of_other_blends(self, scene):
        with pytest.raises(ValueError, match=r"4 images and 5 rows of truth.*same slice of both\.$"):
            measure(scene[1][:4], {"half": half_each}, truth=scene[0])

    def test_one_stamp_without_a_stack(self, scene):
        with pytest.raises(ValueError, match="the blends have shape"):
            measure(scene[1][0], {"half": half_each})


PUBLIC = [
    function
    for module in (deblenders, metrics, published, sersic, tables)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__ and not name.startswith("_")
]


@pytest.mark.parametrize("function", PUBLIC, ids=lambda function: function.__name__)
def test_docstrings_say_what_goes_in_and_comes_out(function):
    signature, text = inspect.signature(function), inspect.getdoc(function)
    assert all(name in text for name in signature.parameters)
    assert ("Parameters\n---" in text) == bool(signature.parameters)
    assert ("Returns\n---" in text) == (signature.return_annotation not in ("None", None))


def test_docstrings_of_classes_say_what_is_refused():
    assert "Raises\n---" in inspect.getdoc(SEP)
