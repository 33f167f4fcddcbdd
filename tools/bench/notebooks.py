"""What the notebooks took when they were last run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from .rows import Row
from .scripts import ROOT

UNITS = {"s": 1, "min": 60}


def stated() -> dict[tuple[str, str], float]:
    """Seconds that the README promises for a notebook in a profile."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[.*\]\(notebooks/([\w.]+)\) .*\| (\d+) (s|min) \((\d+) (s|min)\) \|$", text, re.MULTILINE)
    return {(name, profile): int(n) * UNITS[unit] for name, *both in rows
            for profile, n, unit in (("quick", *both[:2]), ("tutorial", *both[2:]))}  # fmt: skip


def notebook_rows(results: Path) -> Iterator[Row]:
    """Wall times of the last `make tutorial`, which papermill leaves in each executed notebook, beside what the README
    says of a machine with two cores. This run did not measure them.
    """
    promised = stated()
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        what, done = f"notebook {path.stem}", results / path.name
        if not done.is_file():
            yield Row(what, note="not run here: `make tutorial` leaves its time for this row")
            continue
        told = json.loads(done.read_text(encoding="utf-8"))["metadata"].get("papermill", {"exception": True})
        profile = told.get("parameters", {}).get("PROFILE")
        if told["exception"] or (path.name, profile) not in promised:
            yield Row(what, note="it did not run to its end" if told["exception"] else f"none stated for {profile!r}")
        else:
            yield Row(f"{what}, `PROFILE={profile}`", told["duration"], "s", "README", promised[path.name, profile])
