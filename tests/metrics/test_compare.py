"""A method from outside goes the whole way: registered, measured, in every figure and table."""

import numpy as np
import pytest
from astropy.table import Table
from matplotlib.text import Text

import blendkit as bk
from blendkit import metrics
from blendkit.deblenders.methods import METHODS
from tests.figures.test_accuracy import DRAW_ALL

NAME = "constant shares"


def constant_shares(images, share=0.6):
    total = images.sum(axis=(1, 2))
    flux = np.stack([share * total, (1 - share) * total], axis=1)
    return Table({"flux": flux, "flux_err": 0.5 * np.abs(flux)})


@pytest.fixture(scope="module")
def exam(synthetic_clean):
    """Blends, and the predictions of constant shares beside SEP."""
    blends = bk.draw_blends(synthetic_clean, 80, seed=3)
    images, _, _ = bk.render(synthetic_clean, blends, masks=False)
    METHODS[NAME] = constant_shares
    yield blends, bk.measure(images, ["SEP", NAME], truth=blends)
    del METHODS[NAME]


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
