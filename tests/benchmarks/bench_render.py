"""How fast `render` is, beside a plain NumPy loop over pairs that does the same work: `make bench`.

One core, fresh output arrays on both sides, 128 x 128 stamps; the loop makes images only, and render with masks and
fluxes has to reach half of its rate. The two are timed in turn, many times over, so that
whatever else the machine does hits both; the ratio is the median of the rounds' ratios, rates are medians too.
"""

import argparse
import statistics
import sys
import time

import numpy as np
from astropy.table import Table

import blendkit as bk
from blendkit.blending import sky_rows

SIZE = 128
NEEDED = {"images": 0.9, "masks": 0.5}


def make_sample(n=2000):
    """Gaussians on noise: what is on the stamps does not matter for speed, only how many there are."""
    rng = np.random.default_rng(0)
    y, x = np.indices((SIZE, SIZE)) - SIZE // 2
    r_eff = rng.uniform(2, 10, n)
    light = np.exp(-(x**2 + y**2) / (2 * r_eff[:, None, None] ** 2))
    images = (light + rng.normal(0, 0.006, light.shape)).astype("f4")
    catalog = Table({
        "id": np.arange(n), "mag": rng.uniform(19, 23, n), "r_eff": r_eff, "morphology": np.full(n, "disk"),
        "segval": np.ones(n, int), "flux_auto": rng.uniform(10, 600, n),
    })  # fmt: skip
    return bk.Sample(images, (light > 0.05).astype("u1"), catalog)


def window(shift):
    """Where a stamp shifted by `shift` pixels lands along one axis, where that comes from, and what stays empty."""
    if shift >= 0:
        return slice(shift, SIZE), slice(0, SIZE - shift), slice(0, shift)
    return slice(0, SIZE + shift), slice(-shift, SIZE), slice(SIZE + shift, SIZE)


def turn(stamp, orient):
    """The stamp turned about its centre pixel, in copies; the row or column left empty is zero."""
    out = np.rot90(stamp.T if orient >= 4 else stamp, orient % 4).copy()
    quarter = orient % 4
    if quarter in (1, 2):
        out = np.roll(out, 1, 0)
        out[0] = 0
    if quarter in (2, 3):
        out = np.roll(out, 1, 1)
        out[:, 0] = 0
    return out


def plain_images(sample, blends, fill, turns):
    """Gather, shift by slices, add."""
    stamps, n = sample.images, len(blends)
    out = np.empty((n, SIZE, SIZE), np.float32)
    centrals, companions = (sample.index(blends[name]).tolist() for name in ("central", "companion"))
    dx, dy = (np.asarray(blends[name]).tolist() for name in ("dx", "dy"))
    orient = np.asarray(blends["orient_central"]), np.asarray(blends["orient_companion"])
    sky = sample.sky if fill == "sky" else None
    donors = sky_rows(blends, len(sample.sky))[1]
    for i in range(n):
        central, companion = stamps[centrals[i]], stamps[companions[i]]
        if turns:
            central, companion = turn(central, orient[0][i]), turn(companion, orient[1][i])
        to_y, from_y, empty_y = window(dy[i])
        to_x, from_x, empty_x = window(dx[i])
        out[i] = central
        out[i, to_y, to_x] += companion[from_y, from_x]
        if sky is not None:
            out[i, empty_y] += sky[donors[i], empty_y]
            out[i, to_y, empty_x] += sky[donors[i], to_y, empty_x]
    return out


def timed(function):
    """Seconds that one call takes; its arrays are given back outside of the clock."""
    start = time.perf_counter()
    result = function()
    end = time.perf_counter()
    del result
    return end - start


def compare(ours, plain, n, rounds):
    """Median rates of both, blends per second, and the median ratio; who goes first alternates."""
    times = []
    for i in range(rounds + 1):
        pair = {}
        for which in ("ours", "plain") if i % 2 else ("plain", "ours"):
            pair[which] = timed(ours if which == "ours" else plain)
        times.append((pair["ours"], pair["plain"]))
    times = times[1:]  # the first round warms up
    ratio = [p / o for o, p in times]
    rate_ours, rate_plain = (n / statistics.median(t) for t in zip(*times, strict=True))
    return rate_ours, rate_plain, statistics.median(ratio), np.percentile(ratio, (10, 90))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blends", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--strict", action="store_true", help="fail below the ratios that are needed")
    args = parser.parse_args()
    sample = make_sample()
    straight = bk.draw_blends(sample, args.blends, seed=1, turns=False)
    turned = bk.draw_blends(sample, args.blends, seed=1)

    cases = [
        ("images, fill zero", straight, "zero", False, False),
        ("images, fill sky", straight, "sky", False, False),
        ("images, turned, fill sky", turned, "sky", False, True),
        ("images, masks, fluxes, fill zero", straight, "zero", True, False),
        ("images, masks, fluxes, fill sky", straight, "sky", True, False),
        ("images, masks, fluxes, turned, fill sky", turned, "sky", True, True),
    ]
    zero = plain_images(sample, straight, "zero", False)
    if not np.array_equal(zero, bk.render(sample, straight, fill="zero", masks=False)[0]):
        sys.exit("the plain loop and render disagree: the comparison would mean nothing.")
    print(f"render, {args.blends} blends of {SIZE} x {SIZE} pixels, median of {args.rounds} rounds, one core")
    print(f"{'':40s} {'blends/s':>9s} {'plain loop':>11s} {'ratio':>6s} {'10-90 %':>12s} {'needed':>7s}")
    slow = []
    for what, blends, fill, masks, turns in cases:
        ours, plain, ratio, (low, high) = compare(
            lambda blends=blends, fill=fill, masks=masks: bk.render(sample, blends, fill=fill, masks=masks),
            lambda blends=blends, fill=fill, turns=turns: plain_images(sample, blends, fill, turns),
            len(blends),
            args.rounds,
        )
        needed = NEEDED["masks" if masks else "images"]
        slow += [what] * (ratio < needed)
        print(f"{what:40s} {ours:9,.0f} {plain:11,.0f} {ratio:6.2f} {low:5.2f} -{high:5.2f} {needed:7.1f}")
    if slow:
        print(f"slower than needed: {'; '.join(slow)}")
        if args.strict:
            sys.exit(1)


if __name__ == "__main__":
    main()
