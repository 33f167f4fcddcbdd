"""Where the exceptions of widget callbacks go, and the test that drives every slider to find them.

Jupyter swallows what a callback raises: the notebook's run stays green. Callbacks of this package are wrapped in
`recorded`; `watch` catches what nobody wrapped; `drive` moves every control and raises `WidgetError` if anything
was recorded. The runner puts a call of `watch` before, and one of `drive` after, each notebook that it executes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import html
import inspect
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent import futures

ERRORS: list[dict[str, str]] = []
"""Each with `where`, `type`, `message`, `place` (file and line) and `traceback`."""

FILE_VARIABLE = "BLENDKIT_ERRORS"

# where Jupyter hides tracebacks
_LOGGERS = ("asyncio", "Comm", "ipykernel.comm", "traitlets", "tornado.application")
_MACHINERY = {"IPython", "anyio", "concurrent", "ipykernel", "joblib", "jupyter_client", "multiprocessing", "tornado",
              "tqdm", "zmq"}  # fmt: skip
_submitted: list[futures.Future] = []
_now_driving = ""


class WidgetError(RuntimeError):
    """What the callbacks, tasks and threads of a notebook's widgets raised."""


def record(where: str, error: BaseException) -> None:
    """Add an exception to `ERRORS`, and to the file that ``BLENDKIT_ERRORS`` names; each exception counts once.

    Parameters
    ----------
    where : str
        What was going on, in words.
    error : BaseException
    """
    if getattr(error, "_blendkit_recorded", False):
        return
    with contextlib.suppress(AttributeError):
        error._blendkit_recorded = True
    entry = {
        "where": f"{where}, {_now_driving}" if _now_driving else where,
        "type": type(error).__name__,
        "message": " ".join(str(error).split()),
        "place": _place(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
    ERRORS.append(entry)
    if file := os.environ.get(FILE_VARIABLE):
        with open(file, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(entry) + "\n")


def _place(error) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    file, line = os.path.basename(frames[-1].filename), frames[-1].lineno
    return f"line {line} of its cell" if "ipykernel_" in frames[-1].filename else f"{file}, line {line}"


def say(message_widget, text: str) -> None:
    """Show a sentence in an `ipywidgets.HTML` so that screen readers speak it; an empty one takes it away."""
    style = "line-height: 1.5; border-left: 4px solid #d55e00; padding-left: 0.6em"
    message_widget.value = f'<div role="alert" style="{style}">{html.escape(text)}</div>' if text else ""


def recorded(where: str, message_widget=None) -> Callable:
    """Decorator for `observe` and `on_click` callbacks and background tasks: no exception is lost.

    Parameters
    ----------
    where : str
        What the callback does, in words a reader understands.
    message_widget : ipywidgets.HTML, optional
        Shows the error in words until the next call.

    Returns
    -------
    callable
        Wraps a function or a coroutine function; where that raises, the result is None.
    """

    def failed(error):
        record(where, error)
        if message_widget is not None:
            say(message_widget, f"Something went wrong ({where}): {error or type(error).__name__}")

    def wrap(callback):
        @functools.wraps(callback)
        def function(*args, **kwargs):
            try:
                if message_widget is not None:
                    say(message_widget, "")
                return callback(*args, **kwargs)
            except Exception as error:
                failed(error)

        @functools.wraps(callback)
        async def coroutine(*args, **kwargs):
            try:
                return await callback(*args, **kwargs)
            except Exception as error:
                failed(error)

        return coroutine if inspect.iscoroutinefunction(callback) else function

    return wrap


def watch() -> None:
    """Record exceptions that nobody caught: in threads, asyncio tasks, executors, comm messages and callbacks.

    The handlers that were there before still run. Calling it twice changes nothing.
    """
    _replace(threading, "excepthook", _thread_hook)
    _replace(futures.ThreadPoolExecutor, "submit", _submit_hook)
    for name in ("result", "exception"):
        _replace(futures.Future, name, _looked_at_hook)
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()) is not None:
        _replace(shell, "showtraceback", _showtraceback_hook)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _LogHandler) for handler in logger.handlers):
            _print_as_before(logger)
            logger.addHandler(_LogHandler())


