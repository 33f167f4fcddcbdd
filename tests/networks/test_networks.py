"""The networks: the sizes that the paper gives, what comes out, what is refused; and how ours sees a blend."""

import numpy as np
import pytest
from conftest import module, refused, same_weights

import blendkit as bk
from blendkit.networks.backend import load_keras

keras = load_keras()

from blendkit.blends.world import draw_worlds, observe  # noqa: E402
from blendkit.networks import builders, fractions, world  # noqa: E402
from blendkit.networks.sky import measure_sky  # noqa: E402
from blendkit.networks.training import Blender, BlendLayer  # noqa: E402

SMALL = {"blend2flux": {"filters": 4}, "unet": {"depth": 3, "filters": 4}, "fractions": {"width": 4}}
SMALL["blend2mask2flux"] = {"depth": 3, "filters": 4, "flux_filters": 4, "dense": 8}
OUTPUTS = {"blend2flux": {"fluxes"}, "unet": {"masks"}, "blend2mask2flux": {"masks", "fluxes"}}
OUTPUTS["fractions"] = {"fluxes", "errors", "masks", "shares", "images", "blended", "out_of_domain"}
NUMBERS = ("out_of_domain", "blended")  # of each stamp
CALM = (0.0, 0.0, 0.0, 0.0)  # a world without noise of its own, blur and sky level


small = module(lambda: {name: builders.build(name, size | {"shape": (32, 64)}, seed=3) for name, size in SMALL.items()})
stack = module(lambda: np.random.default_rng(1).normal(0.05, 0.1, (5, 32, 64)).astype(np.float32))


@module
def blended(make_sample):
    """A layer, 192 blends of its galaxies, and what these look like."""
    sample = make_sample(12, (32, 64))
    blends = bk.draw_blends(sample, 192, seed=4, turns=False)
    return BlendLayer(sample), blends, bk.render(sample, blends)


def recipe_of(layer, blends, told=fractions.UNTOLD):
    n, k = blends["id"].shape
    worlds = {"worlds": np.tile(np.float32(CALM), (n, 1)), "chance": np.random.default_rng(0).random((n, 10), "f4")}
    worlds |= {"told": np.broadcast_to(told, (n, k, 2)), "inside": np.ones((n, k)), "blended": np.zeros(n)}
    return layer.recipe(blends) | {name: values.astype("f4") for name, values in worlds.items()}


def run(network, images):
    outputs = bk.models.as_dict(network(images[..., None], training=False))
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


class TestSizes:
    """Table 2 and section 3."""

    def test_of_the_paper(self):
        counts = [bk.models.blend2flux(filters).count_params() for filters in (64, 256, 512)]
        assert counts == [1_607_106, 25_696_002, 102_772_226]
        network = bk.models.blend2mask2flux()
        assert (network.count_params(), network.get_layer("unet").count_params()) == (18_431_300, 7_759_554)
        assert network.get_layer("blend2flux").input_shape == (None, 128, 128, 3)

    @pytest.mark.parametrize("name", SMALL)
    def test_plans(self, name):
        """For laptops below a million parameters, for the paper of full size: the builders' defaults."""
        for profile in ("quick", "tutorial"):
            assert builders.build(name, bk.training.plan_of(name, profile).arguments).count_params() < 1e6
        paper = bk.training.plan_of(name, "paper")
        full = {"blend2flux": {"filters": 256}, "unet": {"depth": 5, "filters": 32}, "fractions": {"width": 64}}
        assert (paper.blends, paper.arguments) == (25_000, full.get(name, {}))


class TestOutputs:
    @pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
    @pytest.mark.parametrize("name", bk.models.BUILDERS)
    def test_shapes_and_precision(self, name, policy, stack):
        network = builders.build(name, SMALL[name] | {"shape": (32, 64)}, policy=policy)
        assert (network.name, network.input_shape) == (name, (None, 32, 64, 1))
        outputs = run(network, 20 * stack)
        assert outputs.keys() == OUTPUTS[name]
        for key, value in outputs.items():
            shape = {"fluxes": (5, 2), "errors": (5, 2)}.get(key, (5,) if key in NUMBERS else (5, 32, 64, 2))
            assert (value.shape, value.dtype, np.isfinite(value).all()) == (shape, np.float32, True)
        masks = outputs.get("masks", np.array([0, 1]))
        assert 0 <= masks.min() < masks.max() <= 1

    def test_initial_weights_follow_the_seed(self):
        first, same, other = (builders.build("unet", SMALL["unet"], seed) for seed in (1, 1, 2))
        assert same_weights(first, same) > same_weights(first, other)


def test_a_bare_output_is_known_by_its_shape():
    for shape, name in (((5, 2), "fluxes"), ((5, 3), "fluxes"), ((5, 16, 16, 2), "masks")):
        value = np.zeros(shape)
        assert bk.models.as_dict(value)[name] is value
        assert bk.models.as_dict([value, {"extra": 2}]) == {name: value, "extra": 2}
    for outputs in (np.zeros(5), np.zeros((5, 1)), np.zeros((5, 16, 2)), {"masks": np.zeros((5, 2))}):
        refused(lambda outputs=outputs: bk.models.as_dict(outputs), "expected")


