"""Any method beside the others: by name, by position, and one clear sentence for each that is none."""

import functools
import time
from unittest.mock import Mock

import numpy as np
import pytest
from astropy.table import Table
from conftest import refused

import blendkit as bk
from blendkit.deblenders import METHODS, SEP, Sersic


@pytest.fixture(scope="module")
def scene(make_sample):
    sample = make_sample(6)
    blends = bk.draw_blends(sample, 5, seed=1, separation=(4, 6))
    return blends, bk.render(sample, blends, masks=False)[0]


def half_each(images):
    return Table({"flux": np.repeat(images.sum(axis=(1, 2))[:, None] / 2, 2, axis=1)})


class TestMeasure:
    def test_names_functions_and_labels(self, scene, monkeypatch):
        blends, images = scene
        monkeypatch.setitem(METHODS, "half", half_each)
        assert list(bk.measure(images, ["SEP", half_each, "half"], truth=blends)) == ["SEP", "half_each", "half"]
        tables = bk.measure(images, {"mine": "half", "SEP": SEP(flux="kron"), "S": "SEP"}, truth=blends)
        assert tables["SEP"].meta["method"] == "SEP Kron"
        assert tables["SEP"].meta["matching"].startswith("pixels only"), "made by the user, without truth"
        assert tables["S"].meta["matching"].startswith("true positions")
        assert "matching" not in tables["mine"].meta

    def test_truth_is_given_to_those_that_ask(self, scene):
        def oracle(images, truth):
            return {"flux": np.asarray(truth["flux"]) * truth.meta.get("times", 1)}

        own = Table(scene[0], meta={"times": 2})
        asked = {"oracle": oracle, "preset": functools.partial(oracle, truth=own)}
        tables = bk.measure(scene[1], asked, truth=scene[0])
        assert (tables["preset"]["flux"] == 2 * tables["oracle"]["flux"]).all()
        refused(lambda: bk.measure(scene[1], asked), "truth=blends")

    def test_what_was_given_stays_as_it_was_and_time_is_that_of_the_call(self, scene):
        """A method may spoil its pixels, and keep the table that it gives."""
        images, kept = scene[1].copy(), half_each(scene[1])
        kept.meta["matching"] = "none"

        def spoils(images):
            time.sleep(0.1)
            images *= 0
            return kept

        tables = bk.measure(images, [spoils, half_each])
        assert (images == scene[1]).all()
        assert (tables["half_each"]["flux"] == kept["flux"]).all()
        assert (kept.meta, tables["spoils"].meta["matching"]) == ({"matching": "none"}, "none")
        assert 0.02 <= tables["spoils"].meta["seconds_per_blend"] < 0.2


@pytest.mark.parametrize("method", [SEP, Sersic])
class TestClassicalMethods:
    """What SEP and the fit of profiles have in common."""

    @pytest.mark.parametrize("told", [True, False])
    def test_bad_stamps_are_counted_and_others_go_on(self, scene, method, told):
        blends, (good, *_) = scene
        bad = np.stack([good, good, 0 * good, 0 * good + 7, 0 * good + np.inf, good]).astype(">f8")
        bad[1, 3, 3] = np.nan
        bad.flags.writeable = False
        table = method(truth=blends[[0] * 6] if told else None, masks=True)(bad)
        assert table.meta["failed"] == 4
        assert table.meta["matching"].startswith("true positions" if told else "pixels only")
        assert list(table["case"]) == ["both", *["none"] * 4, "both"]
        assert np.isnan(table["flux"]).all(1).tolist() == [False, True, True, True, True, False]
        assert (table["flux"][0] == table["flux"][5]).all()
        assert not table["masks"][1:5].any()

    def test_no_blends(self, scene, method):
        for truth in (None, scene[0][:0]):
            table = bk.measure(scene[1][:0], {"none": method(truth=truth, masks=True)})["none"]
            assert table["masks"].shape == (0, 64, 64, 2)


