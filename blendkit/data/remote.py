"""Verified downloads: a file arrives whole, with the checksum that was promised, or not at all."""

import errno
import os
import shutil
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pooch
import requests
from pooch.hashes import hash_matches

from .check import require

CHECKOUT = Path(__file__).resolve().parents[2]
CANDELS_RECORD = 2604740
CANDELS_ARCHIVE = "candels-blender-data.tar.gz"
CANDELS_FILES = ("candels_img.npy", "candels_seg.npy", "candels_cat.csv")
ZENODO = "https://zenodo.org/api"
TIMEOUT = 30  # seconds without a word from the server after which a download is given up

# Zenodo throttles the default agent of requests; "identity" keeps a .tar.gz from being decoded on the way.
_ASK = {"headers": {"User-Agent": "blendkit", "Accept-Encoding": "identity"}}


class DownloadError(RuntimeError):
    """A download that failed; the message is one sentence: what failed, why, and what to do."""


def data_folder() -> Path:
    """Where samples are kept: ``$BLENDKIT_DATA``, else ``data/`` of the checkout, else the user's cache folder."""
    if named := os.environ.get("BLENDKIT_DATA"):
        return Path(named).expanduser()
    if (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "data").is_dir():
        return CHECKOUT / "data"
    return Path(pooch.os_cache("blendkit"))


def fetch(url: str, known_hash: str, path: Path, cure: str | None = None) -> Path:
    """Download a file, unless it is there, and give it its name once its sha256 (or ``"md5:..."``) is verified."""
    with _explained(f"cannot download {url}", cure or f"try again later, or download it by hand to {path}"):
        if path.is_file() and hash_matches(path, known_hash):
            return path
        with drafted(path.parent) as draft:
            watched = sys.stderr.isatty()
            if not watched:
                print(f"Downloading {path.name} from {url}")  # on stderr a notebook would show it in red
            part = str(draft / path.name)
            pooch.HTTPDownloader(watched, chunk_size=2**20, timeout=TIMEOUT, **_ASK)(url, part, None)
            require(hash_matches(part, known_hash), f"the file arrived corrupted (its checksum is not {known_hash})")
    return path


def fetch_candels() -> Path:
    """The folder with the paper's CANDELS sample, downloaded on first use; it is filled whole, or not at all."""
    folder = (data_folder() / "candels").resolve()
    if not missing(folder):
        return folder
    page = f"https://doi.org/10.5281/zenodo.{CANDELS_RECORD}"
    by_hand = f"download {CANDELS_ARCHIVE} by hand from {page} and put its three files into {folder}"
    cure = f"try again later, use load_sample('synthetic') meanwhile, or {by_hand}"
    with _explained(f"cannot get {CANDELS_ARCHIVE} from {ZENODO} into {folder}", cure):
        occupied = any(folder.glob("[!.]*"))  # but for what another process writes
        require(not occupied, f"this is not empty and lacks {', '.join(missing(folder))}, move it away first")
        response = requests.get(f"{ZENODO}/records/{CANDELS_RECORD}", timeout=TIMEOUT, **_ASK)
        response.raise_for_status()
        try:
            (entry,) = (entry for entry in response.json()["files"] if entry["key"] == CANDELS_ARCHIVE)
            url, checksum, size = entry["links"]["self"], entry["checksum"], int(entry["size"])
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"the answer does not list {CANDELS_ARCHIVE}") from None
        with drafted(folder, 3 * size) as draft:
            archive = fetch(url, checksum, draft / CANDELS_ARCHIVE, cure)
            with tarfile.open(archive, "r:gz") as tar:  # bytes alone: before 3.11.4 it has no filters
                for name in CANDELS_FILES:
                    found = [m for m in tar.getmembers() if m.isfile() and PurePosixPath(m.name).name == name]
                    require(len(found) == 1, f"the archive holds {name} {len(found)} times")
                    with tar.extractfile(found[0]) as source, open(draft / name, "wb") as target:
                        shutil.copyfileobj(source, target)
            archive.unlink()
    return folder


@contextmanager
def drafted(folder: Path, size: int = 0) -> Iterator[Path]:
    """A folder to write `size` bytes of files to; they move into `folder` once all are complete and on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    what = f"{size / 1e6:.0f} MB"
    try:
        if size > shutil.disk_usage(folder).free:
            raise OSError(errno.ENOSPC, "")
        with TemporaryDirectory(prefix=".writing-", dir=folder) as draft:
            try:
                yield Path(draft)
            finally:
                files = sorted(Path(draft).iterdir(), reverse=True)  # weights before their card
                what = ", ".join(file.name for file in files)
            for file in files:
                with file.open("rb+") as written:
                    os.fsync(written.fileno())
            for file in files:
                os.replace(file, folder / file.name)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and "requested and" not in str(error):  # as NumPy says it
            raise
        free = f"{shutil.disk_usage(folder).free / 1e6:.1f} MB are free"
        told = f"the disk is full: cannot write {what} to '{folder}', where {free}; make room or choose another folder"
        raise OSError(errno.ENOSPC, told) from None


def missing(folder: Path) -> list[str]:
    """The files of a sample that a folder lacks."""
    return [name for name in CANDELS_FILES if not (folder / name).is_file()]


@contextmanager
def _explained(task: str, cure: str) -> Iterator[None]:
    """Turn what goes wrong inside into a `DownloadError`; one that was already explained passes."""
    try:
        yield
    except (ValueError, OSError, EOFError, tarfile.TarError, zlib.error) as error:
        match error:
            case requests.Timeout() | requests.ConnectionError() if "timed out" in str(error):
                why = f"the server did not answer within {TIMEOUT} s"
            case requests.HTTPError(response=response):
                why = f"the server answered {response.status_code} {response.reason}"
            case requests.exceptions.ChunkedEncodingError():
                why = "the connection broke before the whole file had arrived"
            case requests.RequestException():
                why = f"no connection to the server, is this machine online? ({type(error).__name__})"
            case tarfile.TarError() | EOFError() | zlib.error():
                why = f"what arrived is not a whole gzipped tar archive ({error})"
            case _:
                why = getattr(error, "strerror", None) or str(error)
        raise DownloadError(f"{task}: {why}; {cure}.") from None
