"""blendkit: explore and teach how blended galaxies are measured with deep learning.

``import blendkit as bk`` is quick: every name below is loaded from its module on first use.
"""

from importlib import import_module

from .preflight import preflight, profile

__version__ = "0.1.0"

_HOME = {
    "Sample": "samples",
    "load_sample": "samples",
    "clean": "cleaning",
    "split": "blending",
    "draw_blends": "blending",
    "make_blends": "blending",
    "render": "blending",
    "export": "blending",
    "write_numbers": "numbers",
    "BlendExplorer": "widgets",
    "StampInspector": "widgets",
}
_MODULES = (
    "blending",
    "cleaning",
    "deblenders",
    "figures",
    "metrics",
    "photometry",
    "samples",
    "scoreboard",
    "simulate",
    "widgets",
)

__all__ = [*_HOME, *_MODULES, "preflight", "profile"]


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(f"blendkit.{_HOME[name]}"), name)
    if name in _MODULES:
        return import_module(f"blendkit.{name}")
    raise AttributeError(f"module 'blendkit' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
