"""Start the network of one galaxy against the rest from the weights of the pair network.

For a training on scenes; it is not needed any more once such weights are shipped. The pair network's layers "locate",
"separate" and "watch" have the same shapes. Its map of heat for the companion becomes logarithms of expected numbers.
"""

from __future__ import annotations

import keras
import numpy as np

from blendkit.blends.layer import BlendLayer
from blendkit.networks import builders, fractions, weights
from blendkit.networks.training import Blender, _recipe


def warm(pairs: dict[str, np.ndarray], valid) -> keras.Model:
    """The new network with the arrays "locate/0" … of the pair network, as its `get_weights` gave them at cd61cae."""
    network = builders.build("fractions", {"width": 48})
    for part in ("locate", "separate", "watch"):
        layer = network.get_layer(part)
        layer.set_weights([pairs[f"{part}/{i}"] for i in range(len(layer.weights))])
    layer = BlendLayer(valid)
    recipe = _recipe(layer, 64, 1, 1, usual=0.7)
    blend = Blender(network, layer, fractions.fractions_loss, recipe).blend(recipe, layer)
    image, _ = network.get_layer("sky")(blend["image"][..., None])
    x, xc, *_ = fractions._look(image[..., 0], (128, 128))
    heat = np.asarray(network.get_layer("locate")([x, xc])[0])[..., 1].reshape(64, -1)
    top = heat.max(axis=1)
    off = np.mean(top + np.log(np.exp(heat - top[:, None]).sum(axis=1))) + 6
    convs = (one for one in network.get_layer("locate").layers if isinstance(one, keras.layers.Conv2D))
    (own,) = (c for c in convs if (c.filters, c.kernel_size) == (128, (1, 1)) and c.activation.__name__ == "linear")
    bias = np.array(own.bias)
    bias.reshape(64, 2)[:, 1] -= off
    own.bias.assign(bias)
    weights.CARDS[network] = weights.read_card(weights.FOLDER / "fractions.json")
    return network
