"""Verified downloads: a file arrives whole, with the checksum that was promised, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory

CANDELS_RECORD = 2604740
CANDELS_ARCHIVE = "candels-blender-data.tar.gz"
CANDELS_FILES = ("candels_img.npy", "candels_seg.npy", "candels_cat.csv")

TIMEOUT = 30
"""Seconds without a word from the server after which a download is given up."""

# Zenodo throttles the default agent of requests; "identity" keeps a .tar.gz from being decoded on the way.
_HEADERS = {"User-Agent": "blendkit", "Accept-Encoding": "identity"}


class DownloadError(RuntimeError):
    """A download that failed; the message is one sentence: what failed, why, and what to do."""


def data_folder() -> Path:
    """Where downloaded and generated samples are kept.

    Returns
    -------
    Path
        ``$BLENDKIT_DATA`` if set, else the ``data/`` of the checkout that the package runs from, else the
        user's cache folder.
    """
    if named := os.environ.get("BLENDKIT_DATA"):
        return Path(named).expanduser()
    root = Path(__file__).resolve().parents[1]
    if (root / "pyproject.toml").is_file() and (root / "data").is_dir():
        return root / "data"
    import pooch

    return Path(pooch.os_cache("blendkit"))


def fetch(url: str, known_hash: str, path: Path, *, size: int | None = None, cure: str | None = None) -> Path:
    """Download one file, verify it, and only then give it its name.

    Parameters
    ----------
    url : str
        Where the file is.
    known_hash : str
        Its sha256, or ``"md5:..."``, ``"sha1:..."`` and so on.
    path : Path
        Where to put it. A file that is already there with this checksum is used without network; one with
        another checksum is replaced, once the new one has been verified.
    size : int, optional
        Its size in bytes, where known: a short file is then named as such.
    cure : str, optional
        What the error message tells the user to do; by default to try again or to download by hand.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    DownloadError
        If there is no verified file in the end; nothing is then left behind.
    """
    path, known_hash = Path(path), known_hash.lower()
    with _explained(f"cannot download {url}", cure or f"try again later, or download it by hand to {path}"):
        if path.is_file() and _digest(path, known_hash) == known_hash:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as stage:
            part = Path(stage) / path.name
            _stream(url, part)
            _verify(part, known_hash, size)
            os.replace(part, path)
    return path


def fetch_candels(folder: Path | None = None, *, api: str = "https://zenodo.org/api") -> Path:
    """Download and unpack the CANDELS sample of Boucaud et al. 2019 (Zenodo record 2604740).

    Checksum, size and address are those that the record itself gives. The folder appears under its name when
    it is complete, never before; several processes may do this at once.

    Parameters
    ----------
    folder : Path, optional
        Where the three files shall be; ``data_folder() / "candels"`` by default. Used as it is, without
        network, if it holds them; must be absent or empty otherwise.
    api : str
        Address of the Zenodo API.

    Returns
    -------
    Path
        The folder that holds `CANDELS_FILES`.

    Raises
    ------
    DownloadError
        If the folder is not complete in the end; it is then as it was before.
    """
    folder = Path(folder or data_folder() / "candels").resolve()
    if not _missing(folder):
        return folder
    meanwhile = "use load_sample('synthetic') meanwhile"
    page = f"https://doi.org/10.5281/zenodo.{CANDELS_RECORD}"
    by_hand = f"download {CANDELS_ARCHIVE} by hand from {page} and put its three files into {folder}"
    cure = f"try again later, {meanwhile}, or {by_hand}"
    with _explained(f"cannot download the CANDELS sample to {folder}, move it away first", cure):
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"it is not empty and lacks {', '.join(_missing(folder))}")
    record = f"{api}/records/{CANDELS_RECORD}"
    with _explained(f"cannot read the Zenodo record {record}", cure):
        url, checksum, size = _archive_in(_json(record))
    with _explained(f"cannot make {folder}", cure):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _need_space(folder.parent, 3 * size)
        with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as stage:
            archive = fetch(url, checksum, Path(stage) / CANDELS_ARCHIVE, size=size, cure=cure)
            with _explained(f"cannot unpack {CANDELS_ARCHIVE}", f"{meanwhile}, and look for news on {page}"):
                unpacked = _unpack(archive, Path(stage) / "unpacked")
            _settle(unpacked, folder)
    return folder


@contextmanager
def _explained(task: str, cure: str) -> Iterator[None]:
    """Turn what goes wrong inside into a `DownloadError`; one that was already explained passes."""
    try:
        yield
    except (ValueError, OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DownloadError(f"{task}: {_reason(error)}; {cure}.") from None


def _reason(error: Exception) -> str:
    """Why it failed, in a few words."""
    from requests import exceptions as http
    from urllib3.exceptions import ReadTimeoutError

    stalled = any(isinstance(cause, ReadTimeoutError) for cause in error.args)
    if stalled or isinstance(error, http.Timeout):
        return f"the server did not answer within {TIMEOUT} s"
    match error:
        case http.HTTPError(response=response):
            return f"the server answered {response.status_code} {response.reason}"
        case http.ChunkedEncodingError():
            return "the connection broke before the whole file had arrived"
        case http.ConnectionError():
            return f"no connection to the server, is this machine online? ({type(error).__name__})"
        case http.JSONDecodeError():
            return "the answer is not JSON (perhaps the log-in page of a network)"
        case http.RequestException():
            return f"the request failed ({type(error).__name__})"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return "the disk is full, free some space first"
        case tarfile.TarError() | EOFError() | zlib.error():
            return f"it is not a whole gzipped tar archive ({error})"
    return str(error)


def _json(url: str) -> object:
    import requests

    response = requests.get(url, headers=_HEADERS, timeout=TIMEOUT)
    response.raise_for_status()
    return response.json()


def _archive_in(record: object) -> tuple[str, str, int]:
    """Address, checksum (``"md5:..."``) and size in bytes of the archive in a Zenodo record."""
    try:
        files = {entry["key"]: entry for entry in record["files"]}
        if CANDELS_ARCHIVE in files:
            entry = files[CANDELS_ARCHIVE]
            return entry["links"]["self"], entry["checksum"], int(entry["size"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"its layout is not the known one ({type(error).__name__}: {error})") from None
    raise ValueError(f"it does not list {CANDELS_ARCHIVE} but {', '.join(files) or 'nothing'}")


def _stream(url: str, path: Path) -> None:
    """Download with a progress bar in a terminal, and a plain line elsewhere."""
    import pooch
    from tqdm import tqdm

    # pooch takes the length from the server; it ignores a bar whose total is zero.
    with tqdm(total=1, desc=path.name, unit="B", unit_scale=True, disable=None) as bar:
        if bar.disable:
            print(f"Downloading {path.name} from {url}", file=sys.stderr)
        download = pooch.HTTPDownloader(bar, chunk_size=2**20, headers=_HEADERS, timeout=TIMEOUT)
        download(url, str(path), None)


def _digest(path: Path, known_hash: str) -> str:
    """The file's checksum, by the algorithm and in the spelling of `known_hash`."""
    import pooch

    algorithm, colon, _ = known_hash.rpartition(":")
    return algorithm + colon + pooch.file_hash(str(path), alg=algorithm or "sha256")


