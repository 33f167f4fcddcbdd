"""blendkit: explore and teach how blended galaxies are measured with deep learning.

``import blendkit as bk`` is quick: every name below is loaded from its room on first use.
"""

import sys
from importlib import import_module

__version__ = "0.1.0"

_NAMES = {
    "data.sample": "Sample",
    "data.load": "load_sample load_published",
    "data.cleaning": "clean",
    "blends.recipe": "split draw_blends make_blends",
    "blends.rendering": "render render_parts export",
    "networks.training": "train",
    "deblenders.base": "match",
    "deblenders.methods": "measure",
    "deblenders.field": "measure_field",
    "metrics.scores": "scores",
    "lessons.scoreboard": "submit",
    "widgets": "BlendExplorer ErrorsBrowser StampInspector export_html",
    "session": "preflight profile",
}
_ROOMS = ("blends", "data", "deblenders", "figures", "lessons", "metrics", "networks", "widgets")
_MODULES = {room: room for room in _ROOMS} | {"models": "networks.builders", "tables": "metrics.tables"}
_MODULES |= {"training": "networks.training", "weights": "networks.weights"}
_ON_KERAS = ("networks.builders", "networks.training", "lessons.learning", "lessons.trust")


def lazy(room, names, modules=()):
    """`__getattr__`, `__dir__`, `__all__` of a room whose `names`, by file, and `modules` are loaded on first use."""
    homes = {name: file for file, words in names.items() for name in words.split()}

    def load(name):
        if name not in homes and name not in modules:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        home = f"{room}.{homes.get(name) or modules[name]}"
        if home.endswith(_ON_KERAS):
            import_module("blendkit.networks.backend").load_keras()
            if "ipykernel" in sys.modules:  # a notebook may watch a training
                import_module("blendkit.widgets.curve")
        module = import_module(home)
        return getattr(module, name) if name in homes else module

    return load, lambda: sorted({*vars(sys.modules[room]), *homes, *modules}), [*homes, *modules]


__getattr__, __dir__, __all__ = lazy(__name__, _NAMES, _MODULES)
