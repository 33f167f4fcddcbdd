"""Run the notebooks without a browser, and fail where a reader would see an error.

``python -m tools.run_notebooks --sample synthetic --profile quick --seed 42 --results results`` executes all notebooks
in order; what an earlier run of them left is deleted first. Every notebook runs in the folder that holds ``blendkit/``
and ``notebooks/``, in a kernel of this very Python. Papermill alone does not notice what goes wrong inside widget
callbacks: `run_notebook` does. The numbers that a notebook shows are left in ``<notebook>.json``; see
`tools.notebook_numbers`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbformat.v4 import new_code_cell

os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
import papermill

from blendkit.data.load import read_folder
from blendkit.data.remote import CANDELS_FILES, DownloadError, fetch_candels
from blendkit.session import PROFILES
from blendkit.widgets import export_html

from .notebook_numbers import NUMBERS

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))
from widget_driver import FILE_VARIABLE, report  # noqa: E402

SCOREBOARD = "scoreboard.txt"  # by notebook 04
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
_ERRORS, _KERNEL_LOG = "errors.jsonl", "kernel.log"
_INJECTED = "blendkit-injected"
_WATCH = f"""import sys
sys.path += [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import widget_driver as _widget_driver
_widget_driver.watch()"""
_COLLECT = """from tools.notebook_numbers import write_numbers as _write_numbers
_write_numbers({!r}, globals(), RESULTS)"""
_DRIVE = "await _widget_driver.drive()"


class NotebookError(RuntimeError):
    """A notebook that a reader would see fail; the message has one line for each error."""


def run_notebook(path: str | os.PathLike, out: str | os.PathLike, parameters: dict, *, timeout: float = 1800) -> Path:
    """Execute a notebook, drive its widgets, and fail if anything went wrong anywhere.

    Parameters
    ----------
    path : path
        The notebook; it is not changed.
    out : path
        Folder for the executed notebook, which is also written where the run fails, for looking.
    parameters : dict
        Values for the cell tagged `parameters`.
    timeout : float
        Seconds that one cell may take.

    Returns
    -------
    pathlib.Path
        The executed notebook.

    Raises
    ------
    NotebookError
        Where a cell, a widget callback, a thread, a task or a comm message raised, or a cell ran out of time.
    """
    path, out = Path(path), Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".running-") as draft:
        draft = Path(draft)
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = [_cell(_WATCH), *notebook.cells, *_last_cells(path)]
        nbformat.write(notebook, draft / "todo.ipynb")
        failure = _papermill(draft / "todo.ipynb", draft / path.name, parameters, timeout)
        problems = _kernel_failure(failure, draft / _KERNEL_LOG) + _recorded(draft / _ERRORS)
        if (draft / path.name).is_file():
            done = nbformat.read(draft / path.name, as_version=4)
            problems += visible_errors(done)
            done.cells = [cell for cell in done.cells if not _tagged(cell, _INJECTED)]
            nbformat.write(done, draft / path.name)
            os.replace(draft / path.name, out / path.name)
    if problems or failure:
        raise NotebookError(report(_once(problems)) or str(failure)) from failure
    return out / path.name


def main(argv: list[str] | None = None) -> int:
    """Run notebooks, convert them to HTML, print the scoreboard; see ``--help``.

    Gives 0, or 1 where anything failed, or 130 where Ctrl-C stopped it.
    """
    try:
        return _run(_arguments(argv))
    except KeyboardInterrupt:
        print("\nStopped. Nothing is half-written: type the same command to start again.", file=sys.stderr)
        return 130


def _run(args) -> int:
    try:
        seed = _checked_settings(args.profile, args.seed)
        notebooks = _notebooks(args.notebooks)
        sample = _checked_sample(args.sample)
        results = _cleared_results(args.results, notebooks)
    except (ValueError, OSError, DownloadError) as error:
        print(f"Nothing was run: {error}", file=sys.stderr)
        return 1
    parameters = {"SAMPLE": sample, "PROFILE": args.profile, "SEED": seed, "RESULTS": str(results)}
    print(f"Running {len(notebooks)} notebooks: sample {sample}, profile {args.profile}, seed {seed}.", flush=True)
    failed = [path for path in notebooks if not _run_and_tell(path, results, parameters)]
    board = results / SCOREBOARD
    if board in _outputs(notebooks, results) and board.is_file():
        print(f"\n{board.read_text(encoding='utf-8').rstrip()}\n")
    print(f"Executed notebooks and pages are in {results} (open the .html files in a browser).")
    if failed:
        print(f"{len(failed)} of {len(notebooks)} notebooks failed.")
    return int(bool(failed))


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m tools.run_notebooks", description="Run the notebooks headless.")
    parser.add_argument("--sample", default="synthetic", help="synthetic, candels or a folder in the CANDELS layout")
    parser.add_argument("--profile", default="quick", help=_either(list(PROFILES)))
    parser.add_argument("--seed", default="42", help="a whole number of at least 0")
    parser.add_argument("--results", default="results", help="folder for everything that is made")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of notebooks/ in order")
    return parser.parse_args(argv)


def _either(names) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _checked_settings(profile: str, seed: str) -> int:
    if profile not in PROFILES:
        raise ValueError(f"PROFILE={profile} is unknown: use {_either(list(PROFILES))}.")
    if not (seed.isascii() and seed.isdigit()):
        raise ValueError(f"SEED={seed} cannot be used: give a whole number of at least 0, such as 42.")
    return int(seed)


def _checked_sample(sample: str) -> str:
    """The name, or the absolute path of a folder that holds a good sample; CANDELS is downloaded if need be."""
    if not sample.strip():
        raise ValueError("SAMPLE is empty: use synthetic, candels or the name of a folder.")
    if sample == "synthetic":
        return sample
    if sample == "candels":
        read_folder(fetch_candels())
        return sample
    folder = Path(sample).expanduser()
    if folder.is_file():
        raise ValueError(f"'{sample}' is a file, expected a folder that holds {', '.join(CANDELS_FILES)}.")
    read_folder(folder)
    return str(folder.resolve())


def _cleared_results(name: str, notebooks: list[Path]) -> Path:
    """The absolute path of the results folder, which can be written into and holds no output of an earlier run."""
    if not name.strip():
        raise ValueError("RESULTS is empty: give the name of a folder, such as results.")
    results = Path(name).expanduser().resolve()
    reason = "the notebooks themselves are there" if any(path.parent == results for path in notebooks) else ""
    if not reason:
        try:
            results.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=results):
                pass
            for file in _outputs(notebooks, results):
                file.unlink(missing_ok=True)
        except OSError as error:
            reason = "it is a file" if results.is_file() else error.strerror
    if reason:
        raise OSError(
            f"cannot write into '{results}' ({reason}): free it, or name another folder with RESULTS=<folder>."
        )
    return results


def _outputs(notebooks: list[Path], results: Path) -> list[Path]:
    """The files that a run of these notebooks makes."""
    files = [results / f"{path.stem}{suffix}" for path in notebooks for suffix in (".ipynb", ".html", ".json")]
    if any(path.stem.startswith("04_") for path in notebooks):
        files += [results / SCOREBOARD, (results / SCOREBOARD).with_suffix(".ecsv")]
    return files


def _notebooks(given: list[Path]) -> list[Path]:
    notebooks = [path.resolve() for path in given] or sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    for path in notebooks:
        if not path.is_file():
            raise FileNotFoundError(f"there is no notebook '{path}': check the name.")
    return notebooks


def _run_and_tell(path, results, parameters) -> bool:
    print(f"{path.stem} ... ", end="", flush=True)
    start, error = time.monotonic(), ""
    try:
        run_notebook(path, results, parameters)
    except NotebookError as failure:
        error = str(failure)
    if (results / path.name).is_file():
        export_html(results / path.name, results / f"{path.stem}.html")
    first, *more = error.splitlines() or ["ok"]
    print(f"{time.monotonic() - start:.0f} s  {'failed: ' if error else ''}{first}", flush=True)
    for line in more:
        print(f"    {line}", flush=True)
    return not error


def _last_cells(path):
    """Cells that collect a notebook's numbers (solutions have none) and then drive its widgets."""
    wanted = path.stem in NUMBERS and path.parent.name != "solutions"
    numbers = [_cell(_COLLECT.format(path.stem), "collecting the numbers")] if wanted else []
    return [*numbers, _cell(_DRIVE, "driving the widgets")]


def _cell(code, doing="watching the widgets"):
    return new_code_cell(code, metadata={"tags": [_INJECTED, doing]})


def _tagged(cell, *tags) -> bool:
    return bool(set(tags) & set(cell.metadata.get("tags", [])))


def _papermill(source, target, parameters, timeout) -> Exception | None:
    """Execute with papermill; what it complains about, or None."""
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    logging.getLogger("papermill.translators").setLevel(logging.CRITICAL)
    try:
        papermill.execute_notebook(
            source,
            target,
            parameters=parameters,
            cwd=ROOT,
            progress_bar=False,
            kernel_name="python3",
            language="python",
            kernel_manager_class=_kernel_of_this_python(target.parent),
            execution_timeout=timeout,
        )
    except Exception as error:  # a cell's error, a cell that ran out of time, a dead kernel
        return error
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it would print the stopped cell's traceback at exit
        raise
    return None


def _kernel_failure(failure, log) -> list[dict[str, str]]:
    """A run that ended otherwise than by a cell's error, which stands in the notebook."""
    if failure is None or isinstance(failure, papermill.PapermillExecutionError):
        return []
    said = log.read_text(errors="replace").splitlines() if log.is_file() else []
    last = [line for line in said if "WARNING" not in line][-1:]
    message = "; the kernel's last words: ".join([_first_line(str(failure)), *last])
    return [_entry("running the notebook", type(failure).__name__, message)]


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _kernel_of_this_python(folder):
    """A kernel manager that asks no kernelspec of this machine, where "python3" may be another Python.

    Recorded errors and what the kernel's process prints go to files in `folder`.
    """
    environment = {
        FILE_VARIABLE: str(folder / _ERRORS),
        "BLENDKIT_HEADLESS": "1",  # a line per epoch, no live curve
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    command = [sys.executable, "-m", "ipykernel_launcher", "--HistoryManager.enabled=False", "-f", "{connection_file}"]

    class ThisPython(AsyncKernelManager):
        @property
        def kernel_spec(self):
            return KernelSpec(argv=command, env=environment, display_name="Python 3", language="python")

        async def start_kernel(self, **kwargs):
            with open(folder / _KERNEL_LOG, "ab") as log:
                await super().start_kernel(**kwargs, stdout=log, stderr=log)

    return ThisPython


def _recorded(file) -> list[dict[str, str]]:
    """What callbacks left in the error file."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def visible_errors(notebook: nbformat.NotebookNode) -> list[dict[str, str]]:
    """Errors in cells, in output widgets' stored state, and printed on stderr."""
    found = []
    written = [cell for cell in notebook.cells if not _tagged(cell, "injected-parameters", "papermill-error-cell-tag")]
    for number, cell in enumerate(written):
        injected = _tagged(cell, _INJECTED)
        where = cell.metadata.tags[1] if injected else f"cell {number} {_first_line(cell.source)!r}"
        outputs = cell.get("outputs", [])
        found += [_entry(where, o.ename, o.evalue) for o in captured_errors(outputs) if o.ename != "WidgetError"]
        found += [_entry(where, *error) for error in _printed_errors(outputs)]
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for widget in state.values():
        for output in captured_errors(widget.get("state", {}).get("outputs", [])):
            found.append(_entry("output widget", output["ename"], output["evalue"]))
    return found


def captured_errors(outputs) -> list[dict]:
    """The errors among the outputs of a cell or of an output widget."""
    return [o for o in outputs if o.get("output_type") == "error"]


def _entry(where, kind, message):
    return {"where": where, "type": kind, "message": " ".join(str(message).split()), "place": ""}


def _printed_errors(outputs):
    """The last line of each traceback on stderr."""
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr" and "Traceback" in output.text:
            ends = re.findall(r"^(\w[\w.]*): (.*)$", output.text.partition("Traceback")[2], re.MULTILINE)
            kind, message = ends[-1] if ends else ("Traceback", "on stderr")
            yield kind.rpartition(".")[2], message


def _once(problems):
    """Each error once: one that was recorded may also stand in a cell or in a widget's state."""
    seen, unique = set(), []
    for problem in problems:
        key = problem["type"], problem["message"]
        if key not in seen or problem["place"]:
            unique.append(problem)
        seen.add(key)
    return unique


if __name__ == "__main__":
    sys.exit(main())
