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
    widget = make()
    gone = weakref.ref(widget)
    widget.close()
    assert not _instances
    del widget
    gc.collect()
    assert gone() is None


def test_a_cell_that_runs_again_frees_what_it_showed(make, monkeypatch):
    shell = SimpleNamespace(kernel=SimpleNamespace(), user_ns={}, events=EventManager(None, ["post_run_cell"]))
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)

    def run(cell, number, *shown):
        """Run a cell that shows these widgets; gives them."""
        parent = {"metadata": {"cellId": cell} if cell else {}, "header": {"msg_id": number}}
        shell.kernel.get_parent = lambda: parent
        for widget in shown:
            widget._repr_mimebundle_()
        shell.events.trigger("post_run_cell", None)
        return shown

    widgets = [widget for place in (("a", 1), ("b", 2), (None, 3), (None, 4)) for widget in run(*place, make(), make())]
    run("b", 5, *widgets[2:4])  # the same ones
    assert all(widget.comm for widget in widgets)
    new = run("a", 6, make())
    assert [bool(widget.comm) for widget in (*widgets, *new)] == [False] * 2 + [True] * 7
