"""Trained networks on disk: Keras weights, and beside them a card that says where they come from."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .quiet import load_keras
from .samples import _why

if TYPE_CHECKING:
    import keras

FOLDER = Path(__file__).resolve().parents[1] / "data" / "weights"
"""Where the weights that come with the package are."""

_H5 = ".weights.h5"
_NEEDED = ("architecture", "arguments", "sha256", "parameters")
_CARDS = weakref.WeakKeyDictionary()  # of the networks that were loaded here


def save(network: keras.Model, folder: str | os.PathLike, name: str, card: Mapping) -> Path:
    """Write a network's weights and their card, the card last: whoever sees a card finds its weights.

    Parameters
    ----------
    network : keras.Model
        As ``models.BUILDERS[card["architecture"]](**card["arguments"])`` makes it.
    folder : path
        Made when it is not there.
    name : str
        What the two files are called: ``name.weights.h5`` and ``name.json``; older ones are replaced.
    card : mapping
        `architecture` and `arguments`, and whatever else is known of the training; `name`, `sha256` (of the weights'
        file) and `parameters` (their number) are added.

    Returns
    -------
    pathlib.Path
        The file of the weights.

    Raises
    ------
    ValueError
        Where the card does not say how to build the network, or `name` is no plain file name.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise ValueError(f"name = {name!r} was given, expected a plain file name without folders, such as 'fractions'.")
    if missing := [key for key in _NEEDED[:2] if key not in card]:
        raise ValueError(
            f"the card of {name!r} lacks {' and '.join(missing)}, without which the network cannot be built again: "
            "give the name in models.BUILDERS and the arguments that built it."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / (name + _H5)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as draft:
        draft = Path(draft)
        network.save_weights(draft / weights.name)
        card = {"name": name, **card, "sha256": _sha256(draft / weights.name), "parameters": network.count_params()}
        _write(draft / f"{name}.json", card)
        with open(draft / weights.name, "rb") as file:
            os.fsync(file.fileno())
        os.replace(draft / weights.name, weights)
        os.replace(draft / f"{name}.json", _card_of(weights))
    return weights


def load(source: str | os.PathLike) -> tuple[keras.Model, dict]:
    """A trained network and its card.

    Parameters
    ----------
    source : str or path
        A name in `shipped`; or a ``.weights.h5`` file with its card beside it; or a folder with one such pair, as
        training leaves it; or a whole model in a ``.keras`` file, which has no card. Where a folder is called like
        shipped weights, write it with its path (``"./fractions"``).

    Returns
    -------
    network : keras.Model
    card : dict
        Empty for a ``.keras`` file.

    Raises
    ------
    FileNotFoundError
        Where there is no such name, file or card.
    ValueError
        Where the weights do not match their card, or the card does not match the networks that there are.
    """
    network, card = _load(source)
    _CARDS[network] = card
    return network, card


def card_of(network: keras.Model) -> dict:
    """The card that came with a network in memory.

    Parameters
    ----------
    network : keras.Model

    Returns
    -------
    dict
        Empty where the network was not given by `load`.
    """
    return _CARDS.get(network, {})


def shipped() -> dict[str, dict]:
    """The weights that come with the package.

    Returns
    -------
    dict of str to dict
        For each name its card, read without loading a network library.
    """
    pairs = {path.stem: (path, _card_or_none(path)) for path in sorted(FOLDER.glob("*.json"))}
    return {name: card for name, (path, card) in pairs.items() if card and path.with_name(name + _H5).is_file()}


def readable(card: Mapping) -> str:
    """A card as a few plain lines.

    Parameters
    ----------
    card : mapping
        As `load` and `shipped` give it.

    Returns
    -------
    str
    """
    if not card:
        return "Nothing is known of this network's training: it came without a card."
    arguments = ", ".join(f"{key}={value!r}" for key, value in card.get("arguments", {}).items())
    number = f", {card['parameters']:,} parameters" if "parameters" in card else ""
    lines = [f"{card.get('name', 'a network')}: {card.get('architecture', 'unknown')}({arguments}){number}"]
    data = [_words(card["sample"])] if card.get("sample") else []
    if card.get("seeds"):
        data.append(f"all galaxies of the simulation seeds {_ranges(card['seeds'])}")
    if card.get("galaxies"):
        data.append(f"{len(card['galaxies']):,} galaxies known by their digests")
    recipe = [f"{key} {_words(card[key])}" for key in ("profile", "seed", "epochs") if card.get(key) is not None]
    if card.get("seconds") is not None:
        recipe.append(f"{card['seconds'] / 60:.3g} minutes")
    if card.get("hardware"):
        recipe.append(f"on {_words(card['hardware'])}")
    said = {
        "data": "; ".join(data),
        "recipe": ", ".join(recipe),
        "versions": _words(card.get("versions", "")),
        "accuracy": "; ".join(_accuracy(card.get("accuracy") or {})),
        "limits": _words(card.get("limits", "")),
        "made by": _words(card.get("made_by", "")),
    }
    return "\n".join(lines + [f"  {key}: {text}" for key, text in said.items() if text])


def _load(source):
    if not isinstance(source, str | os.PathLike):
        raise ValueError(
            f"a {type(source).__name__} was given, expected a name ({', '.join(shipped()) or 'none is here'}), a path "
            "or a keras.Model: give one of these."
        )
    if isinstance(source, str) and (FOLDER / f"{source}.json").is_file():
        return _load_pair(FOLDER / (source + _H5))
    path = Path(source).expanduser()
    if path.is_dir():
        return _load_pair(_only_pair(path))
    if not path.is_file() and not path.name.endswith((_H5, ".keras")):
        raise FileNotFoundError(_unknown(source))
    if path.name.endswith(".keras"):
        return _load_keras(path), {}
    if not path.name.endswith(_H5):
        raise ValueError(f"'{path}' was given, expected a {_H5} or .keras file, or a folder: name one of these.")
    return _load_pair(path)


def _load_pair(weights):
    """Network and card of a .weights.h5 file, each checked against the other."""
    card = _read_card(weights)
    if not weights.is_file():
        raise FileNotFoundError(
            f"the weights '{weights}' are missing beside their card: fetch the file again, or train anew."
        )
    digest = _sha256(weights)
    if digest != card["sha256"]:
        raise ValueError(
            f"'{weights}' does not match its card (sha256 {digest[:12]}..., expected {str(card['sha256'])[:12]}...) "
            "and is refused: fetch both files again, or train anew."
        )
    network = _build(weights, card)
    if network.count_params() != card["parameters"]:
        raise ValueError(
            f"the weights '{weights.name}' have {card['parameters']:,} parameters, but {_call(card)} has "
            f"{network.count_params():,}: use the version of blendkit that they were trained with, or train anew."
        )
    try:
        network.load_weights(weights)
    except OSError as error:
        raise ValueError(
            f"'{weights}' is damaged, expected an HDF5 file ({_why(error)}): fetch it again, or train anew."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"the weights '{weights.name}' do not fit {_call(card)}, which their card names ({_why(error)}): "
            "use the version of blendkit that they were trained with, or train anew."
        ) from None
    return network, card


def _build(weights, card):
    """The network that a card describes, in float32 and not yet trained."""
    keras = load_keras()
    from .models import BUILDERS

    if card["architecture"] not in BUILDERS:
        raise ValueError(
            f"the card of '{weights.name}' names the architecture {card['architecture']!r}, expected one of "
            f"{', '.join(BUILDERS)}: use the version of blendkit that they were trained with."
        )
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in card["arguments"].items()}
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("float32")
        return BUILDERS[card["architecture"]](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{_call(card)}, which the card of '{weights.name}' names, cannot be built ({_why(error)}): "
            "use the version of blendkit that they were trained with."
        ) from None
    finally:
        keras.config.set_dtype_policy(policy)


