"""train: OUT EPOCHS RATE [start weights: shipped or path]"""
import sys, numpy as np, keras, glob
from dataclasses import replace
from pathlib import Path
from tools.exam import train as E
from blendkit.networks import fractions as F, training as T, builders, weights
from blendkit.networks.training import _recipe, Blender
from blendkit.blends.layer import BlendLayer
from blendkit.blends.recipe import split
out, epochs, rate, source = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
exam = E.Exam(Path("../shared/data/hst-drizzled"), Path("results/exam"))
parts = [E.parents(exam, seed) for seed in exam.seeds[::2]]
parts += [E.with_measured_radii(E.parents(exam, seed, **E.BROADER, **E.SHARPER)) for seed in exam.seeds[1::2]]
train, valid = split(replace(E.join(parts), name=f"synthetic, {len(parts)} seeds, no noise"), (0.95, 0.05), 42)
del parts
def warm():
    """The shipped pair network's weights in the new network."""
    import h5py
    new = builders.build("fractions", {"width": 48})
    path = weights.FOLDER / "fractions.weights.h5"
    with h5py.File(path) as f:
        names = []
        f.visititems(lambda n, i: names.append(n) if isinstance(i, h5py.Dataset) else None)
    for part in ("locate", "separate", "watch", "error_scale"):
        print(part, len(new.get_layer(part).weights))
    # the pair network from the code that is on main
    sys.path.insert(0, "results/oldcode")
    data = np.load("results/oldweights.npz")
    for part in ("locate", "separate", "watch"):
        layer = new.get_layer(part)
        have = [data[f"{part}/{i}"] for i in range(len(layer.weights))]
        have = [np.pad(a, [(0, w - n) for n, w in zip(a.shape, v.shape)]) for a, v in zip(have, layer.weights)]
        layer.set_weights(have)
    layer = BlendLayer(valid)
    recipe = _recipe(layer, 64, 1, 1, usual=.7)
    blender = Blender(new, layer, F.fractions_loss, recipe)
    blend = blender.blend(recipe, layer)
    image, unit = new.get_layer("sky")(blend["image"][..., None])
    x, xc, *_ = F._look(image[..., 0], (128, 128))
    heat = np.asarray(new.get_layer("locate")([x, xc])[0])[..., 1].reshape(64, -1)
    top = heat.max(1); off = np.mean(top + np.log(np.exp(heat - top[:, None]).sum(1))) + 6
    print("heat offset", off)
    loc = new.get_layer("locate")
    for w in loc.weights:
        if w.shape == (128,) and "bias" in w.path:
            print(w.path)
    convs = [l for l in loc.layers if isinstance(l, keras.layers.Conv2D) and l.filters == 128 and l.kernel_size == (1, 1)]
    print([l.name for l in convs])
    own = [l for l in convs if l.activation.__name__ == "linear"]
    assert len(own) == 1, own
    b = np.array(own[0].bias); b.reshape(64, 2)[:, 1] -= off; own[0].bias.assign(b)
    heat2 = np.asarray(loc([x, xc])[0])[..., 1].reshape(64, -1)
    print("expected number after", np.exp(np.minimum(heat2, 3)).sum(1).mean())
    weights.CARDS[new] = weights.read_card(weights.FOLDER / "fractions.json")
    return new
start = warm() if source == "shipped" else source
plan = replace(E.SHIPPED_PLAN, epochs=epochs, rate=rate, usual=0.7)
plan = replace(plan, **eval(sys.argv[5])) if len(sys.argv) > 5 else plan
T.train("fractions", train, valid, "tutorial", 42, out, start=start, plan=plan)
