"""The plotly figure of errors and its browser: points, clicks, buttons and broken callbacks."""

import asyncio
import base64

import ipywidgets as ipw
import numpy as np
import pytest
from astropy.table import Table

import blendkit as bk
from blendkit.figures import hover, masks
from blendkit.figures.base import LOOKS, method_styles
from blendkit.widgets import errors, errors_browser


@pytest.fixture(scope="module")
def blends(accepted):
    return bk.draw_blends(accepted, 20, seed=3)


@pytest.fixture(scope="module")
def predictions(accepted, blends):
    """One method with fluxes only, of which two are missing; one with masks and images, which are right."""
    rng = np.random.default_rng(0)
    fluxes, exact = (
        Table({f"flux_{g}": blends[f"flux_{g}"] * by for g in ("central", "companion")})
        for by in (rng.lognormal(0, 0.2, 20), 1.0)
    )
    fluxes["flux_companion"][[4, 6]] = np.nan, 0
    exact["masks"] = bk.render(accepted, blends)[1]
    exact["images"] = np.moveaxis(bk.blending.render_parts(accepted, blends), 1, -1)
    return {"fluxes": fluxes, "exact": exact}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No widgets and no errors from other tests."""
    ipw.Widget.close_all()
    errors.ERRORS.clear()
    monkeypatch.delenv(errors.FILE_VARIABLE, raising=False)
    yield
    errors.ERRORS.clear()


@pytest.fixture
def browser(accepted, blends, predictions):
    return hover.explore_errors(accepted, blends, predictions)


def click(browser, trace, point):
    """What the browser page sends when a point is clicked."""
    browser.figure._js2py_pointsCallback = {
        "event_type": "plotly_click",
        "points": {"trace_indexes": [trace], "point_indexes": [point], "xs": [0.0], "ys": [0.0]},
        "device_state": None,
        "selector": None,
    }


# the figure


def test_points_are_the_errors(blends, predictions):
    fig = hover.errors_plotly(blends, predictions)
    assert [trace.name for trace in fig.data] == ["fluxes (2 not measured)", "exact"]
    zeropoint = blends.meta["zeropoint"]
    for trace, pred in zip(fig.data, predictions.values(), strict=True):
        flux = np.where(pred["flux_companion"] > 0, pred["flux_companion"], np.nan)
        mags = [zeropoint - 2.5 * np.log10(f) for f in (flux, blends["flux_companion"])]
        np.testing.assert_allclose(trace.y, mags[0] - mags[1], atol=1e-9)
        np.testing.assert_allclose(trace.x, blends["delta_mag"], atol=1e-5)
    assert "row 3<br>central: id {central}, {morphology_central}, ".format(**dict(blends[3])) in fig.data[0].text[3]
    assert f"distance {blends['distance'][3]:.1f} pixels" in fig.data[0].text[3]
    assert fig.layout.xaxis.title.text == "magnitude difference, central − companion (mag)"
    assert fig.layout.yaxis.title.text == "companion: Δmag, measured − isolated (mag)"
    central = hover.errors_plotly(blends, predictions, by="distance", galaxy="central")
    np.testing.assert_array_equal(central.data[0].x, blends["distance"])
    assert central.layout.yaxis.title.text.startswith("central: ")


def test_a_method_looks_as_in_the_other_figures(blends, predictions):
    same = predictions["exact"]
    fig = hover.errors_plotly(blends, {"mine": same, "fractions": same, "SExtractor": same})
    looks = method_styles(["mine", "fractions", "SExtractor"])
    assert [trace.marker.color for trace in fig.data] == [colour for colour, _ in looks.values()]
    assert [trace.marker.symbol for trace in fig.data] == ["x", "diamond", "triangle-up"]
    everything = hover.errors_plotly(blends, {f"method {k}": same for k in range(7)} | dict.fromkeys(LOOKS, same))
    assert all(trace.marker.symbol for trace in everything.data)


def test_a_catalogue_without_pixels_or_types_is_enough(blends, predictions):
    bare = Table(blends["flux_central", "flux_companion"], meta={"zeropoint": 25.96})
    fig = hover.errors_plotly(bare[:1], {"exact": predictions["exact"][:1]})
    assert fig.data[0].text[0].startswith("row 0<br>central: ")
    with pytest.raises(ValueError, match="have no column distance"):
        hover.errors_plotly(bare, predictions, by="distance")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "colour"}, "by = 'colour' was given, expected one of delta_mag, distance"),
        ({"galaxy": "both"}, "galaxy = 'both' was given, expected one of companion, central"),
    ],
)
def test_unknown_words_are_one_sentence(blends, predictions, arguments, message):
    with pytest.raises(ValueError, match=message):
        hover.errors_plotly(blends, predictions, **arguments)


# the browser


def test_a_click_shows_that_blend(browser, accepted, blends, predictions):
    click(browser, 1, 13)
    assert (browser.row, browser.method.value) == (13, "exact")
    images, true, _ = bk.render(accepted, blends[13:14])
    shown = browser.view.shown
    for name in ("true", "masks"):
        np.testing.assert_array_equal(shown[name].pixels, true[0, ..., 0] + 2 * true[0, ..., 1])
    np.testing.assert_array_equal(shown["blend"].pixels, images[0])
    assert [owner for _, owner in shown["blend"].contours] == [0, 1]
    assert abs(shown["left"].pixels).max() < 1e-5  # the two images are all of the blend
    sent = {panel["name"]: panel for panel in browser.view.panels}
    assert list(sent) == ["blend", "true", "masks", "central", "companion", "left"]
    np.testing.assert_array_equal(np.frombuffer(sent["blend"]["pixels"], np.float32), images[0].ravel())
    assert f"Row 13, {blends['distance'][13]:.1f} pixels apart" in browser.facts.value
    assert f"central: id {blends['central'][13]}, " in browser.facts.value
    lit = browser.figure.data[-1]
    assert lit.x[0] == browser.figure.data[0].x[13]
    assert lit.y[1] == browser.figure.data[1].y[13]
    assert not errors.ERRORS


def test_a_method_without_masks_shows_what_it_has(browser, accepted, blends, predictions):
    browser.show(2, "exact")
    assert "masks" in browser.view.shown
    click(browser, 0, 2)
    assert "masks" not in browser.view.shown
    assert "scaled to the measured fluxes" in browser.view.shown["left"].caption
    parts = bk.blending.render_parts(accepted, blends[2:3])[0]
    share = [predictions["fluxes"][f"flux_{g}"][2] / blends[f"flux_{g}"][2] for g in ("central", "companion")]
    image = bk.render(accepted, blends[2:3], masks=False)[0][0]
    left = image - share[0] * parts[0] - share[1] * parts[1]
    np.testing.assert_allclose(browser.view.shown["left"].pixels, left, atol=1e-5)
    browser.show(4)
    assert "not measured" in browser.facts.value
    assert list(browser.figure.data[-1].y) == [0.0]  # Jupyter sends no NaN
    assert not errors.ERRORS


def test_buttons_go_through_the_worst_and_stop_at_the_ends(browser, blends, predictions):
    order = masks.worst_rows(blends, predictions["fluxes"], "companion")
    assert order[:2].tolist() == [4, 6]
    assert browser.row == order[0]
    seen = [browser.row]
    for _ in range(len(blends) + 2):
        browser.buttons["less bad"].click()
        seen.append(browser.row)
    assert seen == [*order, *[order[-1]] * 3]
    browser.buttons["worse"].click()
    assert browser.row == order[-2]
    assert "rank 19 of 20 for fluxes" in browser.facts.value


def test_lists_change_what_is_plotted(browser, blends, predictions):
    browser.by.value, browser.galaxy.value = "distance", "central"
    expected = hover.errors_plotly(blends, predictions, "distance", "central")
    for shown, trace in zip(browser.figure.data, expected.data, strict=False):
        np.testing.assert_array_equal(shown.x, trace.x)
        np.testing.assert_array_equal(shown.y, trace.y)
        assert shown.name == trace.name
    assert browser.figure.layout.xaxis.title.text == expected.layout.xaxis.title.text
    assert browser.figure.layout.yaxis.title.text == expected.layout.yaxis.title.text
    browser.method.value = "exact"
    assert "masks of exact" in browser.view.shown["masks"].caption
    assert "for exact, the worst first" in browser.facts.value


def test_driving_every_control_finds_nothing(browser):
    row = browser.row
    asyncio.run(errors.drive(timeout=60))
    assert browser.row == row


@pytest.mark.parametrize("how", ["click", "button", "axis", "method"])
def test_a_broken_callback_is_recorded(browser, monkeypatch, how):
    def broken(*args, **kwargs):
        raise RuntimeError("planted")

    for name in ("render", "abscissa"):
        monkeypatch.setattr(errors_browser, name, broken)
    act = {
        "click": lambda: click(browser, 1, 3),
        "button": browser.buttons["less bad"].click,
        "axis": lambda: setattr(browser.by, "value", "distance"),
        "method": lambda: setattr(browser.method, "value", "exact"),
    }
    act[how]()
    assert [error["message"] for error in errors.ERRORS] == ["planted"]
    assert "planted" in browser.message.value
    with pytest.raises(errors.WidgetError, match="planted"):
        asyncio.run(errors.drive(timeout=60))


def test_wrong_rows_and_methods_are_one_sentence(browser):
    with pytest.raises(ValueError, match="row = 20 was given, expected a row of the blends, 0 to 19"):
        browser.show(20)
    with pytest.raises(ValueError, match="method = 'SEP' was given, expected one of fluxes, exact"):
        browser.show(0, "SEP")


def test_without_a_kernel_there_are_plot_and_picture(browser):
    bundle = browser._repr_mimebundle_()
    assert len(bundle["application/vnd.plotly.v1+json"]["data"]) == 3
    assert base64.b64decode(bundle["image/png"])[:4] == b"\x89PNG"


def test_a_single_blend(accepted, blends, predictions):
    browser = hover.explore_errors(accepted, blends[:1], {"exact": predictions["exact"][:1]})
    browser.buttons["less bad"].click()
    assert browser.row == 0
    assert not errors.ERRORS
