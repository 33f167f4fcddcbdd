"""The browser of a field: real clicks and sliders, and a network that says a quarter of the light is the object's."""

import numpy as np
import pytest
from astropy.table import Table
from conftest import refused

import blendkit as bk

SIZE = 600  # pixels: not all of it is shown at once
AT = np.array([[300, 290], [300, 310], [2, 3], [590, 40]])  # rows and columns


@pytest.fixture
def maps(monkeypatch):
    """A field of four square objects of different brightness: the first two touch, the third lies in a corner."""

    def ask(network, light, at, noise):
        yield {"share": np.full((1, *light.shape), 0.25)}

    monkeypatch.setattr("blendkit.widgets.browser.ask", ask)
    light, segmap, flux = np.zeros((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), int), np.array([40.0, 10, 20, 30])
    for k, (y, x) in enumerate(AT):
        box = np.s_[max(y - 9, 0) : y + 10, max(x - 9, 0) : x + 10]
        light[box], segmap[box] = flux[k] / 361, 11 * (k + 1)
    columns = {"id": 11 * np.arange(1, 5), "x": AT[:, 1], "y": AT[:, 0], "flux": flux, "flux_err": flux / 10}
    columns |= {"sep_flux": flux * [1, 2, 1, 0.8], "n_in_group": [2, 2, 1, 1], "edge": AT.min(axis=1) < 9}
    noise = np.random.default_rng(0).normal(0.005, 0.001, light.shape).astype(np.float32)
    return Table(columns, meta={"zeropoint": 25.0, "noise": 0.001}), segmap, light, noise


def click(browser, row, column):
    """What the page sends for a click on a pixel of the whole field."""
    browser.field.clicked = (np.array([column, row]) - browser._corner[::-1]).tolist()


def test_a_click_shows_the_object_whose_pixel_it_is_or_the_nearest(maps):
    browser = bk.FieldBrowser(*maps)
    for (y, x), row in (((306, 303), 1), ((5, 5), 2), ((330, 298), 0), ((500, 10), 3), ((295, 282), 0)):
        click(browser, y, x)
        assert browser.row == row
        corner, (mask, _) = browser._corner, browser.field.shown["field"].outlines[0]
        np.testing.assert_array_equal(np.argwhere(mask) + corner, np.argwhere(maps[1] == maps[0]["id"][row]))
        place = tuple(AT[row])
        assert browser.field.shown["field"].pixels[tuple(place - corner)] == maps[2][place] + maps[3][place]
        assert browser.view.shown["stamp"].outlines[0][0][64, 64]
        assert f"x {AT[row, 1]}, y {AT[row, 0]}: 25 % of the light" in browser.facts.value
    click(browser, 5, 5)
    assert "Flags: edge" in browser.facts.value
    assert not browser.view.shown["stamp"].outlines[0][0][:60].any()  # beyond the field there is nothing


def test_the_pictures_are_all_of_the_light_and_numbers_stand_beside(maps):
    browser = bk.FieldBrowser(*maps)
    shown = browser.view.shown
    np.testing.assert_allclose(shown["own"].pixels + shown["rest"].pixels, shown["stamp"].pixels, atol=1e-6)
    np.testing.assert_allclose(shown["own"].pixels, 0.25 * shown["stamp"].pixels, atol=1e-6)
    assert abs(np.median(shown["stamp"].pixels)) < 5e-4  # the sky's level is gone
    for text in ("20 pixels away", f"{25 - 2.5 * np.log10(40):.2f} mag", f"{25 - 2.5 * np.log10(40):.2f} ± 0.11 mag"):
        assert text in browser.facts.value
    assert len(browser._repr_mimebundle_()["application/vnd.blendkit.captions+json"]) == 5


def test_the_slider_goes_through_the_objects_in_the_order_chosen(maps):
    browser, seen = bk.FieldBrowser(*maps), []
    for order in browser.order.options:
        browser.order.value = order
        seen.append([])
        for number in range(browser.number.min, browser.number.max + 1):
            browser.number.value = number
            seen[-1].append(browser.row)
    assert seen == [[0, 3, 2, 1], [1, 3, 0, 2], [0, 1, 2, 3]]
    browser.show(2)
    assert browser.number.value == 3
    refused(lambda: browser.show(4), "expected")
    refused(lambda: bk.FieldBrowser(maps[0][:0], *maps[1:]), "empty")


def test_what_a_click_raises_is_said_and_recorded(maps, errors, monkeypatch):
    browser = bk.FieldBrowser(*maps)
    monkeypatch.setattr("blendkit.widgets.browser.ask", lambda *_: {}["planted"])
    click(browser, 5, 5)
    assert "planted" in browser.message.value
    assert errors.pop()["type"] == "KeyError"
