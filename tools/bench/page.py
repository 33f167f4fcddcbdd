"""The page of the benchmarks, ``docs/BENCHMARKS.md``."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import jinja2
import psutil

from blendkit.data.remote import drafted
from blendkit.networks.backend import backend, device, version

from .rows import Row

PAGE = "BENCHMARKS.md"
PACKAGES = ("blendkit", "numpy", "scipy", "astropy", "sep", "keras", "tensorflow", "torch", "jax", "photutils",
            "scarlet2", "jupyterlab")  # fmt: skip


def machine() -> str:
    """What measured: cores, model, memory and system."""
    told = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.+)$", told.read_text(), re.MULTILINE) if told.is_file() else []
    cores = f"{os.cpu_count()} cores of {models[0] if models else platform.processor() or platform.machine()}"
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory"
    gpu = "no GPU" if device().startswith("CPU") else device()
    return f"{cores}, {memory}, {gpu}, {platform.system()}"


def versions() -> str:
    """Python and the packages that matter, as far as they are installed."""
    found = {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    return ", ".join(f"{name} {number}" for name, number in found.items() if number) + f"; Keras on {backend()}"


def page(found: dict[str, tuple[str, Iterable[Row]]], minutes: float, load: float) -> str:
    """GitHub Markdown, from how each script measures and its rows, by name."""
    rows = [row for _, each in found.values() for row in each]
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    tidy = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    pages = jinja2.Environment(loader=folder, undefined=jinja2.StrictUndefined, **tidy)
    return pages.get_template("page.md.j2").render(
        date=datetime.date.today(),
        machine=machine(),
        versions=versions(),
        minutes=minutes,
        load=load,
        rows=rows,
        asked=sum(bool(row.asked or row.broken) for row in rows),
        missed=[row.what for row in rows if row.missed],
        how={name: text for name, (text, _) in found.items() if text},
    )


def write(found: dict[str, tuple[str, Iterable[Row]]], folder: Path, minutes: float, load: float) -> Path:
    """Put the page into a folder, whole or not at all."""
    with drafted(folder) as draft:
        (draft / PAGE).write_text(page(found, minutes, load), encoding="utf-8")
    return folder / PAGE
