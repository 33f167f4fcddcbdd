"""What all tests of figures share: figures are drawn without a warning, and every text can be read."""

import warnings
from itertools import combinations

import matplotlib
import matplotlib.pyplot as plt
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import blendkit as bk

matplotlib.use("Agg")


blends = pytest.fixture(scope="session")(lambda accepted: bk.draw_blends(accepted, 40, seed=3))
drawn = pytest.fixture(scope="session")(lambda: checked)


def checked(draw):
    """A figure drawn by a function, by the rules of every figure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = draw()
    renderer = FigureCanvasAgg(fig).get_renderer()
    fig.draw(renderer)
    texts = [t for t in fig.findobj(matplotlib.text.Text) if t.get_visible() and t.get_text().strip()]
    boxes = {t: t.get_window_extent(renderer) for t in texts if t not in off_the_scale(fig)}
    for text, box in boxes.items():
        assert "nan" not in text.get_text()
        assert text.get_fontsize() >= 12, text.get_text()
        assert min(box.xmin, box.ymin, fig.bbox.xmax - box.xmax, fig.bbox.ymax - box.ymax) >= -1, text.get_text()
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        width, height = min(a.xmax, b.xmax) - max(a.xmin, b.xmin), min(a.ymax, b.ymax) - max(a.ymin, b.ymin)
        assert min(width, height) < 3, (one.get_text(), other.get_text())
    assert fig.get_suptitle()
    assert fig.get_figwidth() <= 12
    assert plt.get_fignums() == []
    return fig


def off_the_scale(fig):
    """Labels of ticks that are not drawn."""
    axes = [(axis, sorted(axis.get_view_interval())) for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)]
    ticks = [t for axis, (low, high) in axes for t in axis.get_major_ticks() if not low <= t.get_loc() <= high]
    return {label for tick in ticks for label in (tick.label1, tick.label2)}
