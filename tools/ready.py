"""The evening before: ``make ready`` rehearses a class on this machine without the network, and says what is missing.

It simulates and keeps the galaxies of the notebooks, loads every network that comes with blendkit, starts JupyterLab,
and runs the first cells of each notebook in a kernel that can reach nobody. Gives 0 where all is well, else 1.
"""

import argparse
import contextlib
import io
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from pathlib import Path

import nbformat

import blendkit as bk
from blendkit.session import PROFILES

from .run_notebooks import ROOT, run_notebook

FIRST = 4  # code cells of each notebook
NOBODY = "http://127.0.0.1:9"  # a proxy that is not there: what asks the network fails at once
ALONE = {f"{kind}_proxy": NOBODY for kind in ("http", "https", "ftp", "all")} | {"no_proxy": "127.0.0.1,localhost"}
ALONE |= {name.upper(): value for name, value in ALONE.items()}


def machine() -> str:
    """What `preflight` says of this machine; its notes are problems."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        bk.preflight()
    summary, *notes = said.getvalue().strip().splitlines()
    if notes:
        raise RuntimeError(" ".join(note.removeprefix("Please note: ") for note in notes))
    return summary.removeprefix("All is well: ")


def galaxies(profile: str, seed: int) -> str:
    """The sample of the notebooks, simulated and kept; and the first figure, which finds the fonts."""
    sample = bk.load_sample("synthetic", n=bk.profile(profile).galaxies, seed=seed)
    clean = bk.clean(sample)
    bk.figures.stamps_before_after(sample, clean)
    return f"{len(clean)} galaxies after cleaning"


def scoreboard() -> str:
    """The blends that the class's methods are compared on."""
    return f"{len(bk.lessons.class_images('results/scoreboard'))} blends for the class's scoreboard"


def networks() -> str:
    """Every network that comes with blendkit answers for one blend."""
    sample = bk.clean(bk.load_sample("synthetic", n=30, seed=0))
    image = bk.render(sample, bk.draw_blends(sample, 1, seed=0), masks=False)[0]
    for name in bk.models.BUILDERS:
        bk.deblenders.Network(name)(image)
    return ", ".join(bk.models.BUILDERS)


def jupyter() -> str:
    """JupyterLab starts and answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--ServerApp.port_retries=0",
               "--allow-root", "--IdentityProvider.token=", f"--notebook-dir={ROOT}"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(120):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/lab") as page:
                    return f"JupyterLab answers ({len(page.read()) // 1000} kB)"
                if server.poll() is not None:
                    break
                time.sleep(0.5)
        finally:
            server.terminate()
    raise RuntimeError(
        f"JupyterLab did not answer: start it by hand with `{' '.join(command[:3])}` and read what it says."
    )


def first_cells(path: Path, profile: str, seed: int) -> str:
    """The first cells of a notebook, without the network."""
    notebook = nbformat.read(path, as_version=4)
    code = [place for place, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    notebook.cells = notebook.cells[: code[min(FIRST, len(code)) - 1] + 1]
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / f"first cells of {path.name}"
        nbformat.write(notebook, part)
        parameters = {"SAMPLE": "synthetic", "PROFILE": profile, "SEED": seed, "RESULTS": folder}
        run_notebook(part, Path(folder) / "out", parameters)
    return f"its first {FIRST} code cells run"


def main(argv: list[str] | None = None) -> int:
    """Go through all steps, say how each went, and whether this machine is ready."""
    parser = argparse.ArgumentParser(prog="python -m tools.ready", description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", default="tutorial", choices=[*PROFILES])
    parser.add_argument("--seed", default=42, type=int)
    args = parser.parse_args(argv)
    os.environ |= ALONE
    warnings.filterwarnings("error", "the simulated galaxies cannot be kept")
    given = args.profile, args.seed
    steps = {"this machine": machine, "the galaxies": lambda: galaxies(*given), "the networks": networks,
             "the scoreboard": scoreboard, "JupyterLab": jupyter}  # fmt: skip
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        steps[path.stem] = lambda path=path: first_cells(path, *given)
    problems = []
    for name, step in steps.items():
        print(f"{name} ... ", end="", flush=True)
        start = time.monotonic()
        try:
            said = step()
        except Exception as error:
            problems.append(f"{name}: {error}")
            said = f"NOT READY: {error}"
        print(f"{time.monotonic() - start:.0f} s  {said}", flush=True)
    if problems:
        print("\nNot ready yet. Mend this and type `make ready` again:", *problems, sep="\n- ")
    else:
        print("\nReady for offline use: nothing above asked the network for anything.")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
