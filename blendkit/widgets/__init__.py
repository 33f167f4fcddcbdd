"""Widgets for notebooks, and `export_html` for pages without a kernel."""

from importlib import import_module

_HOME = {"BlendExplorer": "explorer", "ErrorsBrowser": "browser", "LearningCurve": "curve"}
_HOME |= {"StampInspector": "inspector", "export_html": "export"}
__all__ = list(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
