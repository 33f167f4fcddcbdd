"""The plotly figure of errors: a point for each blend that was measured, and words for each."""

import numpy as np
from conftest import refused
from numpy.testing import assert_allclose, assert_array_equal

from blendkit import figures, metrics
from blendkit.figures.style import MEMBERS


def test_points_are_the_errors(twenty):
    blends, predictions = twenty
    fig = figures.errors_plotly(blends, predictions)
    assert [trace.name for trace in fig.data] == ["fluxes (2 not measured)", "exact"]
    for trace, pred in zip(fig.data, predictions.values(), strict=True):
        assert_allclose(trace.y, metrics.delta_mag(blends, pred)[:, 1])
        assert_array_equal(trace.x, blends["delta_mag"])
    mags = blends.meta["zeropoint"] - 2.5 * np.log10(blends["flux"][3])
    said = [f"{member}: id {blends['id'][3, k]}, {blends['morphology'][3, k]}, {mags[k]:.2f} mag"
            for k, member in enumerate(MEMBERS)]  # fmt: skip
    assert fig.data[0].text[3].split("<br>") == ["row 3", *said, f"distance {blends['distance'][3]:.1f} pixels"]
    central = figures.errors_plotly(blends, predictions, "distance", "central").data[0]
    assert_array_equal(central.x, blends["distance"])
    assert_allclose(central.y, metrics.delta_mag(blends, predictions["fluxes"])[:, 0])


def test_unknown_words_and_other_blends_are_refused(twenty):
    blends, predictions = twenty
    for given, by, member in ((20, "colour", "central"), (20, "distance", "both"), (9, "distance", "central")):
        exact = {"exact": predictions["exact"][:given]}
        refused(lambda a=(exact, by, member): figures.errors_plotly(blends, *a), *["rows for"] * (given < 20))
