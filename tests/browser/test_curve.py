"""The learning curve of a network that is trained in front of the reader."""

TRAINING = """
import blendkit as bk
train, valid = bk.split(bk.clean(bk.load_sample("synthetic", n=24, seed=5), n_jobs=1), (0.75, 0.25), seed=1)
plan = bk.training.Plan({"filters": 4}, 64, 32, 4, rate=2e-3)
network = bk.train("blend2flux", train, valid, "quick", seed=1, out="curve", plan=plan)
"""


def test_a_training_is_watched(notebook):
    tab = notebook(TRAINING, "from IPython.display import HTML\nHTML('<i id=done>done</i>')", ready="#done")
    status = tab.locator(".bk-curve [role=status]")
    tab.wait_for_function("document.querySelector('.bk-curve [role=status]').innerText.includes('trained')")
    assert status.count() == 1
    assert status.inner_text().startswith("blend2flux · epoch 4: loss")
    assert "flux error" in status.inner_text()
    loss, error = tab.locator(".bk-curve canvas").all()
    assert "4 epochs" in loss.get_attribute("aria-label")
    drawn = loss.evaluate("(canvas) => canvas.toDataURL()")
    for _ in range(3):
        loss.press("ArrowLeft")
    assert status.inner_text().startswith("blend2flux · epoch 2: loss")
    assert loss.evaluate("(canvas) => canvas.toDataURL()") != drawn
    error.hover(position={"x": 60, "y": 50})
    assert status.inner_text().startswith("blend2flux · epoch 1: loss")
    tab.mouse.move(5, 5)
    assert status.inner_text().startswith("blend2flux · epoch 4: loss")
