"""Moves every widget of a kernel and finds what their callbacks raise, which Jupyter swallows.

`watch()`, at the start of a notebook, records what nobody catches, and what `shown_errors` logs; `await drive()`, at
its end, moves every control and raises `WidgetError` if anything was recorded. Every error is also a line of JSON in
the file that the environment variable BLENDKIT_ERRORS names.
"""

import asyncio
import functools
import gc
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator

FILE_VARIABLE = "BLENDKIT_ERRORS"
ERRORS: list[dict[str, str]] = []
"""Each with `where`, `type`, `message`, `place` (file and line) and `traceback`."""
# where Jupyter, and the package, hide tracebacks
_LOGGERS = "blendkit.widgets", "asyncio", "Comm", "ipykernel.comm", "traitlets", "tornado.application"
# whose tasks and threads live as long as the kernel
_MACHINERY = {"IPython", "anyio", "concurrent", "ipykernel", "joblib", "jupyter_client", "multiprocessing", "tornado",
              "tqdm", "zmq"}  # fmt: skip
_now_driving = ""


class WidgetError(RuntimeError):
    """What the callbacks, tasks and threads of a notebook's widgets raised."""


def record(where: str, error: BaseException) -> None:
    """Add an exception to `ERRORS` and to the file; each exception counts once."""
    if hasattr(error, "_blendkit_recorded"):
        return
    error._blendkit_recorded = True
    place = ""
    for file, line, *_ in traceback.extract_tb(error.__traceback__)[-1:]:
        place = f"line {line} of its cell" if "ipykernel_" in file else f"{os.path.basename(file)}, line {line}"
    entry = {"where": f"{where}, {_now_driving}" if _now_driving else where, "type": type(error).__name__}
    entry |= {"message": " ".join(str(error).split()), "place": place}
    ERRORS.append(entry | {"traceback": "".join(traceback.format_exception(error))})
    if file := os.environ.get(FILE_VARIABLE):
        with open(file, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(ERRORS[-1]) + "\n")


def report(errors: list[dict[str, str]]) -> str:
    """Recorded errors, one line each."""
    texts = ("{where}: {type}: {message} ({place})".format_map(error) for error in errors)
    return "\n".join(text.removesuffix(" ()") for text in texts)


def watch() -> None:
    """Record exceptions in threads, tasks, comm messages and callbacks; twice is as once."""
    threading.excepthook = _record_thread
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(_RECORDER)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        shell.showtraceback = functools.partial(_record_printed, shell.showtraceback)


def _record_thread(args):
    record(f"thread {args.thread.name}", args.exc_value)
    threading.__excepthook__(args)


def _record_printed(show, exc_tuple=None, *args, running_compiled_code=False, **kwargs):
    """IPython prints the exceptions of callbacks with `showtraceback`; a cell's own ones stop the run by themselves."""
    error = exc_tuple[1] if exc_tuple else sys.exc_info()[1]
    if isinstance(error, Exception) and not running_compiled_code:
        record("widget callback", error)
    return show(exc_tuple, *args, running_compiled_code=running_compiled_code, **kwargs)


class _Recorder(logging.Handler):
    def emit(self, entry):
        error = entry.exc_info[1] if entry.exc_info else None
        if isinstance(error, Exception | SystemExit):
            record("background task" if entry.name == "asyncio" else entry.getMessage().splitlines()[0], error)


_RECORDER = _Recorder()


async def drive(timeout: float = 60) -> None:
    """Move every slider to both ends, every selection to its first and last choice, click every button.

    Each step waits at most `timeout` seconds for its tasks and threads. In the end all stands where it stood, also the
    inspector's file.
    """
    from ipywidgets import Button
    from ipywidgets.widgets import widget

    widgets = list(widget._instances.values())
    restore = [undo for w in widgets if (undo := _undo(w))]
    enabled = [w for w in widgets if not getattr(w, "disabled", False)]
    controls = [(w, *moves, getattr(w, moves[0])) for w in enabled if (moves := _moves(w))]
    acts = [(w, f"set to {v}", setattr, w, name, v) for w, name, values, start in controls for v in (*values, start)]
    acts += [(button, "clicked", button.click) for button in enabled if isinstance(button, Button)]
    acts += [(w, f"set back to {start}", setattr, w, name, start) for w, name, _, start in controls]
    await _step("at the start", lambda: None, timeout)
    for w, what, act, *args in acts:
        await _step(f"{type(w).__name__} {w.description!r} {what}", functools.partial(act, *args), timeout)
    for undo in restore:
        await _step("putting widgets back", undo, timeout)
    for task in [o for o in gc.get_objects() if isinstance(o, asyncio.Task)]:
        if getattr(task, "_log_traceback", False):  # it failed, and nobody has looked
            record("background task", task.exception())
    if ERRORS:
        raise WidgetError(report(ERRORS))


def _undo(widget):
    """A function that puts back the inspector's file and decisions, or the browser's blend, as they are now."""
    if type(widget).__name__ == "ErrorsBrowser":
        return functools.partial(widget.show, widget.row, widget.method.value)
    if type(widget).__name__ != "StampInspector":
        return None
    content = widget.path.read_bytes() if widget.path.exists() else None
    before = {name: getattr(widget, name) for name in ("decisions", "chosen", "position")}

    def restore():
        vars(widget).update(before)
        widget.path.unlink(missing_ok=True) if content is None else widget.path.write_bytes(content)
        widget._show()

    return restore


def _moves(control) -> tuple[str, list] | None:
    """Which attribute of a control to set to which values, or None if it is no control to be driven."""
    from ipywidgets.widgets import widget_bool, widget_selection

    if isinstance(control, widget_bool._Bool):
        return "value", [not control.value]
    if isinstance(control, widget_selection._Selection):
        return "index", [0, len(control.options) - 1] if control.options else []
    return ("value", [control.min, control.max]) if type(control).__name__ in ("IntSlider", "FloatSlider") else None


async def _step(what, action, timeout):
    """One move, and the wait for the tasks and new threads that it started."""
    global _now_driving
    _now_driving, threads = what, set(threading.enumerate())
    try:
        action()
        await asyncio.sleep(0)
        end = time.monotonic() + timeout
        while busy := next(_busy(threads), None):
            if time.monotonic() > end:
                raise TimeoutError(f"no answer within {timeout:g} s from {busy}")
            await asyncio.sleep(0.005)
    except Exception as error:
        record("callback", error)
    finally:
        _now_driving = ""


def _busy(threads) -> Iterator[str]:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        frame = getattr(task.get_coro(), "cr_frame", None)
        if frame is None or frame.f_globals["__name__"].partition(".")[0] not in _MACHINERY:
            yield f"task {task.get_name()}"
    for thread in set(threading.enumerate()) - threads:
        module = getattr(getattr(thread, "_target", None), "__module__", None) or type(thread).__module__
        if module.partition(".")[0] not in _MACHINERY:
            yield f"thread {thread.name}"
