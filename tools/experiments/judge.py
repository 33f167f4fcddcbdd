"""judge: RUNFOLDER which(best|network|saved) N"""
import sys, json, numpy as np
from pathlib import Path
from tools.exam import train as E, outside as O
from blendkit.networks import builders, weights
from blendkit.deblenders import Network
from blendkit.data.cleaning import clean
from blendkit.data.load import load_sample
from blendkit.blends.recipe import make_blends
run, which, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
if which == "saved":
    net, _ = weights.load(run)
else:
    net = builders.build("fractions", {"width": 48})
    a = np.load(Path(run) / "checkpoint.npz")
    print("epochs", len(json.loads(str(a["state"]))["rows"]))
    for i, v in enumerate(net.variables): v.assign(a[f"{which}/{i}"])
D = Network(net)
real = clean(load_sample("../shared/data/hst-drizzled")); nl = O.noiseless(Path("../shared/data/hst-noiseless"))
nl = nl[np.isin(nl.catalog["id"], real.catalog["id"])]
syn = clean(load_sample("synthetic", n=2000, seed=42)) if "syn" in sys.argv else None
def show(name, flux, err, true, odd=None, which=(0, 1)):
    o = 100 * np.abs(flux / true - 1)
    for j in which:
        f = np.abs(2.5 * np.log10(np.maximum(flux[:, j] / true[:, j], 1e-9))) > .75
        print(f"{name:22s} {j}: mean {np.mean(o[:, j]):6.2f} median {np.median(o[:, j]):5.2f} out {100*f.mean():5.2f} in1 {100*np.mean(np.abs(flux[:, j]-true[:, j])<err[:, j]):5.1f}", f"flag {100*odd.mean():.1f}" if odd is not None else "", flush=True)
for c in O.CONDITIONS:
    if c.name not in ("survey", "undisturbed", "1 pixel off", "2 pixels off", "no companion", "a third galaxy", "4 to 6 galaxies", "0.25 to 0.5 R apart", "a star") and "all" not in sys.argv: continue
    for label, sam in (("real", real if c.noise == "correlated" else nl), ("syn", syn if c.noise == "correlated" else None)):
        if sam is None or c.noise == "white": continue
        b = c.blends(sam, 3000 if "full" in sys.argv and c.name == "survey" else n)
        im, truth = c.stamps(sam, b)
        p = D(im)
        fl, er, odd = np.array(p["flux"]) / c.unit, np.array(p["flux_err"]) / c.unit, np.array(p["out_of_domain"])
        t = np.array(b["flux"], float)[:, :2]
        show(f"{label} {c.name}", fl, er, t, odd, (0,) if c.lone or c.draw.get("members") else (0, 1))
        if c.lone: print("   rest within 2 sigma of 0:", 100 * np.mean(np.abs(fl[:, 1]) < 2 * er[:, 1]))
# scenes as in a field: central, others anywhere
rng = np.random.default_rng(3)
from blendkit.blends.recipe import draw_blends
from blendkit.blends.rendering import render
from blendkit.blends.world import observe
b = draw_blends(nl, n, 5, 4.0, None, members=(1, 6))
im = observe(render(nl, b, fill="zero", masks=False)[0], seed=1)
p = D(im)
show("field-like scene", np.array(p["flux"]), np.array(p["flux_err"]), np.array(b["flux"], float)[:, :2], np.array(p["out_of_domain"]), (0,))
