"""Trained networks on disk: Keras weights, and beside them a card that says where they come from."""

import base64
import json
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pooch import file_hash

from ..data.check import PathLike, require
from ..data.remote import drafted
from ..data.sample import Sample
from ..data.simulate import MAX_GALAXIES
from .backend import Model, load_keras

FOLDER = Path(__file__).resolve().parents[1] / "shipped" / "weights"  # of those that come with the package
H5 = ".weights.h5"
NEEDED = {"architecture", "arguments", "sha256", "parameters"}
CARDS = weakref.WeakKeyDictionary()  # of the networks that were loaded here


def save(network: Model, folder: PathLike, name: str, card: Mapping[str, Any]) -> Path:
    """Write ``name.weights.h5`` and then its card, which tells `architecture` and `arguments`, as ``name.json``."""
    import h5py  # comes with Keras

    require({"architecture", "arguments"} <= card.keys(), "a card needs architecture and arguments, as in bk.models.")
    with drafted(Path(folder), 8 * network.count_params()) as draft:  # HDF5 does not survive a full disk
        path, loose = draft / f"{name}{H5}", draft / f"{name}-loose{H5}"
        network.save_weights(loose)
        with h5py.File(loose) as old, h5py.File(path, "w", libver="latest") as new:  # 2 kB less than the oldest layout
            old.visititems(lambda key, item: new.update({key: item[()]} if isinstance(item, h5py.Dataset) else {}))
        loose.unlink()
        own = {"name": name, "sha256": file_hash(path), "parameters": network.count_params()}
        (draft / f"{name}.json").write_text(as_json({"name": name, **card} | own), encoding="utf-8")
    return Path(folder) / f"{name}{H5}"


def load(source: PathLike) -> tuple[Model, dict]:
    """A trained network and its card, by a name in `shipped`, from its ``.weights.h5``, folder or a ``.keras`` file."""
    named = isinstance(source, str) and (FOLDER / f"{source}.json").is_file()
    path = FOLDER / f"{source}{H5}" if named else Path(source).expanduser()
    if path.is_dir():
        found = [file.stem for file in sorted(path.glob("*.json")) if read_card(file)]
        require(found, f"the folder '{path}' holds no trained network: name the folder in which a training has ended.")
        require(len(found) == 1, f"the folder '{path}' holds several networks ({', '.join(found)}): name a {H5} file.")
        path = path / f"{found[0]}{H5}"
    keras = load_keras()
    from .builders import build  # needs keras

    if path.suffix == ".keras":
        network, card = keras.saving.load_model(path, compile=False), {}
    elif not path.name.endswith(H5):
        known = ", ".join(shipped())
        raise FileNotFoundError(f"no weights are called {str(source)!r}: give one of {known}, or a path.")
    else:
        card = read_card(path.with_name(path.name.removesuffix(H5) + ".json"))
        if card is None or not path.is_file():
            raise FileNotFoundError(f"'{path}' or its card is missing or damaged: keep both together, or train anew.")
        same = file_hash(path) == card["sha256"]
        require(same, f"'{path}' does not match its card: fetch both files again, or train anew.")
        try:
            arguments = {key: tuple(v) if isinstance(v, list) else v for key, v in card["arguments"].items()}
            network = build(card["architecture"], arguments)
            network.load_weights(path)
        except Exception as error:  # Keras, HDF5 and Python each have errors of their own
            told = f"'{path}' does not fit the {card['architecture']} of its card"
            raise ValueError(f"{told}: use the version of blendkit that trained it, or train anew.") from error
    CARDS[network] = card
    return network, card


def card_of(network: Model) -> dict:
    """The card that came with a network in memory; empty where `load` did not give it."""
    return CARDS.get(network, {})


def shipped() -> dict[str, dict]:
    """The cards of the weights that come with the package, by name; read without loading a network library."""
    cards = {path.stem: read_card(path) for path in sorted(FOLDER.glob("*.json"))}
    return {name: card for name, card in cards.items() if card and (FOLDER / f"{name}{H5}").is_file()}


def seen(samples: Iterable[Sample], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Which galaxies a network has seen: all of `seeds`, by seed a bitmap of `simulated` ones, digests of real ones."""
    seeds, places, real = _record(before or {})
    for i, digest in (pair for sample in samples for pair in sample.fingerprints.items()):
        seed, place = divmod(i - 1, MAX_GALAXIES)
        if not digest.startswith("s"):
            real[digest] = None
        elif seed not in seeds:
            places.setdefault(seed, set()).add(place)
    bits = {str(seed): np.isin(np.arange(max(there) + 1), list(there)) for seed, there in sorted(places.items())}
    bitmaps = {seed: base64.b64encode(np.packbits(b)).decode() for seed, b in bits.items()}
    return {"seeds": list(seeds), "simulated": bitmaps, "galaxies": list(real)}


def brief(card: Mapping[str, Any]) -> dict[str, Any]:
    """The record of `seen` in a card, in few words."""
    words = {"seeds": ranges(card.get("seeds") or []), "galaxies": " ".join(card.get("galaxies", ()))}
    return {key: value for key, value in (words | {"simulated": card.get("simulated")}).items() if value}


def was_seen(trained_on: Mapping[str, Any], fingerprints: Mapping[int, str]) -> list[int]:
    """The ids of those galaxies, given by their digests, that a record of `seen` tells of."""
    seeds, places, real = _record(trained_on)

    def known(i, digest):
        seed, place = divmod(i - 1, MAX_GALAXIES)
        return seed in seeds or place in places.get(seed, ()) if digest.startswith("s") else digest in real

    return [i for i, digest in fingerprints.items() if known(i, digest)]


def read_card(path: Path) -> dict | None:
    """What a JSON file holds if that is a card."""
    with suppress(OSError, ValueError):
        card = json.loads(path.read_text(encoding="utf-8"))
        return card if isinstance(card, dict) and card.keys() >= NEEDED else None


def as_json(card: Mapping[str, Any]) -> str:
    """A card as JSON, a line for each entry; numbers of NumPy and paths may stand in it."""
    options = {"ensure_ascii": False, "allow_nan": False, "default": lambda v: getattr(v, "tolist", v.__str__)()}
    lines = (f" {json.dumps(key)}: {json.dumps(value, **options)}" for key, value in card.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def ranges(seeds: Iterable[int]) -> str:
    """``[7, 8, 9, 12]`` as ``7 to 9, 12``."""
    seeds = np.unique(list(seeds))
    runs = np.split(seeds, np.flatnonzero(np.diff(seeds) > 1) + 1)
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs if len(run))


def _record(trained_on):
    """Seeds, running numbers by seed, and digests (dicts keep their order) of a record of `seen`."""
    bits = {seed: np.frombuffer(base64.b64decode(b), np.uint8) for seed, b in trained_on.get("simulated", {}).items()}
    places = {int(seed): set(np.flatnonzero(np.unpackbits(b)).tolist()) for seed, b in bits.items()}
    seeds, real = (trained_on.get(key, ()) for key in ("seeds", "galaxies"))
    if isinstance(seeds, str):  # as `brief` has it
        runs = (list(map(int, run.split(" to "))) for run in seeds.split(", "))
        seeds = [seed for run in runs for seed in range(run[0], run[-1] + 1)]
    return dict.fromkeys(seeds), places, dict.fromkeys(real.split() if isinstance(real, str) else real)
