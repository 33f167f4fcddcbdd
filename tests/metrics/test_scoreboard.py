"""Synthetic galaxies beside real ones, stored tables beside today's, a method from outside in every table."""

import numpy as np
import pytest
from astropy.table import Table
from conftest import module
from matplotlib.text import Text

import blendkit as bk
from blendkit import metrics
from blendkit.deblenders import sep_baselines
from blendkit.metrics import reference_scores, scoreboard, write_scoreboard
from tests.figures.test_accuracy import DRAW_ALL
from tools.reference import like_for_like

NAME = "constant shares"


def sep_on(sample, n):
    """Blends of a sample, and what SEP's three fluxes make of them."""
    blends = bk.draw_blends(sample, n)
    return blends, sep_baselines(bk.render(sample, blends, masks=False)[0], truth=blends)


pool = module(lambda: bk.clean(bk.load_sample("synthetic", n=600, seed=42)))


@module
def boards(hst_clean, pool):
    """Of real galaxies, and of synthetic ones alike in magnitude and size."""
    pair = zip(("real", "synthetic"), like_for_like(hst_clean, pool), strict=True)
    return [scoreboard(name, *sep_on(sample, 1500)) for name, sample in pair]


@pytest.mark.parametrize("score", ["both", "mape_flux"])
def test_sep_fares_on_synthetic_galaxies_as_on_real_ones(boards, score):
    """The synthetic exam is neither easier nor harder: within 30 % for the two-found share and every flux MAPE."""
    real, synthetic = (np.asarray(board[score]) for board in boards)
    assert np.abs(synthetic / real - 1).max() < 0.3


def test_stored_scores_are_what_is_measured_today(boards):
    stored = reference_scores()
    for board, text in zip(boards, ("real HST", "synthetic"), strict=True):
        rows = stored[[text in name for name in stored["sample"]]]
        assert rows["member"].tolist() == board["member"].tolist()
        for score in ("both", "bias", "mape_flux"):
            error = np.hypot(rows[f"{score}_err"], board[f"{score}_err"])
            assert (np.abs(rows[score] - board[score]) < 3 * error + 0.01).all(), (text, score)


def test_sep_fares_on_synthetic_galaxies_as_on_candels(pool, published):
    """At the separations of the published test blends, SEP finds both galaxies as often as the paper did."""
    theirs, paper = published
    blends, predictions = sep_on(pool, 1500)
    apart = [np.asarray(table["distance"]) / np.max(table["r_eff"], axis=1) for table in (theirs, blends)]
    bins = np.linspace(0.4, 4, 13)
    ratio = np.histogram(apart[0], bins)[0] / np.maximum(np.histogram(apart[1], bins)[0], 1)
    weights = ratio[np.clip(np.digitize(apart[1], bins) - 1, 0, len(ratio) - 1)]
    split, cases = (table["case"] for table in (paper["SExtractor"], predictions["SEP isophotal"]))
    assert np.average(cases == "both", weights=weights) == pytest.approx(np.mean(split == "both"), rel=0.1)
    assert np.average(cases == "more", weights=weights) < 2.5 * np.mean(split == "more")


def test_written_scoreboards_have_a_line_for_each_row_of_every_kind_of_method(tmp_path):
    flux = 10 ** np.random.default_rng(0).uniform(0, 2, (60, 2))
    blends = Table({"id": np.arange(120).reshape(60, 2), "flux": flux}, meta={"zeropoint": 25.96})
    network = Table({"flux": 1.1 * flux})
    seeking = Table({"flux": 1.2 * flux, "case": np.repeat(["both", "only central", "more"], 20)})
    both = scoreboard("both kinds", blends, {"network": network, "SEP": seeking})
    for name in ("both", "one", "more"):
        assert both[name].tolist() == pytest.approx([np.nan] * 2 + [100 / 3] * 2, nan_ok=True)
    path = write_scoreboard(tmp_path / "new", both, scoreboard("alone", blends, {"network": network}))
    text = path.read_text("utf-8")
    first, head, rule, *rows = text.split("\n\n")[0].splitlines()
    assert first.startswith("both kinds: two objects found in 33.3 ± ")
    assert (len(rows), {len(line) for line in (head, rule, *rows)}) == (4, {len(head)})
    assert len(head) <= 125
    assert "alone: nothing searched for objects" in text
    assert write_scoreboard(tmp_path / "again", Table.read(path.with_suffix(".ecsv"))).read_text("utf-8") == text


def constant_shares(images):
    flux = images.sum(axis=(1, 2))[:, None] * [0.6, 0.4]
    return Table({"flux": flux, "flux_err": 0.5 * np.abs(flux)})


@module
def exam(synthetic_clean):
    """Blends, and the predictions of constant shares beside SEP."""
    blends = bk.draw_blends(synthetic_clean, 80, seed=3)
    images = bk.render(synthetic_clean, blends, masks=False)[0]
    return blends, bk.measure(images, {"SEP": "SEP", NAME: constant_shares}, truth=blends)


VIEWS = {  # of blends and predictions
    **{name: getattr(metrics, name) for name in ("scores", "figure_5", "calibration", "table2", "ranking")},
    "binned_scores": lambda b, p: metrics.binned_scores(b, p, "distance"),
    "scoreboard": lambda b, p: metrics.scoreboard("mine", b, p),
    **{draw.__name__: draw for draw in DRAW_ALL},
}


@pytest.mark.parametrize("name", VIEWS)
def test_constant_shares_stand_in_every_figure_and_table(exam, name):
    view = VIEWS[name](*exam)
    said = [text.get_text() for text in view.findobj(Text)] if hasattr(view, "findobj") else view["method"]
    assert NAME in " ".join(said)


WRONG = {
    "missing column": lambda b, p: (b, Table({"fluxes": p["flux"]})),
    "other length": lambda b, p: (b, p[1:]),
    "wrong order": lambda b, p: (b, Table({"id": b["id"], **p})[::-1]),
    "nothing measured": lambda b, p: (b, Table({**p, "flux": np.full((80, 2), np.nan)})),
    "unknown case": lambda b, p: (b, Table({**p, "case": ["two"] * 80})),
    "no zeropoint": lambda b, p: (Table(b, meta={}), p),
    "dark galaxies": lambda b, p: (Table({**b, "flux": -b["flux"]}, meta=b.meta), p),
    "no blends": lambda b, p: (b[:0], p[:0]),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_tables_get_one_sentence_everywhere(exam, wrong):
    given, spoilt = WRONG[wrong](exam[0], exam[1][NAME])
    for view in VIEWS.values():
        with pytest.raises(ValueError, match=r"'mine'|zeropoint|edited|no blends"):
            view(given, {"mine": spoilt})
    for predictions in ({}, [spoilt], spoilt):
        with pytest.raises(ValueError, match="at least one"):
            scoreboard("any", given, predictions)
