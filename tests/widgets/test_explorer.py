"""The explorer: real sliders are moved, real buttons clicked, and view, recipe and answers compared."""

import re

import numpy as np
import pytest
from conftest import refused

import blendkit as bk
from blendkit.widgets.view import CAPTIONS

explorer = pytest.fixture(lambda accepted: bk.BlendExplorer(accepted))


def shown(explorer):
    """Everything that the explorer shows."""
    names = "stamps", "sky", "segments", "pair", "dx", "dy", "dmag", "turn_companion", "found", "hide"
    return {name: getattr(explorer.view, name) for name in names} | {"answer": explorer.answer.value}


def said_by(explorer, name):
    """The row of a method in the table of answers."""
    return explorer.answer.value.partition(f">{name}<")[2].partition("</tr>")[0]


def test_the_recipe_is_what_the_sliders_show_and_render_makes_its_pixels(explorer, accepted):
    moves = {"dx": (0, 31), "dy": (0, -31), "dmag": (0, 1.5), "turn_central": (3, 0), "turn_companion": (3, 5)}
    for name, value in moves.items():
        before = shown(explorer)
        explorer.sliders[name].value = max(value, key=abs)
        assert shown(explorer) != before
        assert explorer.recipe["orient" if "turn" in name else name][0].tolist() == list(value)
        for mine, rendered in zip(explorer.render(), bk.render(accepted, explorer.recipe), strict=True):
            np.testing.assert_array_equal(mine, rendered)
    assert (explorer.dx.min, explorer.dx.max, explorer.dy.min, explorer.dy.max) == (-31, 31, -31, 31)
    explorer.extra_noise.value = 2.0  # in the pixels, not in the recipe
    more = explorer.render()[0] - bk.render(accepted, explorer.recipe)[0]
    assert more.std() == pytest.approx(2 * explorer.view.sigma, rel=0.1)


def test_a_galaxy_with_itself_is_a_sentence_and_the_pictures_stay(explorer):
    before, pair = shown(explorer), explorer.recipe["id"][0].tolist()
    explorer.companion.value = explorer.central.value
    assert "choose two different ones" in explorer.message.value
    assert shown(explorer) == before
    assert [explorer.central.value, explorer.companion.value] == explorer.recipe["id"][0].tolist() == pair
    explorer.reset.click()
    assert explorer.message.value == ""


def test_surprise_and_lists_choose_galaxies_and_reset_goes_back(accepted):
    explorer = bk.BlendExplorer(accepted, central=16, companion=11)
    start = shown(explorer)
    explorer.surprise.click()
    assert shown(explorer) != start
    assert explorer.recipe["id"][0].tolist() == [explorer.central.value, explorer.companion.value]
    explorer.central.value = free = next(i for _, i in explorer.central.options if str(i) not in explorer.view.pair)
    assert explorer.recipe["id"][0, 0] == free
    explorer.reset.click()
    assert (explorer.recipe["id"][0].tolist(), shown(explorer)) == ([16, 11], start)


def test_the_truth_hides_until_the_reader_has_guessed(explorer, accepted):
    explorer.hide.value = True
    flux, zeropoint = explorer.recipe["flux"][0], accepted.zeropoint
    assert f"together have {zeropoint - 2.5 * np.log10(flux.sum()):.2f} mag" in explorer.verdict.value
    assert len(explorer._repr_mimebundle_()[CAPTIONS]) == 1  # the blend alone
    explorer.dx.value = 9
    assert explorer.view.found == {}
    assert not re.findall("mag|SEP", f"{explorer.central.options} {explorer.pickers[0].names} {explorer.answer.value}")
    explorer.guesses[0].value = f"{zeropoint - 2.5 * np.log10(flux[0]):.3f}".replace(".", ",")
    explorer.hide.value = False
    assert "right within 2 %" in said_by(explorer, "you")
    for guess in ("bright", "-99"):
        explorer.guesses[1].value = guess
        assert f"{guess} is no magnitude" in said_by(explorer, "you")
    explorer.surprise.click()
    assert ([text.value for text in explorer.guesses], said_by(explorer, "you")) == (["", ""], "")


def test_the_guess_game_keeps_a_tally_in_which_a_round_counts_once(accepted):
    explorer = bk.BlendExplorer(accepted, {"blind": lambda images: {"flux": [[np.nan, 0.0]]}})
    for off in (0.2, 0.4):
        explorer.hide.value = True
        explorer.surprise.click()
        for guess, flux in zip(explorer.guesses, explorer.recipe["flux"][0], strict=True):
            guess.value = f"{accepted.zeropoint - 2.5 * np.log10(flux) + off:.3f}"
        assert "mag off" not in explorer.answer.value + explorer.verdict.value
        explorer.hide.value = False
    assert re.search(r"2 rounds: you 0.30 mag off, SEP \d.\d\d, blind 3.00", explorer.answer.value)
    explorer.guesses[0].value = explorer.guesses[1].value = "21"  # the truth is known
    explorer.hide.value = True
    explorer.hide.value = False
    explorer.surprise.click()
    assert explorer.tally.colnames == ["you", "SEP", "blind"]
    np.testing.assert_allclose(explorer.tally["you"], [0.2, 0.4], atol=1e-3)
    assert (explorer.tally["SEP"] <= 3).all()


