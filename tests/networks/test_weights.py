"""Weights and their cards: what is saved comes back, what does not belong together is refused, and who was seen."""

import json
import os
from dataclasses import replace
from functools import partial

import pytest
from conftest import module, refused, same_weights

import blendkit as bk
from blendkit.networks import weights
from blendkit.networks.backend import load_keras

keras = load_keras()
SHAPE = (32, 32)
CARD = {"architecture": "blend2flux", "arguments": {"filters": 2, "dense": 4, "shape": SHAPE}}
build = partial(bk.models.blend2flux, 2, dense=4, shape=SHAPE)
network = module(lambda: build())
simulated = module(lambda synthetic_clean: bk.split(synthetic_clean, (0.6, 0.4), seed=1))


@pytest.fixture
def saved(network, tmp_path, monkeypatch):
    """The .weights.h5 file of a pair, which stands as if it had come with the package."""
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "run")
    return weights.save(network, tmp_path / "run", "small", CARD)


class TestRoundTrip:
    def test_what_is_saved_comes_back(self, network, saved):
        for source in (saved, str(saved), saved.parent, "small"):
            loaded, card = bk.weights.load(source)
            assert same_weights(loaded, network)
            expected = {"name": "small", "architecture": "blend2flux", "parameters": network.count_params()}
            assert card.items() >= expected.items()
            assert (bk.weights.card_of(loaded), bk.weights.card_of(network)) == (card, {})

    @pytest.mark.parametrize(("name", "arguments"), [("blend2flux", {"filters": 2}), ("fractions", {"width": 4})])
    def test_a_keras_file(self, tmp_path, name, arguments):
        network = bk.models.BUILDERS[name](**arguments, shape=SHAPE)
        network.save(tmp_path / "whole.keras")
        loaded, card = bk.weights.load(tmp_path / "whole.keras")
        assert (card, same_weights(loaded, network)) == ({}, True)

    def test_a_folder_as_training_leaves_it(self, network, saved):
        """Checkpoints, histories and half-written files beside the one card do not matter."""
        network.save_weights(saved.with_name("checkpoint.weights.h5"))
        saved.with_name("history.json").write_text("[1, 2]")
        saved.with_name("torn.json").write_text('{"architecture": "bl')
        saved.with_name("lonely.json").write_text(saved.with_name("small.json").read_text())
        assert list(bk.weights.shipped()) == ["small"]
        saved.with_name("lonely.json").unlink()
        assert weights.load(saved.parent)[1]["name"] == "small"

    def test_loaded_in_float32_whatever_the_policy(self, saved):
        keras.config.set_dtype_policy("mixed_bfloat16")
        (loaded, _), policy = weights.load(saved), keras.config.dtype_policy().name
        keras.config.set_dtype_policy("float32")
        assert ({layer.compute_dtype for layer in loaded.layers}, policy) == ({"float32"}, "mixed_bfloat16")

    def test_the_card_comes_last(self, saved, monkeypatch):
        """Stopped between the two: the old card with the new weights is refused, not used."""
        move = os.replace
        monkeypatch.setattr(os, "replace", lambda draft, path: move(draft, path if path == saved else 1 / 0))
        with pytest.raises(ZeroDivisionError):
            weights.save(build(), saved.parent, "small", CARD)
        refused(lambda: weights.load(saved), "does not match its card")


class TestRefused:
    @pytest.mark.parametrize("source", ["smal", "no/folder", "run/small.json", "small.weights.h5"])
    def test_what_is_not_there(self, saved, source, monkeypatch):
        """A wrong name is answered with the known ones."""
        monkeypatch.chdir(saved.parent.parent)
        refused(lambda: weights.load(source), "small", error=FileNotFoundError)

    def test_folders_with_two_networks_or_none(self, network, saved):
        weights.save(network, saved.parent, "other", CARD)
        refused(lambda: weights.load(saved.parent), "other, small")
        for name in ("other", "small"):
            saved.with_name(f"{name}.json").write_text('{"architecture": "unet"}')
        refused(lambda: weights.load(saved.parent), "holds no trained network")
        refused(lambda: weights.load(saved), "keep both together", error=FileNotFoundError)

    def test_weights_of_another_network(self, saved):
        path = saved.with_name("small.json")
        card, larger = json.loads(path.read_text()), {"filters": 3, "dense": 4, "shape": [32, 32]}
        for change in ("transformer", {"colour": 1}, {"filters": 0}, larger):
            key = "architecture" if isinstance(change, str) else "arguments"
            path.write_text(json.dumps(card | {key: change}))
            refused(lambda: weights.load(saved), "does not fit")


class TestShipped:
    @pytest.mark.parametrize("name", list(weights.shipped()))
    def test_those_of_this_checkout(self, name):
        """Each loads, and its card is small and tells where it comes from."""
        network, card = weights.load(name)
        assert (card["name"], card["parameters"]) == (name, network.count_params())
        assert (weights.FOLDER / f"{name}.json").stat().st_size < 20_000
        assert {"seed", "accuracy", "limits", "made_by", "n_galaxies", "hardware", "seconds"} <= card.keys()
        assert card["seeds"]
        assert not {0, 42} & set(card["seeds"]), "load_sample's and the tests' own seeds"

    def test_none_has_seen_the_real_galaxies(self, hst_clean):
        seen = [weights.was_seen(card, hst_clean.fingerprints) for card in weights.shipped().values()]
        assert seen == [[], [], [], []]


class TestSeen:
    """A record of the galaxies that a network was trained on: simulated ones by number, real ones by digest."""

    def test_these_and_no_others(self, simulated, hst_clean):
        """Also a record that is read again and gone on with; a simulated galaxy is known however it was cleaned."""
        (train, test), (few, rest) = simulated, bk.split(hst_clean, (0.2, 0.8), seed=1)
        record = weights.seen([few], json.loads(json.dumps(weights.seen([train, few[:5]]))))
        assert [len(part) for part in record.values()] == [0, 1, len(few)]
        assert len(record["simulated"]["0"]) < 100, "a bit for each galaxy"
        for sample in (train, few, replace(train, images=2 * train.images)):
            assert weights.was_seen(record, sample.fingerprints) == list(sample.fingerprints)
        for sample in (test, rest):
            assert weights.was_seen(record, sample.fingerprints) == []

    def test_whole_simulations(self, simulated):
        """Of a seed in `seeds` every galaxy counts as seen, also those that were not drawn."""
        known = simulated[1].fingerprints
        assert [weights.was_seen({"seeds": [seed]}, known) for seed in (0, 1)] == [list(known), []]
        assert weights.seen(simulated, {"seeds": [0]}) == {"seeds": [0], "simulated": {}, "galaxies": []}