def _replace(owner, name, hook):
    previous = getattr(owner, name)
    if not hasattr(previous, "_blendkit_hook"):
        function = hook(previous)
        function._blendkit_hook = True
        setattr(owner, name, function)


def _thread_hook(previous):
    def excepthook(args):
        if args.exc_value is not None:
            record(f"thread {args.thread.name if args.thread else '?'}", args.exc_value)
        previous(args)

    return excepthook


def _submit_hook(previous):
    @functools.wraps(previous)
    def submit(self, function, /, *args, **kwargs):
        future = previous(self, function, *args, **kwargs)
        _submitted.append(future)
        return future

    return submit


def _looked_at_hook(previous):
    @functools.wraps(previous)
    def look(self, *args, **kwargs):
        self._blendkit_looked_at = True
        return previous(self, *args, **kwargs)

    return look


def _showtraceback_hook(previous):
    """IPython prints the exceptions of callbacks with `showtraceback`; a cell's own ones stop the run by themselves."""

    @functools.wraps(previous)
    def showtraceback(exc_tuple=None, *args, running_compiled_code=False, **kwargs):
        error = exc_tuple[1] if exc_tuple else sys.exc_info()[1]
        if isinstance(error, Exception) and not running_compiled_code:
            record("widget callback", error)
        return previous(exc_tuple, *args, running_compiled_code=running_compiled_code, **kwargs)

    return showtraceback


class _LogHandler(logging.Handler):
    def emit(self, entry):
        error = entry.exc_info[1] if entry.exc_info else None
        if isinstance(error, Exception):
            record("background task" if entry.name == "asyncio" else entry.getMessage().splitlines()[0], error)


def _print_as_before(logger):
    """A logger without any handler prints through `logging.lastResort`, which a first handler would switch off."""
    if not logger.hasHandlers():
        logger.addHandler(logging.lastResort)


def live_widgets() -> list:
    """All widgets of this kernel that are not closed, oldest first."""
    from ipywidgets.widgets import widget

    instances = widget._instances if hasattr(widget, "_instances") else widget.Widget.widgets
    return list(instances.values())


async def drive(timeout: float = 60) -> None:
    """Move every slider to both ends, every selection to its first and last choice, click every button.

    After each step it waits for background tasks and threads. In the end all controls stand where they stood; a
    widget that writes files has a method `snapshot` that returns a function which puts everything back.
    Text fields and disabled controls are left alone.

    Parameters
    ----------
    timeout : float
        Seconds that one answer may take.

    Raises
    ------
    WidgetError
        Lists everything in `ERRORS`.
    """
    from ipywidgets import Button

    widgets = live_widgets()
    restore = [w.snapshot() for w in widgets if hasattr(w, "snapshot")]
    controls = [(w, *moves) for w in widgets if not getattr(w, "disabled", False) and (moves := _moves(w))]
    start = [(w, name, getattr(w, name)) for w, name, _ in controls]
    await _step("at the start", lambda: None, timeout)
    for control, name, values in controls:
        for value in (*values, getattr(control, name)):
            await _step(f"{_label(control)} set to {value}", functools.partial(setattr, control, name, value), timeout)
    for button in widgets:
        if isinstance(button, Button) and not button.disabled:
            await _step(f"{_label(button)} clicked", button.click, timeout)
    for control, name, value in start:
        await _step(f"{_label(control)} set back", functools.partial(setattr, control, name, value), timeout)
    for undo in restore:
        await _step("putting widgets back", undo, timeout)
    _collect_unseen()
    if ERRORS:
        raise WidgetError(report(ERRORS))


