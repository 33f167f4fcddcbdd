"""Widgets for notebooks, and `export_html` for pages without a kernel."""

from .. import lazy

_HOME = {"BlendExplorer": "explorer", "ErrorsBrowser": "browser", "LearningCurve": "curve"}
_HOME |= {"StampInspector": "inspector", "export_html": "export"}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy(__name__, _HOME)
