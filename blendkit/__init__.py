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
    "load_published": "published",
    "train": "training",
    "write_numbers": "numbers",
    "BlendExplorer": "widgets",
    "StampInspector": "widgets",
    "export_html": "widgets",
}
_MODULES = (
    "blending",
    "cleaning",
    "deblenders",
    "figures",
    "metrics",
    "models",
    "photometry",
    "published",
    "samples",
    "scoreboard",
    "simulate",
    "tables",
    "training",
    "weights",
    "widgets",
)

__all__ = [*_HOME, *_MODULES, "preflight", "profile"]


def __getattr__(name):
    module = _HOME.get(name, name)
    if module in ("models", "training"):
        import_module("blendkit.quiet").load_keras()
    if name in _HOME:
        return getattr(import_module(f"blendkit.{module}"), name)
    if name in _MODULES:
        return import_module(f"blendkit.{name}")
    raise AttributeError(f"module 'blendkit' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
