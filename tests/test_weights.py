"""Weights and their cards: what is saved comes back, and what does not belong together is refused."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blendkit import models, weights

keras = pytest.importorskip("keras")
SHAPE = (32, 32)
CARD = {"architecture": "blend2flux", "arguments": {"filters": 2, "dense": 4, "shape": SHAPE}}


def build(filters=2, **more):
    return models.blend2flux(filters, **{"dense": 4, "shape": SHAPE} | more)


@pytest.fixture(scope="module")
def network():
    return build()


@pytest.fixture
def saved(network, tmp_path):
    """The .weights.h5 file of a pair."""
    return weights.save(network, tmp_path / "run", "small", CARD)


@pytest.fixture
def shipped(monkeypatch, saved):
    """The pair as if it had come with the package."""
    monkeypatch.setattr(weights, "FOLDER", saved.parent)
    return saved


def answer(network):
    return network(np.random.default_rng(0).normal(size=(2, *SHAPE, 1)).astype("f4"))


def rewrite(saved, **changes):
    """Change the card; None removes an entry."""
    path = saved.with_name("small.json")
    card = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({k: v for k, v in card.items() if v is not None}), encoding="utf-8")


def sentence(error):
    """The message, which is one sentence in one line that ends with what to do."""
    text = str(error.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert not re.search(r"\. [A-Z]", text), text
    return text


class TestRoundTrip:
    @pytest.mark.parametrize("how", ["file", "string", "folder", "name"])
    def test_what_is_saved_comes_back(self, network, shipped, how, monkeypatch, tmp_path):
        source = {"file": shipped, "string": str(shipped), "folder": shipped.parent, "name": "small"}[how]
        loaded, card = weights.load(source)
        assert (keras.ops.convert_to_numpy(answer(loaded)) == keras.ops.convert_to_numpy(answer(network))).all()
        assert card["name"] == "small"
        assert card["parameters"] == network.count_params()
        assert card["architecture"] == "blend2flux"
        assert len(card["sha256"]) == 64

    def test_a_keras_file(self, network, tmp_path):
        network.save(tmp_path / "whole.keras")
        loaded, card = weights.load(tmp_path / "whole.keras")
        assert card == {}
        assert (keras.ops.convert_to_numpy(answer(loaded)) == keras.ops.convert_to_numpy(answer(network))).all()

    def test_numbers_of_numpy_go_into_a_card(self, network, tmp_path):
        card = CARD | {"seeds": np.arange(3), "accuracy": {"mape": np.float32(1.5)}, "sample": Path("x")}
        loaded = weights.load(weights.save(network, tmp_path, "n", card))[1]
        assert (loaded["seeds"], loaded["accuracy"], loaded["sample"]) == ([0, 1, 2], {"mape": 1.5}, "x")

    def test_a_folder_as_training_leaves_it(self, network, saved):
        """Checkpoints, histories and half-written files beside the one card do not matter."""
        network.save_weights(saved.with_name("checkpoint.weights.h5"))
        saved.with_name("history.json").write_text("[1, 2]")
        saved.with_name("state.json").write_text('{"epoch": 3}')
        saved.with_name("torn.json").write_text('{"architecture": "bl')
        assert weights.load(saved.parent)[1]["name"] == "small"

    def test_every_network_of_the_package(self, tmp_path):
        arguments = {
            "blend2flux": {"filters": 2},
            "unet": {"depth": 2, "filters": 2},
            "blend2mask2flux": {"depth": 2, "filters": 2, "flux_filters": 2, "dense": 2},
            "fractions": {"width": 4},
        }
        for name in models.BUILDERS:
            card = {"architecture": name, "arguments": arguments[name] | {"shape": [32, 32]}}
            network = models.BUILDERS[name](**arguments[name], shape=SHAPE)
            loaded, _ = weights.load(weights.save(network, tmp_path, name, card))
            for a, b in zip(network.get_weights(), loaded.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)


class TestAtomic:
    def test_nothing_else_is_left(self, saved):
        assert sorted(os.listdir(saved.parent)) == ["small.json", "small.weights.h5"]

    def test_a_failure_leaves_the_old_pair(self, saved, monkeypatch):
        before = {path.name: path.read_bytes() for path in saved.parent.iterdir()}

        def full(source, target):
            raise OSError("no space left on device")

        for broken, name in ((weights.json, "dumps"), (weights.os, "replace")):
            with monkeypatch.context() as patch:
                patch.setattr(broken, name, full)
                with pytest.raises((OSError, TypeError)):
                    weights.save(build(), saved.parent, "small", CARD)
            assert {path.name: path.read_bytes() for path in saved.parent.iterdir()} == before

    def test_the_card_comes_last(self, saved, monkeypatch):
        """Between the two, the old card with the new weights is refused, not used."""
        replace, moved = os.replace, []

        def watch(source, target):
            moved.append(Path(target).name)
            assert Path(source).parent.parent == Path(target).parent
            replace(source, target)
            if len(moved) == 1:
                with pytest.raises(ValueError, match="does not match its card"):
                    weights.load(saved)

        monkeypatch.setattr(weights.os, "replace", watch)
        weights.save(build(), saved.parent, "small", CARD)
        assert moved == ["small.weights.h5", "small.json"]
        weights.load(saved)

    @pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden"])
    def test_names_are_plain(self, network, tmp_path, name):
        with pytest.raises(ValueError, match="plain file name") as error:
            weights.save(network, tmp_path, name, CARD)
        sentence(error)

    def test_a_card_that_cannot_build(self, network, tmp_path):
        with pytest.raises(ValueError, match=r"lacks architecture and arguments.*models\.BUILDERS") as error:
            weights.save(network, tmp_path, "small", {"seed": 1})
        sentence(error)
        assert not list(tmp_path.iterdir())


class TestRefused:
    def refused(self, source, kind, match):
        with pytest.raises(kind, match=match) as error:
            weights.load(source)
        sentence(error)

    def test_an_unknown_name(self, shipped):
        self.refused("smal", FileNotFoundError, "no weights called 'smal', expected small, or the path")

    def test_nothing_shipped(self, monkeypatch, tmp_path):
        monkeypatch.setattr(weights, "FOLDER", tmp_path / "not there")
        self.refused("fractions", FileNotFoundError, r"expected the path.*bk\.train.*clone the repository")

    def test_missing_files(self, saved, tmp_path):
        self.refused(tmp_path, FileNotFoundError, "holds no card")
        self.refused(tmp_path / "no.keras", FileNotFoundError, "no file")
        self.refused(tmp_path / "no.weights.h5", FileNotFoundError, "card .* is missing")
        self.refused(saved.with_name("small.json"), ValueError, r"expected a \.weights\.h5 or \.keras file")
        saved.unlink()
        self.refused(saved, FileNotFoundError, "weights .* are missing beside their card")
        self.refused(saved.parent, FileNotFoundError, "weights .* are missing beside their card")

    def test_a_missing_card(self, saved):
        saved.with_name("small.json").unlink()
        self.refused(saved, FileNotFoundError, "the card .* is missing.*keep the two files together")

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"architecture": "unet"}', '{"architecture": "unet", '
                             '"arguments": [1], "sha256": "a", "parameters": 1}', "\udcff"])  # fmt: skip
    def test_what_is_no_card(self, saved, text):
        saved.with_name("small.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        self.refused(saved, ValueError, "is no card of weights.*fetch it again")

    def test_two_networks_in_a_folder(self, network, saved):
        weights.save(network, saved.parent, "other", CARD)
        self.refused(saved.parent, ValueError, r"holds 2 networks \(other\.weights\.h5, small\.weights\.h5\)")

    def test_a_hash_that_does_not_match(self, saved):
        content = bytearray(saved.read_bytes())
        content[-1] ^= 1
        saved.write_bytes(content)
        self.refused(saved, ValueError, "does not match its card .* is refused: fetch both files again")

    def test_an_unknown_architecture(self, saved):
        rewrite(saved, architecture="transformer")
        self.refused(saved, ValueError, "'transformer', expected one of blend2flux, unet")

    @pytest.mark.parametrize("arguments", [{"colour": 1}, {"filters": 0}, {"filters": 2, "shape": [31, 31]}])
    def test_arguments_that_do_not_fit(self, saved, arguments):
        rewrite(saved, arguments=arguments)
        self.refused(saved, ValueError, r"blend2flux\(.*cannot be built")

    def test_weights_of_another_network(self, saved):
        rewrite(saved, arguments={"filters": 3, "dense": 4, "shape": [32, 32]})
        self.refused(saved, ValueError, r"have [\d,]+ parameters, but blend2flux\(filters=3.* has [\d,]+")
        rewrite(saved, parameters=build(3).count_params())
        self.refused(saved, ValueError, r"do not fit blend2flux\(filters=3")

    def test_a_damaged_file_whose_hash_matches(self, saved):
        for content in (b"", b"not HDF5", saved.read_bytes()[:3000]):
            saved.write_bytes(content)
            rewrite(saved, sha256=weights._sha256(saved))
            self.refused(saved, ValueError, "damaged")

    def test_a_damaged_keras_file(self, tmp_path):
        (tmp_path / "bad.keras").write_bytes(b"no zip")
        self.refused(tmp_path / "bad.keras", ValueError, "cannot be read as a Keras model")


class TestShipped:
    def test_complete_pairs_alone(self, shipped):
        shipped.with_name("lonely.json").write_text(shipped.with_name("small.json").read_text())
        shipped.with_name("broken.json").write_text("{")
        assert list(weights.shipped()) == ["small"]

    def test_without_keras(self):
        code = (
            "import sys; from blendkit import weights; cards = weights.shipped(); "
            "[weights.readable(card) for card in cards.values()]; print(*{'keras', 'tensorflow'} & set(sys.modules))"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == ""

    def test_preflight_names_them(self, shipped):
        import importlib

        module = importlib.import_module("blendkit.preflight")
        assert module._weights() == "weights: small"
        shipped.unlink()
        assert module._weights().startswith("weights: none")

    @pytest.mark.parametrize("name", list(weights.shipped()))
    def test_those_of_this_checkout(self, name):
        """Each loads, is small enough, and its card tells where it comes from."""
        network, card = weights.load(name)
        assert network.count_params() == card["parameters"]
        assert (weights.FOLDER / f"{name}.weights.h5").stat().st_size < 4e6
        assert card["name"] == name
        for key in ("seed", "accuracy", "limits", "made_by", "seeds", "galaxies"):
            assert key in card, key
        assert card["seeds"] or card["galaxies"]
        assert not {0, 42} & set(card["seeds"]), "load_sample's and the tests' own seeds"
        for said in (name, "limits", "accuracy"):
            assert said in weights.readable(card)


class TestReadable:
    def test_all_that_is_known(self):
        card = CARD | {
            "name": "fractions", "parameters": 512345, "sample": "synthetic", "seeds": [1001, 1002, 1003, 7],
            "galaxies": ["a"] * 1200, "profile": "paper", "seed": 42, "epochs": 60, "seconds": 5400, "hardware": "GPU",
            "versions": {"keras": "3.15"}, "limits": ["Needs 0.006 e-/s of noise."], "made_by": "python -m x",
            "accuracy": {"synthetic": {"mape": 6.42, "mape_err": 0.21, "iou": 0.83}, "real": {"mape": 10.0}},
        }  # fmt: skip
        text = weights.readable(card)
        for said in (
            "fractions: blend2flux(filters=2", "512,345 parameters", "seeds 7, 1001 to 1003", "1,200 galaxies",
            "profile paper, seed 42, epochs 60, 90 minutes, on GPU", "synthetic: mape 6.42 ± 0.21, iou 0.83",
            "real: mape 10", "limits: Needs 0.006", "versions: keras 3.15", "made by: python -m x",
        ):  # fmt: skip
            assert said in text, said
        assert text.count("\n") < 9

    def test_nothing_known(self):
        assert "without a card" in weights.readable({})
        assert weights.readable(CARD).startswith("a network: blend2flux(")


def test_a_card_is_json_even_where_numbers_are_none(network, tmp_path):
    card = CARD | {"accuracy": {"mape": np.float32(np.nan), "n": np.int64(3)}, "seconds": float("inf"), "fine": True}
    path = weights.save(network, tmp_path, "small", card).with_name("small.json")
    stored = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(f"{name} in a card"))
    assert stored["accuracy"] == {"mape": None, "n": 3}
    assert (stored["seconds"], stored["fine"]) == (None, True)


def test_loaded_in_float32_whatever_the_policy(saved):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        loaded, _ = weights.load(saved)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}


def test_neither_name_nor_path():
    with pytest.raises(ValueError, match="a NoneType was given, expected a name") as error:
        weights.load(None)
    sentence(error)
