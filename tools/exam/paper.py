"""The paper's training, one command: ``python -m tools.exam paper``, behind ``make paper``.

It trains every network of the paper and ours (`runs_of` has their order), each of the paper's by the paper's protocol
and by a modern one on the same galaxies, so that a reader sees what is the network's and what the optimiser's. Then it
measures blends of galaxies that none has seen, and writes ``docs/PAPER.md`` from ``data/reference/paper_run.json``.
Figures, weights and checkpoints are kept in a folder of their own (``--out``): the same command goes on from there.

On a GPU that is lent by the quarter of an hour, where only JAX is installed, this trains what fits, the best first::

    KERAS_BACKEND=jax python -m tools.exam paper --size full --minutes 10
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from blendkit.networks.backend import has_gpu

from .paper_page import report
from .paper_runs import SIZES, paper_of, train_all


def main(arguments: list[str] | None = None) -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser("python -m tools.exam paper", description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=[*SIZES], help="default: full where there is a GPU, else small, for CPUs")
    parser.add_argument("--minutes", type=float, default=math.inf,
                        help="of training in this call: what fits, the best first; measuring comes on top")  # fmt: skip
    parser.add_argument("--sample", default="synthetic", help="galaxies: synthetic, candels, or a folder")
    parser.add_argument("--real", type=Path, help="a folder of real galaxies to measure as well; none is trained on")
    parser.add_argument("--out", type=Path, help="where runs are kept; default results/paper or results/paper-small")
    given = parser.parse_args(arguments)
    if not given.minutes > 0:
        parser.error(f"--minutes {given.minutes:g} was given, expected more than 0: leave it out to train all.")
    size = given.size or ("full" if has_gpu() else "small")
    paper = paper_of(size, given.sample, given.real, given.out)
    train_all(paper, given.minutes)
    print(f"The page is '{report(paper)}'.", flush=True)
