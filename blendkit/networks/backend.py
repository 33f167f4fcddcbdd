"""Keras without what TensorFlow prints at its start, and what it computes on."""

import importlib.metadata
import json
import logging
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

Model = Any  # a keras.Model, from a library that is loaded late
LEVEL = "TF_CPP_MIN_LOG_LEVEL"
GPUS = Path("/proc/driver/nvidia/gpus")


def load_keras() -> ModuleType:
    """Import Keras and its backend, without their chatter unless TF_CPP_MIN_LOG_LEVEL=0 asks (why is no GPU found?)."""
    if "keras" not in sys.modules:
        _start(backend(), quiet=os.environ.setdefault(LEVEL, "3") >= "3")
    keras = import_module("keras")
    keras.config.set_image_data_format("channels_last")  # whatever the user's keras.json says
    return keras


def _start(name, quiet):
    """Import Keras, or one sentence on why its backend cannot be."""
    # a tutorial builds and measures many networks, which TensorFlow takes for one that is compiled again and again
    logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in record.getMessage())
    screen = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno() if quiet else screen, 2)
        import_module("keras")
    except Exception as error:  # each backend has errors of its own
        told = f"Keras cannot start the backend {name!r} ({str(error).partition(chr(10))[0]}): install it, or set"
        raise ImportError(f"{told} KERAS_BACKEND to tensorflow, jax or torch before Python starts.") from None
    finally:
        os.dup2(screen, 2)
        os.close(screen)


def backend() -> str:
    """What Keras runs on, or would: by KERAS_BACKEND, else by the user's keras.json, else TensorFlow."""
    if keras := sys.modules.get("keras"):
        return keras.config.backend()
    named = None
    with suppress(OSError, ValueError, AttributeError):
        home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
        named = json.loads((home / "keras.json").read_text(encoding="utf-8")).get("backend")
    return os.environ.get("KERAS_BACKEND") or named or "tensorflow"


def has_gpu() -> bool:
    """Whether the backend in use computes on a GPU."""
    device = str(load_keras().ops.zeros(1).device).lower()
    return "gpu" in device or "cuda" in device


def device() -> str:
    """Whether a GPU is there, without loading a network library to find out."""
    return "NVIDIA GPU" if GPUS.is_dir() and any(GPUS.iterdir()) else f"CPU with {os.cpu_count()} cores"


def version(package: str) -> str | None:
    """The installed version of a package, None where it is missing."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
