"""The browser of errors: a click on a point shows its blend."""

import numpy as np
import pytest
from conftest import refused

import blendkit as bk
from blendkit.figures.hover import errors_plotly
from blendkit.figures.stamps import worst_rows

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
