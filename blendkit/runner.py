"""Run the notebooks without a browser, and fail where a reader would see an error.

``python -m blendkit.runner --sample synthetic --profile quick --seed 42 --results results`` executes all notebooks
in order. Every notebook runs in the folder that holds ``blendkit/`` and ``notebooks/``, in a kernel of this very
Python. Papermill alone does not notice what goes wrong inside widget callbacks: `run_notebook` does.
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
import warnings
from pathlib import Path

from .widgets.errors import FILE_VARIABLE, captured_errors, report

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ("quick", "tutorial", "paper")

_ERRORS, _KERNEL_LOG = "errors.jsonl", "kernel.log"
_INJECTED = "blendkit-injected"
_FIRST = "import blendkit.widgets.errors as _blendkit_errors\n_blendkit_errors.watch()"
_LAST = "await _blendkit_errors.drive()"
_WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


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
    FileNotFoundError
        Where there is no such notebook.
    """
    import nbformat

    path, out = Path(path), Path(out).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"there is no notebook '{path}': check the name.")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".running-") as draft:
        draft = Path(draft)
        notebook = nbformat.read(path, as_version=4)
        nbformat.write(_with_watch(notebook), draft / "todo.ipynb")
        failure = _papermill(draft / "todo.ipynb", draft / path.name, parameters, timeout)
        problems = _kernel_failure(failure, draft / _KERNEL_LOG) + _recorded(draft / _ERRORS)
        if (draft / path.name).is_file():
            done = nbformat.read(draft / path.name, as_version=4)
            problems += _visible_errors(done)
            nbformat.write(_without_watch(done), draft / path.name)
            os.replace(draft / path.name, out / path.name)
    if problems or failure:
        raise NotebookError(report(_once(problems)) or str(failure)) from failure
    return out / path.name


