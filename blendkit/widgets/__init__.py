"""Widgets for notebooks, `export_html` for pages without a kernel, and `errors`, where callback errors go."""

from .explorer import BlendExplorer
from .export import export_html
from .inspector import StampInspector

__all__ = ["BlendExplorer", "ErrorsBrowser", "StampInspector", "export_html"]


def __getattr__(name):
    if name == "ErrorsBrowser":  # only then matplotlib is needed
        from .errors_browser import ErrorsBrowser

        return ErrorsBrowser
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
