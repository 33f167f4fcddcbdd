"""Error bars that respect how blends are made: a galaxy sits in many, so galaxies are resampled, never single rows."""

from functools import lru_cache

import numpy as np

from ..data.check import require


def resample(galaxies: np.ndarray, n_bootstrap: int = 200, seed: int = 0) -> np.ndarray:
    """How often each row, of the galaxy in `galaxies` (n,), is in each resample of galaxies, (n_bootstrap, n) int32."""
    names, galaxy_of_row = np.unique(np.asarray(galaxies), return_inverse=True)
    require(len(names), "There are no rows to resample, expected at least one: check the selection.")
    return _draws(len(names), n_bootstrap, seed)[:, galaxy_of_row]


@lru_cache(maxsize=16)
def _draws(n_galaxies: int, n_bootstrap: int, seed: int) -> np.ndarray:
    """How often each galaxy is in each resample, (n_bootstrap, n_galaxies) int32."""
    require(n_bootstrap >= 2, f"n_bootstrap is {n_bootstrap}, expected at least 2: 200 gives error bars to 5 %.")
    share = np.full(n_galaxies, 1 / n_galaxies)
    return np.random.default_rng(seed).multinomial(n_galaxies, share, size=n_bootstrap).astype(np.int32)


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean, (m,), of values, (n,), that occur as often as `weights`, (m, n) int, say; NaN are left out."""
    if (unknown := np.isnan(values)).any():
        values, weights = values[~unknown], weights[:, ~unknown]
    with np.errstate(invalid="ignore"):
        return weights @ values / weights.sum(axis=1)


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median, (m,), of values, (n,) or a row for each of m resamples, that occur as often as `weights`, (m, n), say."""
    order = np.argsort(values, axis=-1)
    values = np.broadcast_to(np.take_along_axis(values, order, -1), weights.shape)
    upto = np.cumsum(np.take_along_axis(weights, np.broadcast_to(order, weights.shape), 1), axis=1)
    middle = [np.argmax(upto > rank, axis=1)[:, None] for rank in ((upto[:, -1:] - 1) // 2, upto[:, -1:] // 2)]
    return sum(np.take_along_axis(values, row, 1)[:, 0] for row in middle) / 2


def scatter(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Standard deviation, (m,), of values, (n,), that occur as often as `weights`, (m, n), say."""
    off = values - values.mean()  # keeps a difference of two means free of cancellation
    return np.sqrt(np.maximum(weighted_mean(off**2, weights) - weighted_mean(off, weights) ** 2, 0))


def robust_scatter(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """1.4826 times the median distance to the median, (m,), which for a Gaussian is its sigma; as `scatter`."""
    return 1.4826 * weighted_median(np.abs(values - weighted_median(values, weights)[:, None]), weights)


def with_errors(statistics: list, galaxies: np.ndarray, n_bootstrap: int = 200, seed: int = 0) -> np.ndarray:
    """Each statistic (a function from weights (m, n) to values (m,)) of all rows, its error from resamples: (k, 2)."""
    result = np.full((len(statistics), 2), np.nan)
    if len(galaxies):
        once = np.ones((1, len(galaxies)), np.int32)
        result[:, 0] = [statistic(once)[0] for statistic in statistics]
    if len(np.unique(galaxies)) > 1:  # one alone is alike in all resamples and tells nothing of others
        weights = resample(galaxies, n_bootstrap, seed)
        result[:, 1] = [statistic(weights).std(ddof=1) for statistic in statistics]
    return result
