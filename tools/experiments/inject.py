"""inject: CHECKPOINT-or-name COPIES : fields with galaxies put in, estimators of flux beside SEP"""
import sys, json, numpy as np, dataclasses, pickle
from pathlib import Path
from tools.exam import train as E, field as X, rivals
from blendkit.networks import builders, weights, fractions as F, training as T
from blendkit.networks.training import _recipe, Blender
from blendkit.deblenders import field as M
exam = E.Exam(Path("../shared/data/hst-drizzled"), Path("results/exam"), fields=int(sys.argv[2]))
if sys.argv[1].endswith(".npz"):
    net = builders.build("fractions", {"width": 48})
    a = np.load(sys.argv[1]); print("epochs", len(json.loads(str(a["state"]))["rows"]))
    which = sys.argv[3] if len(sys.argv) > 3 else "network"
    for i, v in enumerate(net.variables): v.assign(a[f"{which}/{i}"])
else:
    net, _ = weights.load(sys.argv[1])
rows = []
for f in X.fields(exam):
    t = M.measure_field(f.image, f.zeropoint, network=net)
    found = {"x": np.array(t["x"]), "y": np.array(t["y"])}
    at = X.nearest(f.put, found)
    alone = rivals.sep_alone(f.image); at2 = X.nearest(f.put, alone)
    for name in ("flux", "flux_err", "sep_flux", "k_mask", "k_share", "k_ell", "blended", "out_of_domain"):
        f.put[name + "_m"] = np.append(np.array(t[name], float), np.nan)[at]
    f.put["alone_m"] = np.append(alone["flux"], np.nan)[at2]
    f.put["kind"] = f.kind
    rows.append(f.put)
from astropy.table import vstack
rows = vstack(rows); rows.write("results/inject.ecsv", overwrite=True)
def show(rows, label):
    for g in ("all", "lone", "near", "0 to 3 pixels", "3 to 6 pixels", "6 to 9 pixels", "9 to 12 pixels", "12 to 24 pixels"):
        here = rows[~rows["pair"] & X.GROUPS[g](rows["near"], rows["dmag"])]
        if not len(here): continue
        print(f"{label} {g:16s} n {len(here):3d} lost {np.isnan(here['flux_m']).sum()}", end=" ")
        est = {"net": here["flux_m"], "k_mask": here["k_mask_m"], "k_share": here["k_share_m"], "k_ell": here["k_ell_m"], "mean": .5*(here["flux_m"]+np.where(np.isfinite(here["k_mask_m"]), here["k_mask_m"], here["flux_m"])), "SEP": here["sep_flux_m"], "alone": here["alone_m"]}
        for n, e in est.items():
            o = 100*np.abs(np.asarray(e)/np.asarray(here["flux"])-1); ok = np.isfinite(o)
            out = np.abs(2.5*np.log10(np.maximum(np.asarray(e)[ok]/np.asarray(here["flux"])[ok],1e-9)))>.75
            print(f"| {n} {np.median(o[ok]):.1f}/{np.mean(o[ok]):.0f} o{100*out.mean():.1f}", end=" ")
        er = np.asarray(here["flux_err_m"])
        for n in ("net","k_mask"):
            d=np.abs(np.asarray(est[n])-np.asarray(here["flux"]))/er; ok=np.isfinite(d); print(f"w1 {np.mean(d[ok]<1):.2f} w2 {np.mean(d[ok]<2):.2f}", end=" ")
        print()
for kind in X.KINDS[:2]: show(rows[rows["kind"] == kind], kind[:4])
show(rows, "both"); print("auc", X._auc(type(rows)({"pair":rows["pair"],"near":rows["near"],"dmag":rows["dmag"],"id":rows["id"],"blended":rows["blended_m"]}))) if np.isfinite(rows["blended_m"]).any() else None
