"""What the widgets share: none leaves anything behind, and nothing that a callback raises is lost."""

import gc
import json
import weakref
from types import SimpleNamespace

import ipywidgets as ipw
import pytest
import widget_driver
from IPython.core.events import EventManager
from ipywidgets.widgets.widget import _instances

import blendkit as bk
from blendkit.widgets.view import shown_errors


@pytest.fixture(params=["BlendExplorer", "StampInspector", "ErrorsBrowser"])
def make(request, accepted, twenty, tmp_path):
    rest = {"StampInspector": (tmp_path / "decisions.csv",), "ErrorsBrowser": twenty}.get(request.param, ())
    return lambda: getattr(bk, request.param)(accepted, *rest)


def test_a_closed_one_takes_all_its_parts_and_its_memory_along(make):
    gone = weakref.ref(widget := make())
    widget.close()
    del widget
    gc.collect()
    assert (gone(), len(_instances)) == (None, 0)


def test_a_cell_that_runs_again_frees_what_it_showed(make, monkeypatch):
    shell = SimpleNamespace(kernel=SimpleNamespace(), user_ns={}, events=EventManager(None, ["post_run_cell"]))
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    a, b, unknown, new = ([make() for _ in range(n)] for n in (2, 2, 1, 1))
    for run, (cell, shown) in enumerate([("a", a), ("b", b), ("b", b), ("", unknown), ("", b), ("a", new)]):
        assert all(widget.comm for widget in (*a, *b))
        shell.kernel.get_parent = lambda c=cell, r=run: {"metadata": {"cellId": c}, "header": {"msg_id": r}}
        for widget in shown:
            widget._repr_mimebundle_()
        shell.events.trigger("post_run_cell", None)
    assert [bool(widget.comm) for widget in (*a, *b, *unknown, *new)] == [False] * 2 + [True] * 4


def test_driving_leaves_it_as_it_was(make, drive, tmp_path):
    before = (widget := make())._repr_mimebundle_()
    drive()
    assert widget._repr_mimebundle_() == before
    assert [*tmp_path.iterdir()] == []  # nothing is decided


def test_shown_errors_says_records_and_goes_on(tmp_path, monkeypatch, errors):
    file, message = tmp_path / "errors.jsonl", ipw.HTML()
    monkeypatch.setenv(widget_driver.FILE_VARIABLE, str(file))
    callback = shown_errors("dividing", message)(lambda x: 1 / x)
    assert callback(0) is None
    assert all(said in message.value for said in ("(dividing): division by zero", 'role="alert"'))
    assert json.loads(file.read_text()) == errors[0]
    widget_driver.record("again", error := ValueError("x"))
    widget_driver.record("and again", error)
    assert len(errors) == 2
    errors.clear()
    assert (callback(2), message.value) == (0.5, "")