def to_html(notebook: str | os.PathLike) -> Path:
    """Convert an executed notebook to a page beside it; widgets appear as the pictures they leave.

    Parameters
    ----------
    notebook : path

    Returns
    -------
    pathlib.Path
    """
    import nbformat
    from nbconvert import HTMLExporter

    notebook = Path(notebook)
    quiet = logging.getLogger("blendkit.nbconvert")
    quiet.setLevel(logging.ERROR)
    pages = _without_live_widgets(nbformat.read(notebook, as_version=4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        page, _ = HTMLExporter(log=quiet).from_notebook_node(pages, {"metadata": {"name": notebook.stem}})
    target = notebook.with_suffix(".html")
    draft = target.with_suffix(".html.part")
    draft.write_text(page, encoding="utf-8")
    os.replace(draft, target)
    return target


def main(argv: list[str] | None = None) -> int:
    """Run notebooks, convert them to HTML, print the scoreboard; see ``--help``.

    Parameters
    ----------
    argv : list of str, optional
        Default: the command line.

    Returns
    -------
    int
        0, or 1 where anything failed.
    """
    args = _arguments(argv)
    try:
        sample = _checked_sample(args.sample)
        notebooks = _notebooks(args.notebooks)
    except (ValueError, OSError) as error:
        print(f"Nothing was run: {error}", file=sys.stderr)
        return 1
    results = args.results.resolve()
    parameters = {"SAMPLE": sample, "PROFILE": args.profile, "SEED": args.seed, "RESULTS": str(results)}
    print(
        f"Running {len(notebooks)} notebooks: sample {sample}, profile {args.profile}, seed {args.seed}.",
        flush=True,
    )
    board = results / "scoreboard.txt"
    before = _written_at(board)
    failed = [path for path in notebooks if not _run_and_tell(path, results, parameters)]
    if _written_at(board) != before:
        print(f"\n{board.read_text(encoding='utf-8').rstrip()}\n")
    print(f"Executed notebooks and pages are in {results} (open the .html files in a browser).")
    return int(bool(failed))


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m blendkit.runner", description="Run the notebooks headless.")
    parser.add_argument("--sample", default="synthetic", help="synthetic, candels or a folder in the CANDELS layout")
    parser.add_argument("--profile", default="quick", choices=PROFILES)
    parser.add_argument("--seed", default=42, type=int)
    parser.add_argument("--results", default=Path("results"), type=Path, help="folder for everything that is made")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: notebooks/[0-9][0-9]_*.ipynb in order")
    return parser.parse_args(argv)


def _checked_sample(sample: str) -> str:
    """The name, or the absolute path of a folder that holds a good sample."""
    if sample in ("synthetic", "candels"):
        return sample
    from .samples import read_folder

    read_folder(Path(sample))
    return str(Path(sample).resolve())


def _notebooks(given: list[Path]) -> list[Path]:
    notebooks = [path.resolve() for path in given] or sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise FileNotFoundError(f"there are no notebooks in '{ROOT / 'notebooks'}': run this from a clone of blendkit.")
    missing = [str(path) for path in notebooks if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"there is no notebook '{missing[0]}': check the name.")
    return notebooks


def _run_and_tell(path, results, parameters) -> bool:
    start = time.monotonic()
    error = ""
    try:
        run_notebook(path, results, parameters)
    except NotebookError as failure:
        error = str(failure)
    if (results / path.name).is_file():
        to_html(results / path.name)
    first, *more = error.splitlines() or ["ok"]
    verdict = f"failed: {first}" if error else first
    print(f"{path.stem}  {time.monotonic() - start:.0f} s  {verdict}", flush=True)
    for line in more:
        print(f"    {line}", flush=True)
    return not error


def _written_at(file):
    """When a file was written, None where there is none: an old scoreboard is not this run's."""
    return file.stat().st_mtime_ns if file.is_file() else None


def _with_watch(notebook):
    from nbformat.v4 import new_code_cell

    first, last = (new_code_cell(code, metadata={"tags": [_INJECTED]}) for code in (_FIRST, _LAST))
    notebook.cells = [first, *notebook.cells, last]
    return notebook


def _without_watch(notebook):
    notebook.cells = [cell for cell in notebook.cells if not _is_injected(cell)]
    return notebook


def _without_live_widgets(notebook):
    """Leave each widget's picture, or a sentence where it has none: a page has no kernel, and perhaps no network."""
    notebook.metadata.pop("widgets", None)
    for data in (output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output):
        if data.pop(_WIDGET_VIEW, None) is not None and "image/png" not in data:
            data["text/html"] = "<p><em>A live widget: open the notebook in JupyterLab to use it.</em></p>"
    return notebook


def _is_injected(cell) -> bool:
    return _INJECTED in cell.metadata.get("tags", [])


def _papermill(source, target, parameters, timeout) -> Exception | None:
    """Execute with papermill; what it complains about, or None."""
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    import papermill

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
    return None


def _kernel_failure(failure, log) -> list[dict[str, str]]:
    """A run that ended otherwise than by a cell's error, which stands in the notebook."""
    from papermill import PapermillExecutionError

    if failure is None or isinstance(failure, PapermillExecutionError):
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
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    environment = {FILE_VARIABLE: str(folder / _ERRORS), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    command = [
        sys.executable,
        "-m",
        "ipykernel_launcher",
        "--HistoryManager.enabled=False",
        "-f",
        "{connection_file}",
    ]

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


def _visible_errors(notebook) -> list[dict[str, str]]:
    """Errors in cells, in output widgets' stored state, and printed on stderr."""
    found = []
    written = [cell for cell in notebook.cells if not _is_papermills(cell)]
    for cell in written:
        where = (
            "driving the widgets" if _is_injected(cell) else f"cell {written.index(cell)} {_first_line(cell.source)!r}"
        )
        outputs = cell.get("outputs", [])
        found += [_entry(where, o.ename, o.evalue) for o in captured_errors(outputs) if o.ename != "WidgetError"]
        found += [_entry(where, *error) for error in _printed_errors(outputs)]
    state = notebook.metadata.get("widgets", {}).get(_WIDGET_STATE, {}).get("state", {})
    for widget in state.values():
        for output in captured_errors(widget.get("state", {}).get("outputs", [])):
            found.append(_entry("output widget", output["ename"], output["evalue"]))
    return found


def _entry(where, kind, message):
    return {"where": where, "type": kind, "message": " ".join(str(message).split()), "place": ""}


def _is_papermills(cell) -> bool:
    return bool({"injected-parameters", "papermill-error-cell-tag"} & set(cell.metadata.get("tags", [])))


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
