"""The first cell of every notebook: is everything here that it needs?"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .download import CANDELS_FILES, data_folder

PACKAGES = ("astropy", "galsim", "ipywidgets", "keras", "matplotlib", "numpy", "plotly", "sep", "tensorflow")
NEED_MEMORY, NEED_DISK = 3.0, 1.0  # GB


@dataclass(frozen=True)
class Profile:
    """How much of everything a notebook run uses.

    Attributes
    ----------
    galaxies : int or None
        Galaxies of the sample; None takes all that a real sample has (2,000 synthetic ones).
    blends : int
        Blends that methods are compared on.
    """

    galaxies: int | None
    blends: int


PROFILES = {
    "quick": Profile(galaxies=200, blends=300),
    "tutorial": Profile(galaxies=2000, blends=2000),
    "paper": Profile(galaxies=None, blends=5000),
}


def profile(name: str) -> Profile:
    """How much of everything a notebook run uses.

    Parameters
    ----------
    name : {"quick", "tutorial", "paper"}
        For tests, for the tutorial, or full size.

    Returns
    -------
    Profile

    Raises
    ------
    ValueError
        For any other name.
    """
    if name not in PROFILES:
        raise ValueError(f"the profile {name!r} was asked for, expected one of {', '.join(PROFILES)}.")
    return PROFILES[name]


def preflight(sample: str | os.PathLike = "synthetic") -> None:
    """Print one line when all is well, and one plain line for each thing that is not.

    Parameters
    ----------
    sample : str or path
        What will be given to `load_sample`.
    """
    import psutil

    missing = [name for name in PACKAGES if _version(name) is None]
    memory = psutil.virtual_memory().available / 1e9
    folder = data_folder()
    disk = shutil.disk_usage(_existing(folder)).free / 1e9
    problems = []
    if not (3, 11) <= sys.version_info < (3, 14):
        problems.append(f"Python {sys.version.split()[0]} is not one of 3.11 to 3.13: make a new environment.")
    if missing:
        problems.append(f"{', '.join(missing)} cannot be found: run `pip install .` in the blendkit folder.")
    if memory < NEED_MEMORY:
        problems.append(f"only {memory:.1f} GB of memory are free, {NEED_MEMORY:.0f} are needed: close other programs.")
    if disk < NEED_DISK:
        problems.append(f"only {disk:.1f} GB of disk are free in {folder}, {NEED_DISK:.0f} are needed: make room, or "
                        "set BLENDKIT_DATA to a folder elsewhere.")  # fmt: skip
    found, how = _sample(sample, folder)
    if not found:
        problems.append(how)
    from . import __version__

    versions = f"blendkit {__version__}, Python {sys.version.split()[0]}, Keras {_version('keras')} on {_backend()}"
    summary = (
        f"{versions}, {_device()}; sample: {how if found else 'missing'}; {_weights()}; "
        f"{memory:.0f} GB memory and {disk:.0f} GB disk free."
    )
    if not problems:
        print(f"All is well: {summary}")
        return
    print(summary)
    for problem in problems:
        print(f"Please note: {problem}")


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _backend():
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    return f"{backend} {_version('torch' if backend == 'torch' else backend)}"


def _device():
    """Whether a GPU is there, without loading a network library to find out."""
    if Path("/proc/driver/nvidia/gpus").is_dir() and any(Path("/proc/driver/nvidia/gpus").iterdir()):
        return "NVIDIA GPU"
    return f"CPU with {os.cpu_count()} cores"


def _sample(sample, folder):
    """Whether a sample can be had, and a few words on it."""
    if str(sample) == "synthetic":
        return True, "synthetic (simulated on first use)"
    if str(sample) == "candels":
        here = all((folder / "candels" / name).is_file() for name in CANDELS_FILES)
        return True, "CANDELS" + ("" if here else " (about 120 MB, downloaded on first use)")
    path = Path(sample)
    missing = [name for name in CANDELS_FILES if not (path / name).is_file()]
    if missing:
        problems = f"the sample folder '{path}' lacks {', '.join(missing)}: correct SAMPLE, or use 'synthetic'."
        return False, problems
    return True, f"folder {path.name}"


def _weights():
    """Trained networks that came with the package."""
    from .weights import shipped

    names = shipped()
    return f"weights: {', '.join(names)}" if names else "weights: none yet (SEP needs none)"


def _existing(folder):
    return folder if folder.is_dir() else _existing(folder.parent)
