"""The learning curve of a network while it is being trained."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import traitlets

from .view import _View

_COLUMNS = ("epoch", "loss", "val_loss", "val_mape_central", "val_mape_companion", "seconds", "images_per_second")


class LearningCurve(_View):
    """Losses after each epoch, drawn by ``blend_view.js``, with the time that is left; point at an epoch to read it.

    Parameters
    ----------
    name : str
        Of the network.
    epochs : int
        Of its plan.
    """

    kind = traitlets.Unicode("curve").tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    epochs = traitlets.Int().tag(sync=True)
    history = traitlets.Dict().tag(sync=True)

    def show(self, history: Mapping[str, Sequence[float]]) -> None:
        """Draw what there is by now.

        Parameters
        ----------
        history : mapping of sequences
            As `blendkit.train` gives it to its `progress`.
        """
        self.history = {name: list(map(float, history[name])) for name in _COLUMNS if name in history}

    def _repr_mimebundle_(self, **kwargs):
        from ..figures import learning_curve

        drawn = io.BytesIO()
        learning_curve(self.history).savefig(drawn)
        picture = {"image/png": base64.b64encode(drawn.getvalue()).decode()}  # for pages without a kernel
        bundle, metadata = super()._repr_mimebundle_(**kwargs)
        return bundle | picture, metadata