def report(errors: list[dict[str, str]]) -> str:
    """Recorded errors, one line each."""
    return "\n".join(
        f"{e['where']}: {e['type']}: {e['message']}" + (f" ({e['place']})" if e["place"] else "") for e in errors
    )


def _moves(control) -> tuple[str, list] | None:
    """Which attribute of a control to set to which values, or None if it is no control to be driven."""
    import ipywidgets as ipw
    from ipywidgets.widgets import widget_bool, widget_selection

    if isinstance(control, ipw.FloatLogSlider):
        return "value", [control.base**control.min, control.base**control.max]
    if isinstance(control, ipw.IntSlider | ipw.FloatSlider):
        return "value", [control.min, control.max]
    if isinstance(control, ipw.IntRangeSlider | ipw.FloatRangeSlider):
        return "value", [(control.min, control.min), (control.max, control.max)]
    if isinstance(control, widget_bool._Bool):
        return "value", [not control.value]
    last = len(getattr(control, "options", ())) - 1
    if last < 0:
        return None
    if isinstance(control, ipw.SelectionRangeSlider):
        return "index", [(0, 0), (last, last)]
    if isinstance(control, widget_selection._MultipleSelection):
        return "index", [(0,), (last,)]
    if isinstance(control, widget_selection._Selection):
        return "index", [0, last]
    return None


def _label(control) -> str:
    kind = type(control).__name__
    return f"{kind} '{control.description}'" if getattr(control, "description", "") else kind


async def _step(what, action, timeout):
    global _now_driving
    _now_driving = what
    threads = set(threading.enumerate())
    try:
        action()
        await _settle(threads, timeout)
    except Exception as error:
        record("callback", error)
    finally:
        _now_driving = ""


async def _settle(threads, timeout):
    """Wait until the tasks, executor jobs and new threads that a step started are done."""
    await asyncio.sleep(0)
    end = time.monotonic() + timeout
    while busy := next(_busy(threads), None):
        if time.monotonic() > end:
            raise TimeoutError(f"no answer within {timeout:g} s from {busy}")
        await asyncio.sleep(0.005)


def _busy(threads) -> Iterator[str]:
    me = asyncio.current_task()
    yield from (f"task {t.get_name()}" for t in asyncio.all_tasks() if t is not me and not _is_machinery(_task_home(t)))
    yield from ("executor job" for job in _submitted if not job.done())
    for thread in set(threading.enumerate()) - threads:
        target = getattr(thread, "_target", None)
        if not _is_machinery(getattr(target, "__module__", None) or type(thread).__module__):
            yield f"thread {thread.name}"


def _task_home(task) -> str:
    frame = getattr(task.get_coro(), "cr_frame", None)
    return frame.f_globals.get("__name__", "") if frame else ""


def _is_machinery(module: str) -> bool:
    return module.partition(".")[0] in _MACHINERY


def _collect_unseen():
    """Failures that somebody still holds but nobody looked at, and those that output widgets captured."""
    for job in _submitted:
        if not hasattr(job, "_blendkit_looked_at") and not job.cancelled() and (error := job.exception()):
            record("executor job", error)
    _submitted.clear()
    for task in [o for o in gc.get_objects() if isinstance(o, asyncio.Task)]:
        if getattr(task, "_log_traceback", False) and (error := task.exception()):
            record("background task", error)
    for widget in live_widgets():
        for output in captured_errors(getattr(widget, "outputs", ())):
            _record_output(output)


def captured_errors(outputs) -> list[dict]:
    """The errors among the outputs of a cell or of an output widget."""
    return [o for o in outputs if isinstance(o, dict) and o.get("output_type") == "error"]


def _record_output(output):
    message = " ".join(str(output.get("evalue", "")).split())
    if any((e["type"], e["message"]) == (output.get("ename"), message) for e in ERRORS):
        return
    error = type(output.get("ename") or "Error", (Exception,), {})(message)
    record("output widget", error)