def _load_keras(path):
    if not path.is_file():
        raise FileNotFoundError(f"there is no file '{path}': correct the path, or train a network first.")
    keras = load_keras()
    from . import models  # noqa: F401  (its layers must be known before they can be read)

    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # zip, HDF5, JSON and Keras each have errors of their own
        raise ValueError(
            f"'{path}' cannot be read as a Keras model ({_why(error)}): save it again with model.save."
        ) from None


def _only_pair(folder):
    """The weights of the one card in a folder; other files do not matter."""
    found = [path for path in sorted(folder.glob("*.json")) if _card_or_none(path)]
    if not found:
        raise FileNotFoundError(
            f"the folder '{folder}' holds no card of trained weights: name the folder in which training has ended, "
            f"or a {_H5} file with its card."
        )
    if len(found) > 1:
        names = ", ".join(path.stem + _H5 for path in found)
        raise ValueError(f"the folder '{folder}' holds {len(found)} networks ({names}): name one of these files.")
    return found[0].with_name(found[0].stem + _H5)


def _read_card(weights):
    path = _card_of(weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"the card '{path}' is missing, without which '{weights.name}' cannot be used: keep the two files together."
        )
    card = _card_or_none(path)
    if card is None:
        raise ValueError(
            f"'{path}' is no card of weights, expected a JSON object with {', '.join(_NEEDED)}: fetch it again."
        )
    return card


def _card_or_none(path):
    """What a JSON file holds if that is a card."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_card = isinstance(card, dict) and all(key in card for key in _NEEDED) and isinstance(card["arguments"], dict)
    return card if is_card else None


def _card_of(weights):
    return weights.with_name(weights.name.removesuffix(_H5) + ".json")


def _unknown(source):
    names = list(shipped())
    what = f"expected {', '.join(names)}, or the path of" if names else "expected the path of"
    cure = (
        "" if names else " (no weights came with this copy of blendkit: train with bk.train, or clone the repository)"
    )
    return f"there are no weights called {str(source)!r}, {what} a folder, a {_H5} or a .keras file{cure}."


def _call(card):
    return f"{card['architecture']}({', '.join(f'{key}={value!r}' for key, value in card['arguments'].items())})"


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path, card):
    """A card as JSON, to the disk and not only to its cache."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(_plain(card), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _plain(value):
    """What JSON knows: numbers and arrays of NumPy and paths turned into its types, None for what is no number."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _words(value):
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(str(item) for item in value)
    return str(value)


def _ranges(seeds):
    """``[7, 8, 9, 12]`` as ``7 to 9, 12``."""
    runs = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in runs)


def _accuracy(values, prefix=""):
    """``mape 6.4 ± 0.2`` for every number that has an error beside it, or ``mape 6.4``; groups one after the other."""
    if not isinstance(values, Mapping):
        return [_words(values)]
    lines, numbers = [], []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += _accuracy(value, f"{prefix}{key} ")
        elif not key.endswith("_err"):
            error = values.get(f"{key}_err")
            numbers.append(f"{key} {_number(value)}" + (f" ± {_number(error)}" if error is not None else ""))
    return ([prefix.strip() + ": " * bool(prefix) + ", ".join(numbers)] if numbers else []) + lines


def _number(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value)
