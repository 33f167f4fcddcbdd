"""What a GPU draws and how busy it is, as its driver tells; nothing where there is no such driver."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from threading import Event, Thread
from time import perf_counter

import numpy as np

WATCHED = ("seconds", "joules", "busy")


def told(*what: str) -> list[str]:
    """What NVIDIA's driver tells of the first GPU that programs may use, by the names of ``nvidia-smi``; or nothing."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0] or "0"
    command = ("nvidia-smi", f"--id={first}", f"--query-gpu={','.join(what)}", "--format=csv,noheader,nounits")
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        return [word.strip() for word in answer.partition("\n")[0].split(",")]
    return []


def number(word: str) -> float:
    """A number of the driver's, NaN where it says that it knows none."""
    try:
        return float(word)
    except ValueError:
        return np.nan


class Meter:
    """A thread that asks the driver again and again, for as long as ``with Meter() as meter:`` lasts."""

    def __init__(self, every: float = 1.0):
        self.every, self.total, self.given, self.end = every, np.zeros(3), np.zeros(3), Event()

    def __enter__(self) -> Meter:
        self.thread = Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.end.set()
        self.thread.join()

    def read(self) -> dict[str, float]:
        """`seconds` watched since the last reading, `joules` drawn in them, and seconds in which it was `busy`."""
        total = self.total
        since, self.given = total - self.given, total
        return dict(zip(WATCHED, since.tolist(), strict=True))

    def _watch(self):
        before = perf_counter()
        while not self.end.wait(self.every) and (answer := told("power.draw", "utilization.gpu")):
            watts, percent = map(number, answer)
            now = perf_counter()
            self.total = self.total + (now - before) * np.array([1, watts, percent / 100])
            before = now
