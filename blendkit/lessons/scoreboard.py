"""The class scoreboard: everybody's methods on the same blends, in a shared folder or on the tutor's machine."""

import hashlib
import json
import os
import secrets
import time
import tomllib
import unicodedata
import zlib
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
import requests
from astropy.table import Column, Table
from requests.adapters import HTTPAdapter, Retry

from ..blends.recipe import draw_blends
from ..blends.rendering import render
from ..data.check import floats, require
from ..data.cleaning import clean
from ..data.load import load_sample
from ..data.remote import CHECKOUT
from ..deblenders.methods import checked, labelled, measure
from ..deblenders.network import Network
from ..metrics.scores import by_member, measurements, tabulate
from ..widgets.answers import tallied, tally_line
from .experiments import Readable

GALAXIES, BLENDS, SEED = 240, 500, 64_128  # the class's set; no shipped network and no notebook knows this seed
SOFT, STEPS = 0.275, 400  # of images on their way: steps of 1/8 of the sky's noise, of 0.25 % where they are bright
COLUMNS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))  # format, description


@lru_cache(2)
def class_set(seed: int = SEED) -> tuple[np.ndarray, Table]:
    """The images of the class's blends, and their recipes."""
    sample = clean(load_sample("synthetic", n=GALAXIES, seed=seed))
    blends = draw_blends(sample, BLENDS, seed=seed)
    return render(sample, blends, masks=False)[0], blends


def class_images(to: str | os.PathLike | None = None) -> np.ndarray:
    """The blends that methods are compared on, (n, 128, 128) in e-/s; `to` as for `submit`."""
    to = _place(to)
    return class_set()[0].copy() if isinstance(to, Path) else _images(to, _asked(f"{to}/board.json")["images"]).copy()


def submit(name: str, method, *, to: str | os.PathLike | None = None) -> Readable:
    """Measure the class's blends and put the scores on the scoreboard that everybody sees; it comes back, best first.

    A name is theirs who used it first. Of several tries with a method the best is shown; the same twice is one try.

    Parameters
    ----------
    name, method : str; name of a method, deblender, ``{label: deblender}``, keras model, predictions, or explorer
        Predictions are what was measured on `blendkit.lessons.class_images`: a table or dict with `flux` (n, 2), e-/s,
        the central galaxy first, and perhaps `flux_err`. Of an explorer the rounds of its guess game are handed in.
    to : str or path, optional
        A folder that the class shares, or the address that `make scoreboard` tells; by default the environment
        variable BLENDKIT_CLASS, else ``results/scoreboard`` of the checkout.
    """
    to, sent = _place(to), {"name": word(name, "the name"), "token": _token()}
    if hasattr(method, "tally"):
        rows = [dict(zip(row.colnames, row, strict=True)) for row in method.tally]
        require(rows, "there is no round yet: hide the truth, press 'surprise me', guess both magnitudes, untick.")
        sent["rounds"] = [{k.strip("<>"): float(v) for k, v in row.items() if v is not np.ma.masked} for row in rows]
    else:
        label, table = _measured(method, class_images(to))
        sent |= {"method": word(label.strip("<>"), "the method"), "seconds": table.meta.get("seconds_per_blend")}
        sent |= {key: floats(table[key]).tolist() for key in ("flux", "flux_err") if key in table.colnames}
    if isinstance(to, Path):  # into a folder, whatever others do there
        key, owner, record = judged(sent, class_set()[1])
        to.mkdir(parents=True, exist_ok=True)
        whose(record["name"], _written(to / f"name-{digest(record['name'].casefold())}", owner), owner)
        record = json.loads(_written(to / f"try-{key}.json", json.dumps(record)))
        shown = ranked(_read(to)) | {"yours": record}
    else:
        shown = _asked(f"{to}/submit", json.dumps(sent))
    told = "{name}, {method}: {error:.1f} ± {error_err:.1f} % off" if "method" in sent else "{name}: your rounds count"
    print(*filter(None, (told.format_map(shown["yours"]), tally_line(shown["guesses"], "the class"))), sep="\n")
    table = Readable({key: [row[key] for row in shown["rows"]] for key in ("rank", "name", "method")})
    for key, (_, about) in COLUMNS.items():
        table[key] = Column([said(row, key) for row in shown["rows"]], description=about)
    return table


def said(row: dict, key: str) -> str:
    """A cell of the scoreboard."""
    value, error, form = row[key], row.get(f"{key}_err"), COLUMNS[key][0]
    if key == "time":
        return time.strftime("%a %H:%M", time.localtime(value))
    if value is None or value > 999:
        return "–" if value is None else "> 999"
    return f"{value:{form}}" + (f" ± {error:{form}}" if error is not None else "")


