"""What the widgets share: none leaves anything behind, closed or shown anew by its cell."""

import gc
import weakref
from types import SimpleNamespace

import pytest
from IPython.core.events import EventManager
from ipywidgets.widgets.widget import _instances

import blendkit as bk


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
