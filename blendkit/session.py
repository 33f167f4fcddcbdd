"""The first cell of every notebook: is everything here that it needs?"""

import shutil
import sys
from collections import namedtuple
from importlib.util import find_spec
from pathlib import Path

import psutil

from . import __version__
from .data.check import PathLike, require
from .data.remote import data_folder, missing
from .networks.backend import backend, device, version
from .networks.weights import shipped

PACKAGES = ("astropy", "galsim", "ipywidgets", "keras", "matplotlib", "numpy", "plotly", "sep")
NEED_MEMORY, NEED_DISK = 3.0, 1.0  # GB


Profile = namedtuple("Profile", "galaxies blends")  # of the sample, None are all that there are; to compare methods on
PROFILES = {"quick": Profile(200, 300), "tutorial": Profile(2000, 2000), "paper": Profile(None, 5000)}


def profile(name: str) -> Profile:
    """How much of everything a notebook run uses: "quick" for tests, "tutorial", or "paper" for full size."""
    require(name in PROFILES, f"the profile {name!r} was asked for, expected one of {', '.join(PROFILES)}.")
    return PROFILES[name]


def preflight(sample: PathLike = "synthetic") -> None:
    """Print one line when all is well, and one for each thing that is not; `sample` is what `load_sample` will get."""
    lacking = ", ".join(name for name in PACKAGES if version(name) is None)
    folder = data_folder()
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    memory, disk = psutil.virtual_memory().available / 1e9, shutil.disk_usage(there).free / 1e9
    known = {"synthetic": "synthetic (simulated on first use)"}
    known["candels"] = "CANDELS" + " (about 120 MB, downloaded on first use)" * bool(missing(folder / "candels"))
    absent = "" if sample in known else ", ".join(missing(Path(sample).expanduser()))
    how = known.get(sample, f"folder {Path(sample).name}")
    python, engine = sys.version.split()[0], backend()
    checks = {
        f"Python {python} is not one of 3.11 to 3.13: make a new environment.": (3, 11) <= sys.version_info < (3, 14),
        f"{lacking} cannot be found: run `pip install .` in the blendkit folder.": not lacking,
        f"Keras' backend {engine!r} cannot be found, so there are no networks: install it, or set KERAS_BACKEND to "
        "tensorflow, jax or torch; SEP, the explorer and the figures need none.": find_spec(engine),
        f"only {memory:.1f} GB of memory are free, {NEED_MEMORY:.0f} are needed: close other programs.":
            memory >= NEED_MEMORY,
        f"only {disk:.1f} GB of disk are free in {folder}, {NEED_DISK:.0f} are needed: make room, or set BLENDKIT_DATA "
        "to a folder elsewhere.": disk >= NEED_DISK,
        f"the sample folder '{Path(sample)}' lacks {absent}: correct SAMPLE, or use 'synthetic'.": not absent,
    }  # fmt: skip
    summary = (
        f"blendkit {__version__}, Python {python}, Keras {version('keras')} on {engine} "
        f"{version(engine)}, {device()}; sample: {'missing' if absent else how}; "
        f"weights: {', '.join(shipped()) or 'none yet (SEP needs none)'}; "
        f"{memory:.0f} GB memory and {disk:.0f} GB disk free."
    )
    noted = [problem for problem, well in checks.items() if not well]
    print(summary if noted else f"All is well: {summary}")
    for problem in noted:
        print(f"Please note: {problem}")