def judged(sent: dict, blends: Table) -> tuple[str, str, dict]:
    """Keys of a submission (the same for the same again) and of its owner, and the record that is kept of it."""
    record = {"name": word(sent["name"], "the name"), "time": time.time()} | {"rounds": sent.get("rounds", [])}
    if "method" in sent:
        method = record["method"] = word(sent["method"], "the method")
        pred = Table({key: np.array(sent[key], float) for key in ("flux", "flux_err") if key in sent})
        rows = measurements(blends, {method: pred})
        record["failed"], rows["measured"] = 100 * np.isnan(rows["measured"]).mean(), np.nan_to_num(rows["measured"])
        groups, names = by_member(rows, ("total", "central", "companion")), ("mape_flux", "median_flux", "within_1")
        lines = tabulate(rows, ("method", "member"), groups, names, 200, 0)
        for end in ("", "_err"):
            errors = lines["mape_flux" + end].tolist()
            record |= {f"error{end}": errors[0], f"central{end}": errors[1], f"companion{end}": errors[2]}
            record["median" + end] = float(lines["median_flux" + end][0])
        record["within"] = 100 * float(lines["within_1"][0]) if "flux_err" in sent else None
        record["seconds"] = sent.get("seconds")
    content = {key: value for key, value in sent.items() if key not in ("token", "seconds")}
    return digest(content), digest(sent["token"]), record


def ranked(records) -> dict:
    """What is shown of all records: everybody's best try with each method, best first, and the guesses together."""
    tries, rounds = {}, {}
    for record in sorted(records, key=lambda record: (record.get("error", 0), record["time"])):
        rounds |= {digest([record["name"], each]): each for each in record["rounds"]}
        if "method" in record:
            tries.setdefault((record["name"].casefold(), record["method"]), []).append(record)
    rows = [{"rank": i, **best, "tries": 1 + len(more)} for i, (best, *more) in enumerate(tries.values(), 1)]
    return {"rows": rows, "guesses": tallied(Table(rows=list(rounds.values())))}


def word(text: str, what: str) -> str:
    """A name that is fit to be shown."""
    text = unicodedata.normalize("NFKC", text).strip() if isinstance(text, str) and len(text) < 200 else ""
    good = 0 < len(text) <= 40 and text.isprintable() and not set(text) & set("<>&\"'`\\/")
    require(good, f"{what} cannot be shown, expected 1 to 40 letters, digits, spaces and signs, none of <>&\"'`\\/.")
    return text


def digest(content) -> str:
    """A key made of anything that JSON can say."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def whose(name: str, owner: str, mine: str) -> None:
    """Refuse a name that belongs to somebody else."""
    require(owner == mine, f"the name {name!r} belongs to somebody who used it first: choose another one.")


def _place(to):
    home = CHECKOUT if (CHECKOUT / "notebooks").is_dir() else Path()
    to = os.fspath(to or os.environ.get("BLENDKIT_CLASS") or home / "results" / "scoreboard")
    return to.rstrip("/") if to.startswith(("http://", "https://")) else Path(to).expanduser()


def _measured(method, images):
    """A method's label and its predictions."""
    if isinstance(method, Table | Mapping) and "flux" in getattr(method, "colnames", method):
        return str(getattr(method, "meta", {}).get("method", "predictions")), checked("own", method, len(images))
    methods = labelled(Network(method) if hasattr(method, "predict_on_batch") else method)
    require(len(methods) == 1, f"{len(methods)} methods were given, expected one: hand them in one after the other.")
    return measure(images, methods).popitem()


def _read(folder):
    """The records in a folder; what is none is left out."""
    for file in folder.glob("try-*.json"):
        with suppress(ValueError, LookupError, TypeError, AttributeError, OSError):
            record = json.loads(file.read_bytes())
            if all(said(row, key) for row in ranked([record])["rows"] for key in COLUMNS):
                yield record


def _written(path, text, mode=0o644):
    """What a file says, which is `text` unless it was there before; it appears whole."""
    draft = path.with_name(f".{secrets.token_hex(8)}")
    with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb", buffering=0) as file:
        file.write(text.encode())
        os.fsync(file.fileno())
    with suppress(OSError):  # it is there already, or this disk has no links
        os.link(draft, path)
    draft.unlink() if path.exists() else draft.replace(path)
    return path.read_text("utf-8")


def _token():
    """A secret of this student's; its digest tells whose a name is."""
    return _written(Path.home() / ".blendkit-class", secrets.token_hex(16), 0o600)


def _asked(address, body=None):
    """What the tutor's machine answers; while it is busy or away it is asked again."""
    again = Retry(4, backoff_factor=0.5, status_forcelist=(429, 503), allowed_methods=None, raise_on_status=False)
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands in a classroom
        session.mount("http", HTTPAdapter(max_retries=again))
        try:
            kind = {"Content-Type": "application/json"}
            answer = session.request("POST" if body else "GET", address, data=body, headers=kind, timeout=60)
            told = answer.content if answer.headers.get("Content-Type") == "application/octet-stream" else answer.json()
        except requests.RequestException as error:
            why = f"{address} does not answer as a scoreboard ({type(error).__name__})"
            raise ConnectionError(f"{why}: ask the tutor for its address, and whether it runs.") from None
    require(answer.ok, f"the scoreboard refuses this: {told['error'] if not answer.ok else ''}")
    return told


@lru_cache(1)
def _images(to, which):
    """Images as the tutor's machine sends them."""
    steps = np.frombuffer(zlib.decompress(_asked(f"{to}/images-{which}")), "<i2").reshape(-1, 128, 128)
    return np.float32(SOFT) * np.sinh(steps / np.float32(STEPS))
