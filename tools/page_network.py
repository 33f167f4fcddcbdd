"""Make what answers in an exported page, a network as ONNX and ONNX Runtime Web that runs it, and say where it lies.

``python -m tools.page_network fractions``, which ``bk.export_html(..., network="fractions")`` calls. The runtime is
downloaded once; it and the result, a file of JSON, are kept beside the samples, the latter under a name that changes
with the weights and with all code that makes it.
"""

import base64
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
from filelock import FileLock
from pooch.hashes import hash_matches

from blendkit.data.check import require
from blendkit.data.remote import CHECKOUT, data_folder, drafted
from blendkit.deblenders.network import Network
from blendkit.networks.backend import load_keras
from blendkit.networks.weights import FOLDER, H5, shipped

RUNTIME = "onnxruntime-web@1.30.0"  # MIT licence
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
ROOMS = "networks", "deblenders"  # whose code makes the network
INSTALL = "type pip install -e '.[page]' in the checkout"


def main(source: str) -> Path:
    """The file for a network in `shipped`, a ``.weights.h5`` file beside its card, or a folder with one such pair."""
    path = FOLDER / f"{source}{H5}" if source in shipped() else next(Path(source).glob(f"*{H5}"), Path(source))
    require(path.is_file(), f"'{path}' is no file, expected one of {list(shipped())}, or the path of a {H5} file.")
    name, weights = path.name.removesuffix(H5), hashlib.sha256(path.read_bytes())
    code = [Path(__file__), *(f for room in ROOMS for f in sorted((CHECKOUT / "blendkit" / room).glob("*.py")))]
    key = hashlib.sha256(b"".join([weights.digest(), *(file.read_bytes() for file in code)])).hexdigest()
    made = data_folder() / "page" / f"{name}-{key[:12]}.json"
    made.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(made.with_suffix(".lock")):
        if made.is_file():
            return made
        folder = runtime()
        onnx, shape = convert(path)
        pieces = {
            "name": name, "shape": shape, "weights": weights.hexdigest()[:12], "runtime": RUNTIME,
            "script": classic((folder / SCRIPT).read_text("utf-8")),
            "wasm": packed((folder / WASM).read_bytes()), "model": packed(onnx),
        }  # fmt: skip
        with drafted(made.parent) as draft:
            (draft / made.name).write_text(json.dumps(pieces).replace("<", "\\u003c"), "utf-8")
    return made


def classic(module: str) -> str:
    """A module as a script that calls its exports `ort`: on disk, browsers make no worker of a module."""
    body, names = re.search(r"(.*)\bexport *{(.*?)};", module, re.DOTALL).groups()
    ort = re.sub(r"([\w$]+) as (\w+)", r"\2: \1", names)
    return f"{body}const ort = {{{ort}}};".replace("import.meta.url", "self.location.href")


def packed(content: bytes) -> str:
    """Base64 of gzip, which browsers unpack."""
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def runtime() -> Path:
    """The folder with ONNX Runtime Web."""
    folder = data_folder() / RUNTIME.replace("@", "-")
    if all((folder / name).is_file() and hash_matches(folder / name, known) for name, known in SHA256.items()):
        return folder
    npm = shutil.which("npm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    require(npm, f"npm is missing, which downloads {RUNTIME}: {INSTALL}.")
    with TemporaryDirectory() as home, drafted(folder) as draft:
        command = [npm, "pack", RUNTIME, "--fetch-retries=0", "--loglevel=error", f"--pack-destination={home}"]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True)
        why = done.stderr.partition("\n")[0]  # such as: npm error code ENOTFOUND
        require(done.returncode == 0, f"npm cannot download {RUNTIME} ({why}): try again where there is a network.")
        with tarfile.open(next(Path(home).glob("*.tgz"))) as tar:
            for name in SHA256:
                (draft / name).write_bytes(tar.extractfile(f"package/dist/{name}").read())
                require(hash_matches(draft / name, SHA256[name]), f"{name} of {RUNTIME} arrived corrupted: try again.")
    return folder


def convert(path: Path) -> tuple[bytes, list[int]]:
    """A network as ONNX, and the shape of its stamp; pictures come as planes, shares are of each pixel's light."""
    require(find_spec("tf2onnx"), f"tf2onnx is missing, which writes ONNX: {INSTALL}.")
    os.environ |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}  # what tf2onnx reads
    keras = load_keras()
    from blendkit.networks.sky import measure_sky

    ops = keras.ops

    def first(values, axis):  # Keras' own flushes numbers by operations that ONNX lacks
        return ops.top_k(values, 1)[1][..., 0]

    with patch.multiple(ops, argmax=first, array=np.array):  # tensors in memory would become inputs
        network = Network(path, masks=True, images=True)._model
    blend = keras.Input(network.input_shape[1:], name="blend")
    answer = network(blend)
    light = blend - measure_sky(blend[..., 0])[0][:, None, None, None]
    answer["shares"] = ops.where(light == 0, 0.0, answer["images"] / light)
    for name in ("images", "masks", "shares"):
        answer[name] = ops.transpose(answer[name], (0, 3, 1, 2))
    signature = [keras.InputSpec(shape=(1, *blend.shape[1:]), dtype="float32", name="blend")]
    with TemporaryDirectory() as home:
        file = Path(home) / "network.onnx"
        keras.Model(blend, answer).export(file, format="onnx", input_signature=signature, verbose=False)
        return file.read_bytes(), list(blend.shape[1:3])


if __name__ == "__main__":
    print(main(sys.argv[1]))
