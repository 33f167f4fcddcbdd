"""The learning curve of a network while it is being trained."""

import os
from contextlib import contextmanager

from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from IPython.display import display
from traitlets import Dict, Int, Unicode

from ..figures import learning_curve
from ..networks import training
from .view import View


class LearningCurve(View):
    """Losses after each epoch of a network's plan and the time that is left; point at an epoch to read it."""

    kind, name = Unicode("curve").tag(sync=True), Unicode().tag(sync=True)
    epochs, history = Int().tag(sync=True), Dict().tag(sync=True)

    def _repr_mimebundle_(self, **kwargs):
        bundle, metadata = super()._repr_mimebundle_(**kwargs)
        picture = print_figure(learning_curve(self.history), bbox_inches=None, base64=True)
        return bundle | {"image/png": picture}, metadata


@contextmanager
def live_curve(name, plan):
    """A reporter for `blendkit.train` in a notebook that somebody looks at."""
    curve, shown = LearningCurve(name=name, epochs=plan.epochs), []

    def show(history):
        curve.history = {name: list(map(float, values)) for name, values in history.items()}
        if not shown:
            shown.append(display(curve, display_id=True))

    try:
        yield show
        curve.epochs = len(curve.history.get("epoch", ()))  # also where it stopped early
    finally:
        for place in shown:
            place.update(curve)  # its picture, which stays in the notebook, is that of all epochs


if hasattr(get_ipython(), "kernel") and "BLENDKIT_HEADLESS" not in os.environ:
    training.reporter = live_curve