class TestMatch:
    """A deblender of objects: any number, in any order."""

    def test_by_position(self, make_sample):
        sample = make_sample(8)
        blends = bk.draw_blends(sample, 30, seed=2, members=(1, 3), separation=(3, 8))
        rng = np.random.default_rng(0)
        empty = np.where(blends["id"] == -1, np.nan, 0)
        x, y = (32 + blends[name] + empty + rng.normal(0, 0.2, (30, 3)) for name in ("dx", "dy"))
        flux = np.asarray(blends["flux"])
        order = np.stack([rng.permutation(4) for _ in range(30)])
        objects = {"x": (x, 2), "y": (y, 60), "flux": (flux, 99), "flux_err": (flux / 10, 1)}  # and a noise peak each
        pred = Table({
            name: np.take_along_axis(np.column_stack([values, np.full(30, peak)]), order, axis=1)
            for name, (values, peak) in objects.items()
        })  # fmt: skip
        measured = bk.measure(np.zeros((30, 64, 64)), {"mine": lambda images: pred}, truth=blends)["mine"]
        for matched in (bk.match(blends, pred), measured):
            np.testing.assert_array_equal(matched["flux"], flux)
            np.testing.assert_array_equal(matched["flux_err"], flux / 10)

    def test_each_object_once_none_from_afar_and_masks_come_along(self, make_sample):
        sample = make_sample(4)
        blends = bk.make_blends(sample, [[10, 11], [10, 11]], 10, 0)
        far = Table({"x": [[33.0], [60.0]], "y": [[32.0], [60.0]], "flux": [[5.0], [7.0]]})
        np.testing.assert_array_equal(bk.match(blends, far)["flux"], [[5, np.nan], [np.nan, np.nan]])
        _, masks, fluxes = bk.render(sample, blends)
        turned = {"x": [[42, 32]] * 2, "y": [[32, 32]] * 2, "flux": fluxes[:, ::-1], "masks": masks[..., ::-1]}
        matched = bk.match(blends, Table(turned))
        assert (matched["flux"] == fluxes).all()
        assert (matched["masks"] == masks).all()
        assert matched["masks"].dtype == bool


class TestWrongAnswers:
    """Each with and without truth: one sentence that names the method."""

    @pytest.fixture(params=[True, False])
    def ask(self, request, scene):
        truth = scene[0] if request.param else None
        return lambda answer: bk.measure(scene[1], {"mine": lambda images: answer}, truth=truth)

    @pytest.mark.parametrize("answer", [
        None, 3.0, np.ones((5, 2)), SEP(), {"fluxes": np.ones((5, 2))}, {"flux": np.ones(5)},
        {"flux": np.ones((4, 2))}, {"flux": np.full((5, 2), "a")},
        {"flux": np.ones((5, 2)), "flux_err": np.ones(5)},
        {"flux": np.ones((5, 2)), "masks": np.ones((5, 4, 4, 2))}, {"flux": np.ones((5, 2)), "case": ["?"] * 5},
    ], ids=lambda answer: str(answer)[:30])  # fmt: skip
    def test_no_table_of_fluxes_for_these_blends(self, ask, answer):
        refused(lambda: ask(answer), "'mine'")

    @pytest.mark.parametrize(("own", "seen"), [(KeyError, RuntimeError), (KeyboardInterrupt, KeyboardInterrupt)])
    def test_its_own_errors(self, scene, own, seen):
        """Told with the method's name; a user may stop it all the same."""
        with pytest.raises(seen, match=r"weights|'broken' failed with KeyError"):
            bk.measure(scene[1], {"broken": Mock(side_effect=own("weights"))})


class TestWrongQuestions:
    @pytest.mark.parametrize(("asked", "meant"), [("sep", "SEP"), ("Sersik", "sersic"), ("qqqq", "SEP")])
    def test_the_closest_name_is_told_before_anything_runs(self, scene, asked, meant):
        ran = []
        refused(lambda: bk.measure(scene[1], {"slow": lambda images: ran.append(1), "x": asked}), asked, meant)
        assert not ran

    @pytest.mark.parametrize("methods", [[], {}, [SEP], {"a": SEP}, {1: half_each}, {"x": 3}])
    def test_what_is_no_method(self, scene, methods):
        refused(lambda: bk.measure(scene[1], methods))

    def test_images_and_truth_that_do_not_belong_together(self, scene):
        refused(lambda: bk.measure(scene[1][:4], [half_each], truth=scene[0]), "4 images")


class TestUnseen:
    """Scores refuse a network that saw a galaxy of the exam."""

    def predicted(self, blends, **trained_on):
        return Table({"flux": np.asarray(blends["flux"])}, meta={"trained_on": trained_on})

    def refused_by_all(self, blends, pred):
        for ask in (bk.scores, bk.figures.recovered_magnitudes):
            refused(lambda ask=ask: ask(blends, {"fractions": pred}), "was trained on")

    def test_real_galaxies_by_their_digests(self, make_sample, tmp_path):
        sample = make_sample(8)
        blends = bk.draw_blends(sample, 30, seed=1, separation=(3, 5))
        known = self.predicted(blends, galaxies=[sample.fingerprints[10], "another"])
        self.refused_by_all(blends, known)
        without = (blends["id"] != 10).all(1)
        bk.scores(blends[without], {"fractions": known[without]})
        bk.scores(blends, {"SEP": self.predicted(blends), "new": self.predicted(blends, seeds=[1000], galaxies=["x"])})
        for name, table in (("blends", blends), ("pred", known)):
            table.write(tmp_path / f"{name}.ecsv")
        self.refused_by_all(*(Table.read(tmp_path / f"{name}.ecsv") for name in ("blends", "pred")))
