"""The networks: the sizes that the paper gives, what comes out, and what is refused."""

import keras
import numpy as np
import pytest

from blendkit import models

SMALL = {
    "blend2flux": lambda shape: models.blend2flux(4, shape=shape),
    "unet": lambda shape: models.unet(3, 4, shape=shape),
    "blend2mask2flux": lambda shape: models.blend2mask2flux(3, 4, 4, 8, shape=shape),
    "fractions": lambda shape: models.fractions(8, shape=shape),
}
OUTPUTS = {
    "blend2flux": {"fluxes"},
    "unet": {"masks"},
    "blend2mask2flux": {"masks", "fluxes"},
    "fractions": {"fluxes", "errors", "masks", "images"},
}


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def run(network, images):
    outputs = models.as_dict(network(images[..., None], training=False))
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


class TestSizes:
    """Table 2 and section 3."""

    @pytest.mark.parametrize(("filters", "count"), [(64, 1_607_106), (256, 25_696_002), (512, 102_772_226)])
    def test_blend2flux(self, filters, count):
        assert models.blend2flux(filters).count_params() == count

    def test_unet(self):
        assert models.unet().count_params() == 7_759_554

    def test_blend2mask2flux(self):
        network = models.blend2mask2flux()
        assert network.count_params() == 18_431_300
        assert network.get_layer("unet").count_params() == 7_759_554
        assert network.get_layer("blend2flux").input_shape == (None, 128, 128, 3)

    def test_fractions(self):
        assert 5e5 <= models.fractions().count_params() <= 2e6

    def test_defaults_are_fiducial(self):
        assert models.blend2flux().get_layer("conv1").filters == 256
        assert [models.unet().get_layer(f"down{i}_conv2").filters for i in range(1, 6)] == [32, 64, 128, 256, 512]


class TestOutputs:
    def test_every_network_is_here(self):
        assert set(models.BUILDERS) == set(SMALL)

    @pytest.mark.parametrize("name", SMALL)
    def test_shapes_and_precision(self, name, policy):
        network = SMALL[name]((32, 64))
        assert network.name == name
        assert network.input_shape == (None, 32, 64, 1)
        outputs = run(network, np.random.default_rng(0).normal(0, 1, (3, 32, 64)).astype("f4"))
        assert set(outputs) == OUTPUTS[name]
        for key, value in outputs.items():
            assert value.shape == ((3, 2) if key in ("fluxes", "errors") else (3, 32, 64, 2))
            assert value.dtype == np.float32
            assert np.isfinite(value).all()

    @pytest.mark.parametrize("name", ["unet", "blend2mask2flux", "fractions"])
    def test_masks_are_shares(self, name):
        bright = np.random.default_rng(0).normal(0, 50, (2, 32, 32)).astype("f4")
        masks = run(SMALL[name]((32, 32)), bright)["masks"]
        assert masks.min() >= 0
        assert masks.max() <= 1
        assert masks.std() > 0

    def test_unet_sees_the_pixel_itself(self):
        """Skips reach the output: of two stamps that differ in a single pixel, masks differ there."""
        images = np.zeros((2, 32, 32), "f4")
        images[1, 9, 20] = 10
        masks = run(models.unet(3, 4, shape=(32, 32)), images)["masks"]
        assert (masks[0, 9, 20] != masks[1, 9, 20]).any()

    def test_the_signal_reaches_the_deepest_level(self):
        """Before training, deep maps are about as strong as the first: the network can learn from its first step on."""
        network = models.unet(5, 8, shape=(64, 64))
        maps = [network.get_layer(name).output for name in ("down1_conv1", "down5_conv2")]
        noise = np.random.default_rng(0).normal(0, 1, (4, 64, 64, 1)).astype("f4")
        first, deepest = (np.sqrt(np.mean(m**2)) for m in keras.Model(network.input, maps).predict(noise, verbose=0))
        assert deepest > 0.3 * first

    def test_weights_fit_across_networks(self):
        """What the U-Net learned goes into the large network as it is."""
        alone, whole = SMALL["unet"]((32, 32)), SMALL["blend2mask2flux"]((32, 32))
        whole.get_layer("unet").set_weights(alone.get_weights())
        images = np.random.default_rng(0).normal(0, 1, (2, 32, 32)).astype("f4")
        np.testing.assert_allclose(run(whole, images)["masks"], run(alone, images)["masks"], rtol=1e-5)

    @pytest.mark.parametrize("name", ["blend2flux", "unet", "blend2mask2flux"])
    def test_layers_have_names(self, name):
        """Names that a drawing can show, none that Keras made up with a running number."""
        inner = SMALL[name]((32, 32))
        assert not [layer.name for layer in inner.layers if layer.name.startswith(("conv2d", "dense_", "max_pooling"))]


class TestAsDict:
    @pytest.mark.parametrize(("shape", "name"), [((5, 2), "fluxes"), ((5, 16, 16, 2), "masks")])
    def test_told_by_shape(self, shape, name):
        value = np.zeros(shape)
        assert list(models.as_dict(value)) == [name]
        assert models.as_dict(value)[name] is value

    def test_dicts_stay(self):
        outputs = {"fluxes": 1, "extra": 2}
        assert models.as_dict(outputs) is outputs

    @pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 16, 16, 1), (5, 16, 2)])
    def test_other_shapes(self, shape):
        with pytest.raises(ValueError, match=r"expected fluxes \(n, 2\) or masks \(n, ny, nx, 2\)"):
            models.as_dict(np.zeros(shape))


class TestErrors:
    @pytest.mark.parametrize(
        ("build", "what"),
        [
            (lambda: models.blend2flux(0), "filters = 0"),
            (lambda: models.blend2flux(2.5), "filters = 2.5"),
            (lambda: models.blend2flux(4, dense=0), "dense = 0"),
            (lambda: models.unet(0), "depth = 0"),
            (lambda: models.unet(filters=-1), "filters = -1"),
            (lambda: models.blend2mask2flux(flux_filters=0), "flux_filters = 0"),
            (lambda: models.blend2mask2flux(dense=0), "dense = 0"),
        ],
    )
    def test_sizes(self, build, what):
        with pytest.raises(ValueError, match=f"{what} was given, expected a whole number of at least 1"):
            build()

    @pytest.mark.parametrize(
        ("build", "step", "example"),
        [
            (lambda: models.blend2flux(4, shape=(100, 128)), 16, "96 x 128"),
            (lambda: models.unet(4, 4, shape=(60, 64)), 8, "64 x 64"),
            (lambda: models.unet(6, 4, shape=(16, 32)), 32, "32 x 32"),
            (lambda: models.blend2mask2flux(3, 4, 4, 4, shape=(40, 40)), 16, "32 x 32"),
        ],
    )
    def test_stamps_that_cannot_be_halved(self, build, step, example):
        with pytest.raises(ValueError, match=f"expected multiples of {step}, .*{example} for example"):
            build()

    @pytest.mark.parametrize("shape", [128, (128,), "wide", (64, 64, 1)])
    def test_no_shape(self, shape):
        with pytest.raises(ValueError, match=r"expected \(ny, nx\) in pixels"):
            models.unet(2, 4, shape=shape)
