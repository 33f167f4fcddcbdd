"""The networks by name, which the package's face calls ``bk.models``."""

import random

import keras

from .fractions import fractions
from .paper import as_dict, blend2flux, blend2mask2flux, unet

__all__ = ["BUILDERS", "as_dict", "blend2flux", "blend2mask2flux", "build", "fractions", "unet"]

BUILDERS = {"blend2flux": blend2flux, "unet": unet, "blend2mask2flux": blend2mask2flux, "fractions": fractions}


def build(name: str, arguments: dict, seed: int = 0, policy: str = "float32") -> keras.Model:
    """A network with the initial weights of this seed, in this precision, whatever was drawn or set before."""
    state, before = random.getstate(), keras.config.dtype_policy()
    random.seed(seed)  # Keras takes the seeds of initial weights from Python's own generator
    keras.config.set_dtype_policy(policy)
    try:
        return BUILDERS[name](**arguments)
    finally:
        random.setstate(state)
        keras.config.set_dtype_policy(before)
