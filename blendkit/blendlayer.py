"""Blends rendered on the device that trains: `blendkit.blending.render` as a Keras layer, under any backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops

from .blending import _bank, _check_fingerprint, _check_recipe, _column, sky_rows, true_fluxes
from .samples import Sample

if TYPE_CHECKING:
    from astropy.table import Table

# offset on a turned stamp -> offset on the stamp as it was, (y, x) = matrix @ (y, x), for the eight orientations
_TURN_BACK = np.array(
    [
        [[1, 0], [0, 1]], [[0, 1], [-1, 0]], [[-1, 0], [0, -1]], [[0, -1], [1, 0]],
        [[0, 1], [1, 0]], [[-1, 0], [0, 1]], [[0, -1], [-1, 0]], [[1, 0], [0, -1]],
    ],
    np.int32,
)  # fmt: skip


class BlendLayer(keras.layers.Layer):
    """Renders blends from a sample that lies on the device; equal to `blendkit.blending.render`.

    Bit for bit where `dmag` is 0, else within 4 units in the last place; always in float32, whatever the policy.

    Parameters
    ----------
    sample : Sample
        Its stamps, masks, fluxes and sky are copied to the device once.
    fill : {"sky", "zero"}
        What a shift or a turn leaves empty.

    Raises
    ------
    ValueError
        Where the stamps hold more pixels than 32-bit indices count.
    """

    def __init__(self, sample: Sample, fill: str = "sky"):
        if sample.images.size >= 2**31:
            raise ValueError(
                f"the sample has {sample.images.size:,} pixels, expected fewer than {2**31:,}: train on fewer galaxies."
            )
        super().__init__(trainable=False, dtype="float32", name="blend")
        self.sample, self.fill = sample, fill
        bank = _bank(sample, fill)
        self.shape = sample.images.shape[1:]
        self.bank_size = len(bank)
        self.stamps = self._hold(sample.images.reshape(-1))
        self.masks = self._hold(sample.own_masks().reshape(-1).astype(np.uint8))
        self.bank = self._hold(bank)
        self.flux = self._hold(true_fluxes(sample).astype(np.float32))
        self.built = True

    def _hold(self, array):
        """A variable, so that every backend passes it to compiled code instead of baking it in."""
        return self.add_weight(
            shape=array.shape,
            dtype=str(array.dtype),
            initializer=lambda *_, **__: array,
            trainable=False,
            autocast=False,
        )

    def recipe(self, blends: Table) -> dict[str, np.ndarray]:
        """What `call` needs to know of each row of a table of blends.

        Parameters
        ----------
        blends : astropy.table.Table

        Returns
        -------
        dict
            `rows` (n, 8) int32: rows of central and companion in the sample, dy, dx, both orientations, both rows of
            the sky bank; `scale` (n,) float32: factor on the companion's pixels.

        Raises
        ------
        ValueError
            As `blendkit.blending.render` does.
        """
        at = _check_recipe(self.sample, blends)
        _check_fingerprint(self.sample, blends, self.fill)
        columns = [_column(blends, name) for name in ("dy", "dx", "orient_central", "orient_companion")]
        rows = [at["central"], at["companion"], *columns, *sky_rows(blends, self.bank_size)]
        return {
            "rows": np.stack(rows, 1).astype(np.int32),
            "scale": (10 ** (-0.4 * _column(blends, "dmag"))).astype(np.float32),
        }

    def __call__(self, blends, **kwargs):
        return super().__call__(self.recipe(blends) if hasattr(blends, "colnames") else blends, **kwargs)

    def call(self, recipe):
        """Blends.

        Parameters
        ----------
        recipe : astropy.table.Table or dict of arrays
            Rows of the recipe, or what `recipe` made of them.

        Returns
        -------
        images : tensor of float32, shape (n, ny, nx), e-/s
        masks : tensor of bool, shape (n, ny, nx, 2)
        fluxes : tensor of float32, shape (n, 2), e-/s
        """
        parts, masks, fluxes = self.parts(recipe)
        return parts[0] + parts[1], masks, fluxes

    def parts(self, recipe):
        """The two galaxies of each blend apart, a pair of (n, ny, nx) float32; masks and fluxes as from `call`."""
        rows, scale = ops.cast(recipe["rows"], "int32"), ops.cast(recipe["scale"], "float32")
        still = ops.zeros_like(rows[:, 2])
        central, mask_c = self._place(rows[:, 0], still, still, rows[:, 4], rows[:, 6])
        companion, mask_k = self._place(rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 5], rows[:, 7])
        # a choice after the product: else a compiler rounds the product and the sum that follows as one
        companion = ops.where((scale != 1)[:, None, None], companion * scale[:, None, None], companion)
        flux = ops.convert_to_tensor(self.flux)
        fluxes = ops.stack([ops.take(flux, rows[:, 0]), ops.take(flux, rows[:, 1]) * scale], axis=-1)
        return (central, companion), ops.stack([mask_c, mask_k], axis=-1), fluxes

    def _place(self, row, dy, dx, orient, sky):
        """Stamps and masks turned and shifted, empty pixels filled."""
        ny, nx = self.shape
        turn = ops.take(ops.convert_to_tensor(_TURN_BACK), orient, axis=0)
        y = ops.arange(ny, dtype="int32")[None, :, None] - (ny // 2 + dy)[:, None, None]
        x = ops.arange(nx, dtype="int32")[None, None, :] - (nx // 2 + dx)[:, None, None]
        from_y = turn[:, 0, 0, None, None] * y + turn[:, 0, 1, None, None] * x + ny // 2
        from_x = turn[:, 1, 0, None, None] * y + turn[:, 1, 1, None, None] * x + nx // 2
        inside = (from_y >= 0) & (from_y < ny) & (from_x >= 0) & (from_x < nx)
        at = row[:, None, None] * (ny * nx) + ops.clip(from_y, 0, ny - 1) * nx + ops.clip(from_x, 0, nx - 1)
        stamp = ops.take(ops.convert_to_tensor(self.stamps), at)
        mask = ops.take(ops.convert_to_tensor(self.masks), at)
        fill = ops.take(ops.convert_to_tensor(self.bank), sky, axis=0)
        return ops.where(inside, stamp, fill), inside & (mask > 0)
