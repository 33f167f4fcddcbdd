"""The command: ``python -m tools.exam FOLDER_OF_REAL_GALAXIES``.

It makes the networks in ``data/weights/``, the tables ``network_scores.ecsv`` and ``outside_scores.ecsv`` in
``data/reference/`` and the page ``docs/RESULTS.md``. The folder is `hst-drizzled`, galaxies in the survey's sky, with
`hst-sample` and `hst-noiseless` beside it. It takes hours on a CPU; interrupted, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .outside import outside_table
from .page import page, ship
from .score import score_table
from .train import Exam, quick_exam, train_shipped, train_tutorial


def report(exam: Exam) -> None:
    """Score everything that is trained, and write the tables, the page and the weights."""
    table, outside = score_table(exam), outside_table(exam)
    for name in ("data/reference", "docs"):
        (exam.home / name).mkdir(parents=True, exist_ok=True)
    for name, scores in {"network_scores": table, "outside_scores": outside}.items():
        scores.write(exam.home / "data" / "reference" / f"{name}.ecsv", overwrite=True)
    (exam.home / "docs" / "RESULTS.md").write_text(page(table, outside), encoding="utf-8")
    for path in ship(exam, table):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB", flush=True)


STEPS = {"tutorial": train_tutorial, "ship": train_shipped, "scores": report}


def main(arguments: list[str] | None = None) -> None:
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