@pytest.mark.parametrize(("name", "arguments"), [
    ("blend2flux", {"filters": 2.5}), ("blend2mask2flux", {"flux_filters": 0}), ("blend2flux", {"shape": (100, 128)}),
    ("unet", {"depth": 6, "shape": (16, 32)}), ("fractions", {"shape": (0, 64)}), ("unet", {"shape": (64, 64, 1)}),
])  # fmt: skip
def test_sizes_that_make_no_network(name, arguments):
    with pytest.raises(ValueError, match="expected"):
        builders.build(name, arguments)


class TestFractions:
    @pytest.mark.parametrize("at", [(16, 32), (0, 0), (5, 60), (31, 63)])
    def test_turning_about_a_pixel(self, stack, at):
        turned = np.asarray(fractions.TurnAbout()(stack, np.tile(np.int32(at), (5, 1, 1, 1))))
        v, u = 2 * np.reshape(at, (2, 1, 1)) - np.indices((32, 64))
        inside = (v >= 0) & (v < 32) & (u >= 0) & (u < 64)
        expected = np.where(inside, stack[:, v.clip(0, 31), u.clip(0, 63)], 0)
        np.testing.assert_array_equal(turned, expected)

    def test_places_and_the_nearest_of_them(self):
        """The likelier another galaxy, the further its pixels reach."""
        heat = np.full((1, 32, 64, 2), -20.0, "f4")
        heat[0, [2, 17], [3, 31], 0] = 9, 5  # the first is not near the centre
        for (y, x), chance in {(8, 8): 0.8, (8, 48): 0.4, (24, 60): 0.01}.items():
            away = (np.indices((32, 64)) - np.reshape((y, x), (2, 1, 1))) ** 2
            heat[0, ..., 1] = np.maximum(heat[0, ..., 1], np.log(chance / np.pi) - away.sum(axis=0))
        own, others, chance = (np.asarray(v) for v in fractions.places(fractions.to_patches(heat)))
        assert own.tolist() == [[17, 31]]
        assert chance[0, :3] == pytest.approx([0.8, 0.4, 0.01], rel=0.02)
        assert others[0, :3].tolist() == [[8, 8], [8, 48], [24, 60]]
        at, likely = (np.asarray(v)[0] for v in fractions.nearest(others, chance, (32, 64)))
        which = (at[..., None, :] == others[0, :3]).all(axis=-1)  # of each pixel
        np.testing.assert_allclose(likely, which @ chance[0, :3], rtol=1e-6)
        assert [np.flatnonzero(which[at]).tolist() for at in ((8, 26), (8, 36), (24, 60))] == [[0], [1], [2]]

    def test_shares_are_shares(self, small, stack):
        out, light = run(small["fractions"], stack), stack - np.asarray(measure_sky(stack)[0])[:, None, None]
        assert (out["images"] * light[..., None] >= 0).all()
        assert (np.abs(out["images"].sum(-1)) <= np.abs(light) * (1 + 1e-4) + 1e-6).all()
        assert out["errors"].min() > 0

    def test_what_it_is_told_matters(self, small, blended):
        """Untold, its loss is that of its answers."""
        layer, blends, (images, _, fluxes) = blended
        true, recipe = np.stack([blends["dy"], blends["dx"]], 2), recipe_of(layer, blends)
        blender = Blender(small["fractions"], layer, fractions.fractions_loss, recipe)
        alone, helped = (np.asarray(blender(r)["mape_rest"]) for r in (recipe, recipe_of(layer, blends, true)))
        assert not np.allclose(alone, helped)
        off = 100 * np.abs(run(small["fractions"], images)["fluxes"] / fluxes - 1)
        np.testing.assert_allclose(off[:, 1], alone, rtol=1e-2)

    def test_calibrated_on_blends_it_is_honest_about_them(self, blended):
        network = builders.build("fractions", SMALL["fractions"] | {"shape": (32, 64)}, seed=3)
        layer, blends, (images, _, fluxes) = blended
        before, recipe = run(network, images)["fluxes"], recipe_of(layer, blends)
        blender = Blender(network, layer, fractions.fractions_loss, recipe)
        for _ in range(2):  # a second time changes nothing
            fractions.calibrate(blender, recipe)
            out = run(network, images)
            pulls = np.abs(out["fluxes"] - fluxes) / out["errors"]
            np.testing.assert_allclose(np.quantile(pulls, 0.683, axis=0), 1, rtol=1e-2)
            assert np.mean(out["out_of_domain"] > 0) == pytest.approx(0.005, abs=0.005)
        np.testing.assert_array_equal(out["fluxes"], before)


