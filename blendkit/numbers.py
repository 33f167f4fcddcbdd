"""The numbers that a notebook shows, kept beside it so that a test can compare them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np


def write_numbers(results: str | os.PathLike, notebook: str, **numbers: float) -> Path:
    """Write ``results/<notebook>.json``, whole or not at all.

    Parameters
    ----------
    results : path
        Made when it is not there.
    notebook : str
        Name of the notebook, without ending.
    **numbers : int, float, str, or lists and dictionaries of these

    Returns
    -------
    pathlib.Path
    """
    folder = Path(results)
    folder.mkdir(parents=True, exist_ok=True)
    path, draft = folder / f"{notebook}.json", folder / f".{notebook}.json.{os.getpid()}"
    draft.write_text(json.dumps(numbers, indent=2, default=_plain) + "\n")
    os.replace(draft, path)
    return path


def _plain(value):
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(
        f"a number of type {type(value).__name__} was given, expected plain numbers, text, lists or dictionaries."
    )