@pytest.mark.parametrize("rows", [[0, 7], [0, 1, 2, 3, 4]], ids=["of unlike magnitude", "five"])
def test_it_starts_with_the_galaxies_given_or_two_different_ones(accepted, rows):
    few = accepted[rows]
    few.catalog["id"] = few.catalog["id"] + 1234567890123456789  # as long as those of surveys
    for given in ({}, *({place: i} for place in ("central", "companion") for i in few.catalog["id"])):
        explorer = bk.BlendExplorer(few, **given)
        assert all(getattr(explorer, place).value == galaxy for place, galaxy in given.items())
        assert explorer.central.value != explorer.companion.value
        explorer.surprise.click()
        assert (explorer.view.pair, explorer.message.value) == (list(map(str, explorer.recipe["id"][0])), "")


def test_what_cannot_be_shown_is_refused_and_the_line_names_the_readers_sample(accepted, monkeypatch):
    refused(lambda: bk.BlendExplorer(accepted, central=5), "not in the sample")
    refused(lambda: bk.BlendExplorer(accepted, central=11, companion=11), "different")
    refused(lambda: bk.BlendExplorer(accepted, methods="SEPP"), "no method 'SEPP'")
    refused(lambda: bk.BlendExplorer(accepted[:1]), "at least two")
    shell = type("Shell", (), {"user_ns": {"_3": accepted, "mine": accepted}})
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    assert [bk.BlendExplorer(sample).view.called for sample in (accepted, accepted[:3])] == ["mine", "sample"]


@pytest.mark.parametrize(("answer", "sentence", "row"), [
    ({"flux": [[10.0, np.nan]], "flux_err": [[1.0, 1.0]]}, "", ["23.46 ± 0.11 mag"]),
    ({"flux": [[np.inf, -1.0]], "flux_err": [[np.inf, 1.0]]}, "", []),
    ({"flux": [[10.0, 100.0]], "x": [[44.0, 32.0]], "y": [[38.0, 32.0]]}, "", ["20.96 mag", "23.46 mag"]),
    ({"flux": [[1.0, 1.0]], "masks": np.zeros((1, 3, 3, 2), bool)}, "masks of shape", []),
    (RuntimeError("no weights <b>"), "SEP does not answer: no weights &lt;b&gt;", []),
    (SystemExit("bye"), "SEP does not answer: bye", []),
])  # fmt: skip
def test_own_methods_answer_beside_sep_and_a_failure_is_told(accepted, errors, answer, sentence, row):
    def own(images):
        images -= 1.0  # in place: the picture must not notice
        if isinstance(answer, BaseException):
            raise answer
        return answer

    explorer = bk.BlendExplorer(accepted, {"SEP": own})  # a name that the explorer uses itself
    assert "SEP sees two objects" in explorer.verdict.value
    assert sentence in explorer.message.value
    assert bool(sentence) == bool(errors)
    assert re.findall(r"[\d.]+(?: ± [\d.]+)? mag|inf", said_by(explorer, "SEP")) == row
    explorer.asked["SEP"].value = False
    assert (explorer.message.value, said_by(explorer, "SEP")) == ("", "")
    errors.clear()


def test_methods_by_name_are_made_when_first_asked(accepted, monkeypatch):
    made, around = [], ((0, 0), (32, 32), (32, 32))
    big = bk.Sample(np.pad(accepted.images, around), np.pad(accepted.segmaps, around), accepted.catalog)
    method = lambda images: {"flux": [[1.0, 1.0]]}  # noqa: E731
    monkeypatch.setattr("blendkit.widgets.answers.outlining", lambda name: made.append(name) or method)
    assert list(bk.BlendExplorer(accepted).asked) == []  # of another size than those of the shipped network
    explorer = bk.BlendExplorer(big)
    assert made == []
    explorer.asked["fractions"].value = True
    explorer.dx.value = 3
    assert made == ["fractions"]
    assert said_by(explorer, "fractions")


def test_every_control_says_what_it_does(explorer):
    controls = (*explorer.galaxies, *explorer.sliders.values(), explorer.surprise, explorer.reset)
    assert all(control.description and control.tooltip for control in controls)
