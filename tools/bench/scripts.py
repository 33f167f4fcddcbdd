"""The scripts that measure, each in its own process: one has a function `rows`, its docstring says how it measures.

This file imports no NumPy, whose threads a script may have to set.
"""

from __future__ import annotations

import inspect
import runpy
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from .rows import Row

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TIMINGS = ROOT / "tests" / "benchmarks"  # of what the tests' helpers set up
SCRIPTS = {
    "render": TIMINGS / "bench_render.py", "methods": HERE / "methods.py", "explorer": TIMINGS / "bench_explorer.py",
    "metrics": TIMINGS / "bench_metrics.py", "costs": HERE / "costs.py",
}  # fmt: skip


def measured(name: str) -> tuple[str, list[Row]]:
    """How a script measures, and its rows, printed as they come; what goes wrong is a row that missed."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_run, name).result()
        except BrokenProcessPool:
            return "", [_told(Row(name, note="failed: its process died, of too little memory perhaps", broken=True))]


def _run(name):
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
    how, rows = "", []
    try:
        script = runpy.run_path(str(SCRIPTS[name]))
        how = inspect.cleandoc(script["__doc__"])
        for row in script["rows"]():
            rows.append(_told(row))
    except Exception as error:
        rows.append(_told(Row(name, note=f"failed: {type(error).__name__}: {error}", broken=True)))
    return how, rows


def _told(row):
    print(" | ".join(row.cells()), flush=True)
    return row
