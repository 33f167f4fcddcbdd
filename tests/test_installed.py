"""What a student has after `pip install .`: the package, its weights and its tables, in any folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
USE = """
import blendkit as bk
assert bk.__file__.startswith({site!r}), bk.__file__
sample = bk.clean(bk.load_sample("synthetic", n=24, seed=5), n_jobs=1)
bk.BlendExplorer(sample)
for name in bk.weights.shipped():
    bk.deblenders.Network(name)
assert len(bk.tables.reference_scores()) and bk.tables.reference_cases()
if {published!r}:
    assert len(bk.load_published({published!r})[0])
bk.preflight()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which a wheel of this checkout was installed."""
    build, site = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("site")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, build)
    shutil.copytree(ROOT / "blendkit", build / "blendkit", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", site, build], check=True)
    return site


def test_networks_explorer_and_tables_are_there(site, tmp_path):
    published = ROOT.parent / "shared" / "data" / "paper" / "output_catalog.csv"
    code = USE.format(site=str(site), published=str(published) if published.is_file() else "")
    env = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "All is well" in done.stdout
    files = [path for path in (ROOT / "blendkit").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert not [path for path in files if not (site / path.relative_to(ROOT)).is_file()]
