"""Widgets for notebooks, and `export_html` for pages without a kernel."""

from .. import lazy

_NAMES = {"explorer": "BlendExplorer", "browser": "ErrorsBrowser FieldBrowser", "curve": "LearningCurve"}
_NAMES |= {"inspector": "StampInspector", "export": "export_html"}
__getattr__, __dir__, __all__ = lazy(__name__, _NAMES)
