"""A field and what comes back of galaxies that were put into it."""

import numpy as np
from astropy.table import Table

import blendkit as bk


def test_objects_are_circled_and_pictures_stand_side_by_side(drawn):
    sky = np.random.default_rng(0).normal(0, 0.006, (3, 60, 80))
    catalogue = Table({"x": [10.0, 70], "y": [50.0, 5], "n_in_group": [1, 2]}, meta={"pixel_scale": 0.1})
    fig = drawn(lambda: bk.figures.field_pictures(dict(zip("abc", sky, strict=True)), catalogue))
    rings = fig.axes[0].collections[0]
    np.testing.assert_array_equal(rings.get_offsets(), [[10, 50], [70, 5]])
    assert rings.get_edgecolors()[0].tolist() != rings.get_edgecolors()[1].tolist()
    assert len(fig.axes) == 3
    drawn(lambda: bk.figures.field_pictures({"alone": sky[0]}))


def test_medians_of_what_comes_back_count_what_was_lost(drawn):
    near, ones = np.repeat([5.0, 20, 100, np.inf], 5), np.ones(20)
    back = {"mag": np.linspace(19, 23, 20), "near": near, "true": ones, "flux": 1.1 * ones, "sep_flux": 0.7 * ones}
    back["flux"][:4] = np.nan
    fig = drawn(lambda: bk.figures.recovered_light(Table(back)))
    bars = [round(bar.get_height()) for bar in fig.axes[1].patches]
    assert bars == [100, 10, 10, 30, 30, 30]
    assert "10.0 % (fractions) and 30.0 % (SEP)" in fig.get_suptitle()
