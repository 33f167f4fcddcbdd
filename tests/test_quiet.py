"""Starting a network library leaves the reader's screen clean, and hides nothing from who asks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
START = ("import blendkit as bk; bk.training.has_gpu()", "import blendkit as bk; bk.models; bk.models.unet(2, 1)")


def said(code, **environment):
    clean = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("code", START)
def test_nothing_is_said_at_the_start(code):
    assert said(code, KERAS_BACKEND="tensorflow") == ""


def test_stderr_is_given_back():
    code = f"{START[0]}\nimport os, sys\nos.write(2, b'compiled code')\nprint(' and Python', file=sys.stderr)"
    assert said(code, KERAS_BACKEND="tensorflow") == "compiled code and Python\n"


def test_who_asks_hears_it_all():
    assert said(START[0], KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="0") != ""


def test_a_backend_that_cannot_be_loaded_is_an_error_as_ever():
    with pytest.raises(AssertionError, match="nonsense"):
        said("from blendkit.quiet import load_keras; load_keras()", KERAS_BACKEND="nonsense")
