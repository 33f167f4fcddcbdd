"""blendkit: explore and teach how blended galaxies are measured with deep learning.

``import blendkit as bk`` is quick: every name below is loaded from its room on first use.
"""

import sys
from importlib import import_module

__version__ = "0.1.0"

_NAMES = {
    "data.sample": ("Sample",),
    "data.load": ("load_sample", "load_published"),
    "data.cleaning": ("clean",),
    "blends.recipe": ("split", "draw_blends", "make_blends"),
    "blends.rendering": ("render", "render_parts", "export"),
    "networks.training": ("train",),
    "deblenders.base": ("match",),
    "deblenders.methods": ("measure",),
    "metrics.scores": ("scores",),
    "lessons.scoreboard": ("submit",),
    "widgets": ("BlendExplorer", "ErrorsBrowser", "StampInspector", "export_html"),
    "session": ("preflight", "profile"),
}
_ROOMS = ("blends", "data", "deblenders", "figures", "lessons", "metrics", "networks", "widgets")
_HOME = {name: home for home, names in _NAMES.items() for name in names}
_MODULES = dict(zip(_ROOMS, _ROOMS, strict=True)) | {
    "models": "networks.builders",
    "training": "networks.training",
    "weights": "networks.weights",
    "tables": "metrics.tables",
}

__all__ = [*_HOME, *_MODULES]


def __getattr__(name):
    home = _HOME.get(name) or _MODULES.get(name)
    if home is None:
        raise AttributeError(f"module 'blendkit' has no attribute {name!r}")
    if home in ("networks.builders", "networks.training"):
        import_module("blendkit.networks.backend").load_keras()
        if "ipykernel" in sys.modules:  # a notebook may watch a training
            import_module("blendkit.widgets.curve")
    module = import_module(f"blendkit.{home}")
    return getattr(module, name) if name in _HOME else module


def __dir__():
    return sorted([*globals(), *__all__])