class TestSky:
    """A network measures its own sky."""

    @pytest.mark.parametrize("name", SMALL)
    def test_units_and_level_do_not_matter(self, small, stack, name):
        outputs = run(small[name], stack)
        for unit in (1e-3, 0.37, 1e6):
            for key, value in run(small[name], unit * stack).items():
                if key == "out_of_domain":  # so much noise, or so little, it does not know in any unit
                    assert (value > 0).all() == (unit != 0.37)
                    continue
                scale = unit if key in ("fluxes", "errors", "images") else 1
                np.testing.assert_allclose(value, scale * outputs[key], rtol=1e-4, atol=2e-4 * scale, err_msg=key)
        for key, value in run(small[name], stack + np.float32(0.25)).items():
            np.testing.assert_allclose(value, outputs[key], rtol=2e-2, atol=2e-3, err_msg=key)

    @pytest.mark.parametrize("k", range(7))
    def test_it_is_right_on_an_empty_stamp_and_hardly_climbs_the_galaxies(self, make_sample, k):
        sample = make_sample(12, (128, 128), sky=0.0)
        with pytest.warns(UserWarning, match="no stamp has empty sky"):
            light, _, _ = bk.render(sample, bk.draw_blends(sample, 20, seed=k, members=k), fill="zero", masks=False)
        stamps = observe(light, sigma=0.0085, level=0.05, seed=1)
        level, noise = (np.asarray(values) for values in measure_sky(stamps))
        assert np.mean(level - 0.05) / 0.0085 == pytest.approx(0.02 * k, abs=0.03 + 0.03 * k)
        assert np.mean(noise) / 0.0085 == pytest.approx(1, abs=0.03 + 0.01 * k)


class TestWorld:
    """The worlds that networks are trained in."""

    def test_on_the_device_as_in_numpy(self):
        """The noise is of the size and correlation asked for, the blur leaves the light, the level is added."""
        light = np.zeros((3, 64, 64, 2), "f4")
        light[:, 32, 32] = [1, 2]
        rows, chance = np.zeros((3, 2, 5), "i4"), np.random.default_rng(0).random((3, 10), "f4")
        worlds = np.float32([[0.01, 0, 0, 0], [0.02, 0.62, 6, 0.5], [0.02, 0.9, 3, -1]])
        images, parts = map(np.asarray, world.World()(light, rows, worlds, chance))
        for (sigma, correlation, blur, level), image, part in zip(worlds, images, parts, strict=True):
            noise, like = image - part.sum(-1) - level, observe(light[:1], sigma=0, blur=blur)[0]
            np.testing.assert_allclose(part.sum(-1), like, atol=0.004 * like.max())
            np.testing.assert_allclose(part.sum((0, 1)), [1, 2], rtol=1e-3)
            made = observe(0 * light[:1], sigma=sigma, correlation=correlation, seed=2)[0]
            for field in (noise, made):
                assert field.std() == pytest.approx(sigma, rel=0.06)
                lag = np.mean(field[1:] * field[:-1]) / sigma**2
                assert lag == pytest.approx(np.exp(-0.25 / correlation**2) if correlation else 0, abs=0.07)

    def test_no_noise_is_added_where_there_is_more_already(self):
        worlds, chance = np.float32([[0.01, 0, 0, 0], [0.02, 0, 0, 0]]), np.full((2, 10), 0.5, "f4")
        rows = np.tile(np.int32([[0], [-1]]), (2, 1, 5))
        for own, expected in ((0.0, (0.01, 0.02)), (0.012, (0, 0.016))):
            images, _ = world.World(own)(np.zeros((2, 64, 64, 2), "f4"), rows, worlds, chance)
            np.testing.assert_allclose(np.std(images, axis=(1, 2)), expected, rtol=0.06)

    def test_they_are_drawn_over_the_whole_range(self):
        sigma, correlation, blur, level = draw_worlds(np.random.default_rng(0), 4000, usual=0.0).T
        assert sigma.max() / sigma.min() > 8
        assert (correlation.min(), correlation.max()) == pytest.approx((0, 0.9), abs=0.06)
        assert (np.mean(blur == 0), blur.max()) == pytest.approx((0.5, 5), abs=1.1)
        assert (level.min(), level.max()) == pytest.approx((-0.01, 0.01), rel=0.01)

    def test_strange_stamps_are_no_ordinary_ones(self):
        light, kinds = np.zeros((90, 64, 64), "f4"), np.arange(90) % world.KINDS
        light[:, 30:34, 30:34] = 0.1
        images, chance = observe(light, seed=3), np.random.default_rng(1).random((90, 10), "f4")
        chance[:, 0] = (kinds + 0.5) / world.KINDS
        made = world.strange_stamps(images, light, np.full(90, 0.006, "f4"), np.full(90, 2, "f4"), chance)
        odd, sure = (np.asarray(values) for values in made)
        assert np.isfinite(odd).all()
        changed = (odd != images).any(axis=(1, 2))
        assert changed[~np.isin(kinds, (2, 3))].all()
        assert changed.mean() > 0.9, "a column or an edge may miss the stamp"
        np.testing.assert_array_equal(sure, 1, "four galaxies are a crowd")
