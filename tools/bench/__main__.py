"""The command behind ``make bench``: ``python -m tools.bench`` measures all, and writes ``docs/BENCHMARKS.md``.

It is meant for two cores that have nothing else to do for ten minutes, and gives 1 where something asked was missed.
``python -m tools.bench explorer`` measures some of it, and writes no page.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import time
from pathlib import Path

from .notebooks import notebook_rows
from .page import write
from .scripts import ROOT, SCRIPTS, measured


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tools.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("scripts", nargs="*", help=f"some of {', '.join(SCRIPTS)}; default: all, and the page")
    parser.add_argument("--results", type=Path, default="results", help="where `make tutorial` left the notebooks")
    given = parser.parse_args(arguments)
    if unknown := set(given.scripts) - set(SCRIPTS):
        parser.error(f"there is no script {min(unknown)!r}, expected some of {', '.join(SCRIPTS)}")
    began, load = time.monotonic(), os.getloadavg()[0]
    found = {name: measured(name) for name in given.scripts or SCRIPTS}
    if not given.scripts:
        found["notebooks"] = inspect.getdoc(notebook_rows), list(notebook_rows(given.results))
        minutes = (time.monotonic() - began) / 60
        print(f"{write(found, ROOT / 'docs', minutes, load)} was written, in {minutes:.1f} minutes.")
    missed = [row.what for _, rows in found.values() for row in rows if row.missed]
    print(f"Missed: {'; '.join(missed)}." if missed else "Nothing that is asked was missed.")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
