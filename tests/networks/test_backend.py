"""Starting a network library leaves the reader's screen clean, and hides nothing from who asks."""

import os
import subprocess
import sys

START = "import blendkit as bk; bk.training.has_gpu(); bk.models.unet(2, 1)"
SCREEN = "import os, sys; os.write(2, b'compiled code'); print(' and Python', file=sys.stderr)"


def start(code, backend="tensorflow", **environment):
    clean = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment = clean | {"KERAS_BACKEND": backend} | environment
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_nothing_is_printed_at_the_start_and_the_screen_is_given_back():
    run = start(f"{START}\n{SCREEN}")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "compiled code and Python\n")


def test_who_asks_sees_it_all_and_a_backend_that_cannot_be_loaded_is_an_error_as_ever():
    assert start("import blendkit as bk; bk.training", TF_CPP_MIN_LOG_LEVEL="0").stderr
    assert "nonsense" in start("import blendkit as bk; bk.training", "nonsense").stderr
