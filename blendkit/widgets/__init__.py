"""Widgets for notebooks: `BlendExplorer`, `StampInspector`, and the one place where callback errors go (`errors`)."""

from .explorer import BlendExplorer
from .inspector import StampInspector

__all__ = ["BlendExplorer", "StampInspector"]
