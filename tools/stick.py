"""A class without a network: ``make stick STICK=<folder>`` puts all that a student's laptop needs on a USB stick.

The folder gets `blendkit.zip` (this commit), `wheels/` (every package, for this kind of machine or for those named with
PLATFORMS) and `install.py`, with which a student installs it all: ``python3 install.py``. Galaxies need no room: they
are simulated on the laptop. Windows is a Linux here, in WSL: GalSim has no wheel for it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from .run_notebooks import ROOT

PLATFORMS = {  # what pip calls them; the newest first
    "linux": ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"],
    "mac": [f"macosx_{version}_0_arm64" for version in (14, 13, 12, 11)],  # Apple's own processors
}
INSTALL = '''"""Install blendkit from this stick: python3 install.py [folder]"""
import shutil, subprocess, sys, venv, zipfile
from pathlib import Path

here = Path(__file__).resolve().parent
home = Path([*sys.argv, "blendkit"][1]).resolve()
if not (3, 11) <= sys.version_info < (3, 14):
    sys.exit(f"blendkit needs Python 3.11, 3.12 or 3.13, and this is {sys.version[:6]}: try python3.12 install.py")
if not any((here / "wheels").glob("numpy-*-cp{}{}-*".format(*sys.version_info))):
    kinds = sorted({file.name.split("-")[2] for file in (here / "wheels").glob("numpy-*")})
    sys.exit(f"This stick has packages for {', '.join(kinds)}, and this is Python {sys.version[:6]}: use another one.")
if home.exists():
    sys.exit(f"{home} is already there: move it away, or name another folder behind install.py.")
print(f"Installing into {home} (a few minutes) ...", flush=True)
with zipfile.ZipFile(here / "blendkit.zip") as packed:
    packed.extractall(home)
venv.create(home / ".venv", with_pip=True)
scripts = home / ".venv" / "bin"
pip = [scripts / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
packages = subprocess.run([*pip, "--find-links", here / "wheels", "--editable", home])
if packages.returncode:
    shutil.rmtree(home)
    sys.exit("The installation failed (see above): are there packages for this kind of machine on the stick?")
(home / ".venv" / ".installed").touch()
print(f"Done. Start with: {scripts / 'jupyter'} lab --notebook-dir={home}")
'''


def main(argv: list[str] | None = None) -> int:
    """Fill the stick; what is made moves into place once it is complete."""
    parser = argparse.ArgumentParser(prog="python -m tools.stick", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--platforms", default="", help=f"of {', '.join(PLATFORMS)}; default: this machine's kind")
    parser.add_argument("--python", default="{}.{}".format(*sys.version_info), help="versions of the students' Python")
    args = parser.parse_args(argv)
    if unknown := set(args.platforms.split()) - set(PLATFORMS):
        parser.error(f"{', '.join(unknown)} is unknown: use {', '.join(PLATFORMS)}.")
    args.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=args.folder, prefix=".writing-") as draft:
        wheels(Path(draft) / "wheels", args.platforms.split(), args.python.split())
        archive = ["git", "archive", "--format=zip", f"--output={draft}/blendkit.zip", "HEAD"]
        subprocess.run(archive, cwd=ROOT, check=True)
        (Path(draft) / "install.py").write_text(INSTALL, encoding="utf-8")
        shutil.rmtree(args.folder / "wheels", ignore_errors=True)
        for made in Path(draft).iterdir():
            os.replace(made, args.folder / made.name)
    size = sum(file.stat().st_size for file in args.folder.rglob("*")) / 1e9
    print(f"{args.folder} holds {size:.1f} GB. On a student's laptop: python3 {args.folder / 'install.py'}")
    return 0


def wheels(folder: Path, platforms: list[str], pythons: list[str]) -> None:
    """Download every package that a student needs: what `pyproject.toml` asks for, and what builds it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [*project["project"]["dependencies"], *project["build-system"]["requires"], "wheel"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if not platforms:
        subprocess.run([*pip, "wheel", "--quiet", "--wheel-dir", folder, *needed], check=True)
    for name, python in product(platforms, pythons):
        kinds = [f"--platform={tag}" for tag in PLATFORMS[name]]
        only = ["--only-binary=:all:", f"--python-version={python}", "--implementation=cp", *kinds]
        also = ["appnope"] if name == "mac" else []  # ipykernel's there: pip reads conditions as on this machine
        subprocess.run([*pip, "download", "--quiet", "--dest", folder, *only, *needed, *also], check=True)


if __name__ == "__main__":
    sys.exit(main())
