"""Blends rendered on the device that trains: `blendkit.render` as a Keras layer, under any backend."""

import keras
import numpy as np
from astropy.table import Table
from keras import ops

from ..data.check import require
from ..data.sample import Sample
from .geometry import DEEP, FADE, TURN_BACK
from .recipe import placements, true_fluxes


class BlendLayer(keras.layers.Layer):
    """Renders blends from a sample, copied to the device once, as `blendkit.render_parts` with its sky fill.

    Bit for bit where `dmag` is 0, else within 4 units in the last place; always in float32, whatever the policy.
    """

    def __init__(self, sample: Sample):
        n = sample.images.size
        require(n < 2**31, f"the sample has {n:,} pixels, expected fewer than {2**31:,}: train on fewer galaxies.")
        super().__init__(trainable=False, dtype="float32", name="blend")
        self.sample, self.shape = sample, sample.images.shape[1:]
        self.stamps = self._hold(sample.images.reshape(-1))
        self.masks = self._hold(sample.own_masks().reshape(-1).astype(np.uint8))
        self.bank = self._hold(sample.sky)
        self.flux = self._hold(true_fluxes(sample).astype(np.float32))
        self.built = True

    def _hold(self, array):
        """A variable, so that every backend passes it to compiled code instead of baking it in."""
        held = {"shape": array.shape, "dtype": str(array.dtype), "trainable": False, "autocast": False}
        return self.add_weight(initializer=lambda *_, **__: array, **held)

    def recipe(self, blends: Table) -> dict[str, np.ndarray]:
        """What `parts` needs to know: the `placements`, `rows` (n, k, 5) int32 and `scale` (n, k) float32."""
        *rows, scale = placements(self.sample, blends, "sky", self.bank.shape[0])
        return {"rows": np.stack(rows, axis=-1).astype(np.int32), "scale": scale}

    def parts(self, recipe):
        """The galaxies of each blend apart, (n, ny, nx, k), 0 where a place is empty; their masks and fluxes (n, k)."""
        rows, scale = ops.cast(recipe["rows"], "int32"), ops.cast(recipe["scale"], "float32")
        flux = ops.take(ops.convert_to_tensor(self.flux), ops.maximum(rows[..., 0], 0)) * scale
        placed = [self._place(*ops.unstack(rows[:, j], axis=-1), scale[:, j]) for j in range(rows.shape[1])]
        parts, masks = (ops.stack(maps, axis=-1) for maps in zip(*placed, strict=True))
        return parts, masks, ops.where(rows[..., 0] < 0, float("nan"), flux)

    def _place(self, row, dy, dx, orient, sky, scale):
        """Stamps and masks of one galaxy of each blend, turned, shifted and scaled, empty pixels filled."""
        ny, nx = self.shape
        turn = ops.take(ops.convert_to_tensor(TURN_BACK), orient, axis=0)
        y = ops.arange(ny, dtype="int32")[None, :, None] - (ny // 2 + dy)[:, None, None]
        x = ops.arange(nx, dtype="int32")[None, None, :] - (nx // 2 + dx)[:, None, None]
        from_y = turn[:, 0, 0, None, None] * y + turn[:, 0, 1, None, None] * x + ny // 2
        from_x = turn[:, 1, 0, None, None] * y + turn[:, 1, 1, None, None] * x + nx // 2
        at = ops.maximum(row, 0)[:, None, None] * (ny * nx)
        at = at + ops.clip(from_y, 0, ny - 1) * nx + ops.clip(from_x, 0, nx - 1)
        stamp = ops.take(ops.convert_to_tensor(self.stamps), at)
        sky = ops.take(ops.convert_to_tensor(self.bank), sky, axis=0)
        depth_y, depth_x = (_depth(*axis) for axis in ((ny, dy, turn[:, :, 0]), (nx, dx, turn[:, :, 1])))
        share, share_of_sky = (  # the nearer seam's
            nearer(ops.take(fade, depth_y, axis=0)[:, :, None], ops.take(fade, depth_x, axis=0)[:, None, :])
            for nearer, fade in ((ops.minimum, FADE), (ops.maximum, FADE[::-1].copy()))
        )
        # choices after each product: else a compiler rounds the product and the sum that follows as one
        stamp = ops.where(share != 1, stamp * share, stamp) + ops.where(share_of_sky != 1, sky * share_of_sky, sky)
        scale = scale[:, None, None]
        stamp = ops.where(scale != 1, stamp * scale, stamp)
        there = (row >= 0)[:, None, None]
        mask = ops.take(ops.convert_to_tensor(self.masks), at) > 0
        return ops.where(there, stamp, 0.0), there & (share > 0) & mask


def _depth(size, shift, turn):
    """Pixels from the seam along one axis, (n, size): 0 on the fill, at most DEEP + 1."""
    begin = (shift + ops.where(ops.sum(turn, axis=1) < 0, 1 - size % 2, 0))[:, None]
    pixel = ops.arange(size, dtype="int32")[None, :] - begin
    depth = ops.where(begin > 0, pixel, ops.where(begin < 0, size - 1 - pixel, DEEP))
    return ops.clip(depth, -1, DEEP) + 1
