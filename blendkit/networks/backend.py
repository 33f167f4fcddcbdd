"""Keras without what TensorFlow prints at its start, and what it computes on."""

import importlib.metadata
import logging
import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
GPUS = Path("/proc/driver/nvidia/gpus")


def load_keras() -> ModuleType:
    """Import Keras and its backend, without what compiled code writes on stderr before it heeds any setting.

    Python's own errors and warnings are not touched. With the environment variable ``TF_CPP_MIN_LOG_LEVEL=0`` all is
    shown, such as why TensorFlow finds no GPU.
    """
    if "keras" in sys.modules or os.environ.setdefault(LEVEL, "3") < "3":
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


def has_gpu() -> bool:
    """Whether the backend in use computes on a GPU."""
    device = str(load_keras().ops.zeros(1).device).lower()
    return "gpu" in device or "cuda" in device


def device() -> str:
    """Whether a GPU is there, without loading a network library to find out."""
    return "NVIDIA GPU" if GPUS.is_dir() and any(GPUS.iterdir()) else f"CPU with {os.cpu_count()} cores"


def version(package: str) -> str | None:
    """The installed version of a package, None where it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
