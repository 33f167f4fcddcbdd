"""What the widgets share: none leaves anything behind, closed or shown anew by its cell."""

import gc
import weakref
from types import SimpleNamespace

import pytest
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
    def shown(cell, run):
        """A widget that this run of a cell shows."""
        parent = {"metadata": {"cellId": cell} if cell else {}, "header": {"msg_id": run}}
        shell = SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda: parent), user_ns={})
        monkeypatch.setattr("IPython.get_ipython", lambda: shell)
        (widget := make())._repr_mimebundle_()
        return widget

    places = [("a", 1), ("a", 1), ("b", 2), (None, 3), (None, 4)]
    widgets = [shown(*place) for place in places]
    assert all(widget.comm for widget in widgets)
    other, last = bk.BlendExplorer(make().sample), shown("a", 5)
    assert [bool(widget.comm) for widget in (*widgets, other, last)] == [False, False, True, True, True, True, True]
    last._repr_mimebundle_()
    assert last.comm