def _verify(path: Path, known_hash: str, size: int | None) -> None:
    found = path.stat().st_size
    if size is not None and found != size:
        raise ValueError(f"{found} bytes arrived where {size} were expected")
    digest = _digest(path, known_hash)
    if digest != known_hash:
        raise ValueError(f"the file arrived corrupted (checksum {digest}, expected {known_hash})")


def _need_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise ValueError(f"the disk has {free / 1e6:.0f} MB free where {size / 1e6:.0f} MB are needed")


def _unpack(archive: Path, folder: Path) -> Path:
    """Write the three files of the sample, and nothing else, into the new `folder`.

    Only bytes are taken from the archive, neither names nor modes nor links, so that this is safe also on a
    Python whose tarfile has no extraction filters (before 3.11.4; Debian 12 has 3.11.2).
    """
    with tarfile.open(archive, "r:gz") as tar:
        members = _wanted(tar.getmembers())
        folder.mkdir()
        for name, member in members.items():
            with tar.extractfile(member) as source, open(folder / name, "wb") as target:
                shutil.copyfileobj(source, target)
    return folder


def _wanted(members: list[tarfile.TarInfo]) -> dict[str, tarfile.TarInfo]:
    """The members that are the sample's files, by base name; one unsafe member and the archive is refused."""
    wanted: dict[str, tarfile.TarInfo] = {}
    for member in members:
        path = PureWindowsPath(member.name)  # understands both kinds of slashes, and drives
        if path.anchor or ".." in path.parts:
            raise ValueError(f"refused, because its member {member.name!r} points outside the folder")
        if not (member.isfile() or member.isdir()):
            raise ValueError(f"refused, because its member {member.name!r} is a link or a device")
        if member.isfile() and path.name in CANDELS_FILES:
            if path.name in wanted:
                raise ValueError(f"it holds {path.name} twice ({wanted[path.name].name}, {member.name})")
            wanted[path.name] = member
    if absent := [name for name in CANDELS_FILES if name not in wanted]:
        raise ValueError(f"it holds no {', '.join(absent)}")
    return wanted


def _settle(unpacked: Path, folder: Path) -> None:
    """Give the complete folder its name, unless another process was faster."""
    with suppress(OSError):
        folder.rmdir()
    try:
        os.replace(unpacked, folder)
    except OSError:
        if _missing(folder):
            raise


def _missing(folder: Path) -> list[str]:
    return [name for name in CANDELS_FILES if not (folder / name).is_file()]
