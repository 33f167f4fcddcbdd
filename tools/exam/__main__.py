"""The command: ``python -m tools.exam FOLDER_OF_REAL_GALAXIES``.

It makes the networks in ``data/weights/``, the table ``data/reference/network_scores.ecsv`` and the page
``docs/RESULTS.md``. It takes hours on a CPU; interrupted, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .page import page, ship
from .score import score_table
from .train import Exam, fine_tune, quick_exam, train_shipped, train_tutorial


def report(exam: Exam) -> None:
    """Score everything that is trained, and write the table, the page and the weights."""
    table = score_table(exam)
    for name in ("data/reference", "docs"):
        (exam.home / name).mkdir(parents=True, exist_ok=True)
    table.write(exam.home / "data" / "reference" / "network_scores.ecsv", overwrite=True)
    (exam.home / "docs" / "RESULTS.md").write_text(page(table), encoding="utf-8")
    for path in ship(exam, table):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB", flush=True)


STEPS = {"tutorial": train_tutorial, "ship": train_shipped, "finetune": fine_tune, "scores": report}


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
