"""The command: ``python -m tools.exam FOLDER_OF_REAL_GALAXIES``; ``python -m tools.exam paper`` is `tools.exam.paper`.

It makes the networks in ``data/weights/``, the tables ``network_scores.ecsv``, ``outside_scores.ecsv`` and
``field_scores.ecsv`` in ``data/reference/`` and the page ``docs/RESULTS.md``. The folder is `hst-drizzled`, galaxies in
the survey's sky, with `hst-sample`, `hst-noiseless` and `field` beside it. It takes hours on a CPU, fields alone
(``--only field``) ten minutes; interrupted, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import paper
from .field import field_table
from .outside import outside_table
from .page import fields_section, ship, write
from .score import score_table
from .train import Exam, quick_exam, train_shipped, train_tutorial


def report(exam: Exam) -> None:
    """Score everything that is trained, and write the tables, the page and the weights."""
    table, outside = score_table(exam), outside_table(exam)
    write(exam, network=table, outside=outside)
    for path in ship(exam, table):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB", flush=True)


def report_fields(exam: Exam) -> None:
    """Put galaxies into fields, look for them, and write the table and the page."""
    table = field_table(exam)
    write(exam, field=table)
    print(fields_section(table))


STEPS = {"tutorial": train_tutorial, "ship": train_shipped, "scores": report, "field": report_fields}


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["paper"]:
        paper.main(arguments[1:])
        return
    parser = argparse.ArgumentParser("python -m tools.exam", description=__doc__.splitlines()[2])
    parser.add_argument("folder", type=Path, help="real galaxies, in the layout of the CANDELS release")
    parser.add_argument("--out", type=Path, help="where runs are kept; default results/exam, quick: results/exam-quick")
    parser.add_argument("--profile", choices=("quick", "tutorial"), default="tutorial",
                        help="quick: a rehearsal of minutes that writes only to --out")  # fmt: skip
    parser.add_argument("--only", default=",".join(STEPS), help=f"some of the steps {','.join(STEPS)}")
    given = parser.parse_args(arguments)
    asked = given.only.split(",")
    if unknown := set(asked) - set(STEPS):
        parser.error(f"there is no step {min(unknown)!r}, expected some of {','.join(STEPS)}")
    quick = given.profile == "quick"
    out = given.out or Path("results/exam-quick" if quick else "results/exam")
    exam = quick_exam(given.folder, out) if quick else Exam(given.folder, out)
    for name, step in STEPS.items():
        if name in asked:
            step(exam)


if __name__ == "__main__":
    main()
