"""Keras without what TensorFlow's C++ code prints at its start, before it heeds any setting."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from types import ModuleType

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def load_keras() -> ModuleType:
    """Import Keras and its backend; at the first import, what compiled code writes on stderr is dropped.

    Python's own errors and warnings are not touched. With the environment variable ``TF_CPP_MIN_LOG_LEVEL=0`` all is
    shown, such as why TensorFlow finds no GPU.

    Returns
    -------
    module
        `keras`.
    """
    if "keras" in sys.modules or os.environ.setdefault(_LEVEL, "3") < "3":
        return import_module("keras")
    # a tutorial builds and measures many networks, which TensorFlow takes for one that is compiled again and again
    logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in record.getMessage())
    screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        return import_module("keras")
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)
