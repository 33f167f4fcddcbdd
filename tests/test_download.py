"""The CANDELS download, whole, against a server on this machine that plays the Zenodo record."""

import builtins
import errno
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from blendkit import download
from blendkit.download import CANDELS_ARCHIVE, CANDELS_FILES, DownloadError, data_folder, fetch, fetch_candels

ROOT = Path(__file__).resolve().parents[1]
RECORD = f"/api/records/{download.CANDELS_RECORD}"
CONTENT = f"{RECORD}/files/{CANDELS_ARCHIVE}/content"


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def release():
    """The three files of the release, with four galaxies of noise."""
    rng = np.random.default_rng(0)
    segmaps = np.zeros((4, 128, 128), "u1")
    segmaps[:, 60:69, 60:69] = 1
    rows = [f"{i},150.1,2.2,b'COSMOS    ',21.{i},21.{i},4.5,nan,disk,1" for i in range(4)]
    header = "ID,RA,DEC,FIELD,mag,mag_err,radius,z,galtype,segval"
    return {
        "candels_img.npy": npy(rng.normal(0, 0.006, (4, 128, 128)).astype("f4")),
        "candels_seg.npy": npy(segmaps),
        "candels_cat.csv": "\n".join([header, *rows, ""]).encode(),
    }


def tar_gz(members):
    """An archive of (name, content) pairs; content is bytes; or `TarInfo` attributes, of a link say."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                for key, value in content.items():
                    setattr(info, key, value)
                tar.addfile(info)
    return buffer.getvalue()


class Zenodo(ThreadingHTTPServer):
    """Plays the record; `faults` maps a path to a function that answers in its own, wrong way."""

    daemon_threads = True

    def __init__(self, archive):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.api = f"{self.url}/api"
        self.archive = archive
        self.faults = {}
        self.paths = []
        self.closing = threading.Event()

    def record(self):
        entry = {
            "id": "5f4b1b3e",
            "key": CANDELS_ARCHIVE,
            "size": len(self.archive),
            "checksum": f"md5:{hashlib.md5(self.archive).hexdigest()}",
            "links": {"self": self.url + CONTENT},
        }
        return {"id": download.CANDELS_RECORD, "files": [{**entry, "key": "README.md"}, entry]}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.paths.append(self.path)
        if self.path in server.faults:
            server.faults[self.path](self)
        elif self.path == RECORD:
            self.answer(json.dumps(server.record()).encode())
        elif self.path == CONTENT:
            self.answer(server.archive)
        else:
            self.send_error(404)

    def answer(self, body, length=None):
        self.send_response(200)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def zenodo(release, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Zenodo(tar_gz([("data", {"type": tarfile.DIRTYPE}), *((f"data/{k}", v) for k, v in release.items())]))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "candels"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def litter(tmp_path):
    """Everything under `tmp_path` but the folder made to hold the sample."""
    return [path for path in tmp_path.rglob("*") if path != tmp_path / "data"]


def failure(call, *words):
    """Call, and check that it fails with one sentence that holds all `words`."""
    with pytest.raises(DownloadError) as caught:
        call()
    message = str(caught.value)
    assert message.endswith(".")
    assert not message.endswith("..")
    assert "\n" not in message
    assert ". " not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    for word in words:
        assert word in message
    return message


def candels_failure(zenodo, folder, *words):
    cure = ("; ", "load_sample('synthetic') meanwhile", "https://doi.org/10.5281/zenodo.2604740")
    message = failure(lambda: fetch_candels(folder, api=zenodo.api), *words, *cure)
    assert message.startswith("cannot unpack") or f"put its three files into {folder}." in message
    assert litter(folder.parents[1]) == []


# what works


@pytest.mark.parametrize("prefix", ["data/", "./", "", "a/b/"])
def test_good_archive(zenodo, folder, release, prefix, capsys):
    zenodo.archive = tar_gz([("LICENSE", b"free"), *((prefix + k, v) for k, v in release.items())])
    assert fetch_candels(folder, api=zenodo.api) == folder
    assert contents(folder) == release
    assert litter(folder.parents[1]) == [folder, *(folder / name for name in contents(folder))]
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    assert len(err.splitlines()) == 1


def test_load_sample_downloads_candels_once(zenodo, tmp_path, release, monkeypatch):
    """The whole path: from the record to a `Sample`."""
    import functools

    import blendkit as bk

    monkeypatch.setenv("BLENDKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("blendkit.samples.fetch_candels", functools.partial(fetch_candels, api=zenodo.api))
    sample = bk.load_sample("candels")
    assert (len(sample), sample.name, sample.zeropoint) == (4, "CANDELS", 25.96)
    assert set(sample.catalog["field"]) == {"COSMOS"}
    assert np.isnan(sample.catalog["z"]).all()
    asked = list(zenodo.paths)
    assert len(bk.load_sample("candels", n=2, seed=1)) == 2
    assert zenodo.paths == asked


def test_folder_is_readable_for_the_group(zenodo, folder):
    mask = os.umask(0o022)
    try:
        fetch_candels(folder, api=zenodo.api)
    finally:
        os.umask(mask)
    if os.name == "posix":
        assert folder.stat().st_mode & 0o777 == 0o755
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_second_call_needs_no_network(zenodo, folder, release):
    fetch_candels(folder, api=zenodo.api)
    asked = list(zenodo.paths)
    assert asked == [RECORD, CONTENT]
    assert fetch_candels(folder, api="http://127.0.0.1:1/api") == folder
    assert zenodo.paths == asked
    assert contents(folder) == release


def test_empty_folder_and_link_to_a_folder_are_filled(zenodo, tmp_path, release):
    empty, link = tmp_path / "empty", tmp_path / "link"
    empty.mkdir()
    link.symlink_to(empty, target_is_directory=True)
    assert fetch_candels(link, api=zenodo.api) == empty
    assert link.is_symlink()
    assert contents(link) == release


def test_progress_bar_in_a_terminal(zenodo, folder, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    fetch_candels(folder, api=zenodo.api)
    assert "\r" in sys.stderr.getvalue()
    assert f"{CANDELS_ARCHIVE}: 100%" in sys.stderr.getvalue()


def test_blendkit_data_is_honoured(zenodo, tmp_path, monkeypatch, release):
    monkeypatch.setenv("BLENDKIT_DATA", str(tmp_path / "elsewhere"))
    assert data_folder() == tmp_path / "elsewhere"
    assert fetch_candels(api=zenodo.api) == tmp_path / "elsewhere" / "candels"
    assert contents(tmp_path / "elsewhere" / "candels") == release


def test_data_folder_of_a_checkout_and_of_an_installation(tmp_path, monkeypatch):
    import pooch

    monkeypatch.delenv("BLENDKIT_DATA", raising=False)
    monkeypatch.setattr(download, "__file__", str(tmp_path / "blendkit" / "download.py"))
    (tmp_path / "data").mkdir()
    assert data_folder() == Path(pooch.os_cache("blendkit"))
    (tmp_path / "pyproject.toml").touch()
    assert data_folder() == tmp_path / "data"


def test_import_stays_light():
    code = "import sys, blendkit.download; sys.exit(bool({'pooch', 'requests', 'tqdm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


# several at once


def test_two_downloads_at_once(zenodo, folder, release):
    both = threading.Barrier(2)

    def together(handler):
        both.wait(timeout=5)
        handler.answer(zenodo.archive)

    zenodo.faults[CONTENT] = together
    done = []
    threads = [threading.Thread(target=lambda: done.append(fetch_candels(folder, api=zenodo.api))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert done == [folder, folder]
    assert contents(folder) == release
    assert [path.name for path in folder.parent.iterdir()] == ["candels"]


def test_folder_that_appears_meanwhile_is_used_if_complete(zenodo, folder):
    def overtaken(handler):
        folder.mkdir()
        for name in CANDELS_FILES:
            (folder / name).write_bytes(b"the other's")
        handler.answer(zenodo.archive)

    zenodo.faults[CONTENT] = overtaken
    assert fetch_candels(folder, api=zenodo.api) == folder
    assert set(contents(folder).values()) == {b"the other's"}
    assert list(folder.parent.iterdir()) == [folder]


def test_folder_that_appears_meanwhile_is_kept_if_incomplete(zenodo, folder):
    def overtaken(handler):
        folder.mkdir()
        (folder / "notes.txt").write_bytes(b"mine")
        handler.answer(zenodo.archive)

    zenodo.faults[CONTENT] = overtaken
    failure(lambda: fetch_candels(folder, api=zenodo.api), "not empty")
    assert contents(folder) == {"notes.txt": b"mine"}
    assert list(folder.parent.iterdir()) == [folder]


# what the user has already


@pytest.mark.parametrize("name", ["candels_img.npy", "notes.txt"])
def test_incomplete_folder_is_left_alone(zenodo, folder, name):
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"mine")
    words = (str(folder), "not empty", "lacks", "candels_seg.npy, candels_cat.csv", "move it away")
    failure(lambda: fetch_candels(folder, api=zenodo.api), *words, "load_sample('synthetic')")
    assert contents(folder) == {name: b"mine"}
    assert zenodo.paths == []


def test_file_in_place_of_the_folder(zenodo, folder):
    folder.parent.mkdir()
    folder.write_bytes(b"mine")
    failure(lambda: fetch_candels(folder, api=zenodo.api), "Not a directory", str(folder))
    assert folder.read_bytes() == b"mine"


# the network and the server


def test_no_network(zenodo, folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        zenodo.api = f"http://127.0.0.1:{probe.getsockname()[1]}/api"
    candels_failure(zenodo, folder, zenodo.api, "no connection", "online?")


def test_unknown_host(zenodo, folder, monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    zenodo.api = "http://zenodo.invalid/api"
    candels_failure(zenodo, folder, "zenodo.invalid", "no connection")


@pytest.mark.parametrize("path", [RECORD, CONTENT])
@pytest.mark.parametrize("status", [404, 429, 500])
def test_server_error(zenodo, folder, path, status):
    zenodo.faults[path] = lambda handler: handler.send_error(status)
    candels_failure(zenodo, folder, zenodo.url + path, f"answered {status}", "try again later")


@pytest.mark.parametrize("path", [RECORD, CONTENT])
@pytest.mark.parametrize("start", [b"", b"half of it"])
def test_server_that_falls_silent(zenodo, folder, path, start, monkeypatch):
    def silent(handler):
        if start:
            handler.answer(start, length=1000)
        zenodo.closing.wait(10)

    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    zenodo.faults[path] = silent
    candels_failure(zenodo, folder, zenodo.url + path, "did not answer within 0.2 s")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"<html>Please log in</html>", "not JSON"),
        (b'{"files": []}', f"does not list {CANDELS_ARCHIVE} but nothing"),
        (b'{"files": [{"key": "a.txt"}, {"key": "b.txt"}]}', "but a.txt, b.txt"),
        (b'{"metadata": {}}', "layout"),
        (b"[1, 2]", "layout"),
        (json.dumps({"files": [{"key": CANDELS_ARCHIVE, "size": 3}]}).encode(), "layout"),
    ],
)
def test_record_without_the_file(zenodo, folder, body, word):
    zenodo.faults[RECORD] = lambda handler: handler.answer(body)
    candels_failure(zenodo, folder, zenodo.url + RECORD, word)
    assert zenodo.paths == [RECORD]


# the file


def test_truncated(zenodo, folder):
    half = zenodo.archive[: len(zenodo.archive) // 2]
    zenodo.faults[CONTENT] = lambda handler: handler.answer(half, length=len(zenodo.archive))
    candels_failure(zenodo, folder, "connection broke before the whole file")


def test_short_file(zenodo, folder):
    zenodo.faults[CONTENT] = lambda handler: handler.answer(zenodo.archive[:1000])
    candels_failure(zenodo, folder, f"1000 bytes arrived where {len(zenodo.archive)} were expected")


def test_corrupted(zenodo, folder):
    wrong = bytearray(zenodo.archive)
    wrong[len(wrong) // 2] ^= 1
    zenodo.faults[CONTENT] = lambda handler: handler.answer(bytes(wrong))
    found, expected = hashlib.md5(wrong).hexdigest(), hashlib.md5(zenodo.archive).hexdigest()
    candels_failure(zenodo, folder, "corrupted", f"md5:{found}", f"expected md5:{expected}")


def test_archive_that_is_none(zenodo, folder):
    whole = zenodo.archive
    for archive in (b"<html>not found</html>", b"", whole[:-2000], npy(np.zeros(9))):
        zenodo.archive = archive
        candels_failure(zenodo, folder, CANDELS_ARCHIVE, "not a whole gzipped tar archive")


@pytest.mark.parametrize("absent", CANDELS_FILES)
def test_archive_without_a_file(zenodo, folder, release, absent):
    zenodo.archive = tar_gz([(k, v) for k, v in release.items() if k != absent])
    candels_failure(zenodo, folder, f"holds no {absent}")


def test_archive_with_a_file_twice(zenodo, folder, release):
    zenodo.archive = tar_gz([*release.items(), ("old/candels_cat.csv", b"")])
    candels_failure(zenodo, folder, "holds candels_cat.csv twice", "old/candels_cat.csv")


def hostile(outside):
    """By name: members that a naive extraction would write, or let others write, outside the folder."""
    link = {"type": tarfile.SYMTYPE, "linkname": str(outside)}
    return {
        "parent": [("../evil", b"evil")],
        "deep parent": [("data/../../evil", b"evil")],
        "parent of a wanted name": [("../../candels_img.npy", b"evil")],
        "absolute": [(str(outside / "evil"), b"evil")],
        "windows": [("..\\evil", b"evil")],
        "drive": [("C:\\evil", b"evil")],
        "link": [("data", link), ("data/evil", b"evil")],
        "link by a wanted name": [("x/candels_img.npy", link)],
        "relative link": [("up", {"type": tarfile.SYMTYPE, "linkname": ".."}), ("up/evil", b"evil")],
        "hard link": [("hard", {"type": tarfile.LNKTYPE, "linkname": "../../../etc/passwd"})],
        "device": [("null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})],
        "pipe": [("pipe", {"type": tarfile.FIFOTYPE})],
    }


@pytest.mark.parametrize("kind", list(hostile(Path())))
@pytest.mark.parametrize("first", [True, False])
def test_hostile_archive_is_refused_whole(zenodo, folder, release, kind, first):
    evil = hostile(folder.parents[1])[kind]
    zenodo.archive = tar_gz([*evil, *release.items()] if first else [*release.items(), *evil])
    candels_failure(zenodo, folder, "refused", CANDELS_ARCHIVE)


# the disk, and the user's patience


def failing_writes(monkeypatch, name, error):
    """Let writing to a file called `name` fail after 100 bytes."""
    usual = builtins.open

    class Failing(io.FileIO):
        def write(self, data):
            super().write(data[:100])
            raise error

    def open_(file, mode="r", *args, **kwargs):
        if "w" in mode and os.path.basename(file) == name:
            return Failing(file, "w")
        return usual(file, mode, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", open_)


@pytest.mark.parametrize("name", [CANDELS_ARCHIVE, "candels_img.npy", "candels_cat.csv"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(zenodo, folder, monkeypatch, name, code):
    failing_writes(monkeypatch, name, OSError(code, os.strerror(code)))
    candels_failure(zenodo, folder, CANDELS_ARCHIVE, "the disk is full")


def test_too_little_space_is_seen_beforehand(zenodo, folder, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 0, 12_000_000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    record = zenodo.record()
    record["files"][1]["size"] = 120_000_000
    zenodo.faults[RECORD] = lambda handler: handler.answer(json.dumps(record).encode())
    candels_failure(zenodo, folder, "12 MB free where 360 MB are needed", str(folder.parent))
    assert zenodo.paths == [RECORD]


@pytest.mark.parametrize("name", [CANDELS_ARCHIVE, "candels_img.npy", "candels_cat.csv"])
def test_interrupted(zenodo, folder, release, monkeypatch, name):
    with monkeypatch.context() as patch:
        failing_writes(patch, name, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            fetch_candels(folder, api=zenodo.api)
    assert litter(folder.parents[1]) == []
    assert contents(fetch_candels(folder, api=zenodo.api)) == release


def test_folder_that_cannot_be_made(zenodo, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    failure(lambda: fetch_candels(tmp_path / "file" / "candels", api=zenodo.api), "File exists", "load_sample")
    assert contents(tmp_path) == {"file": b"mine"}


# one file


@pytest.fixture
def weights(zenodo):
    """URL and sha256 of a file on the server."""
    body = b"weights" * 1000
    zenodo.faults["/weights"] = lambda handler: handler.answer(body)
    return f"{zenodo.url}/weights", hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("prefix", ["", "sha256:"])
def test_fetch_one_file(zenodo, tmp_path, weights, prefix):
    url, sha256 = weights
    path = tmp_path / "new" / "weights.bin"
    assert fetch(url, prefix + sha256.upper(), path) == path
    assert path.read_bytes() == b"weights" * 1000
    assert list(path.parent.iterdir()) == [path]
    fetch(url, prefix + sha256, path)
    assert zenodo.paths == ["/weights"]


def test_fetch_replaces_a_file_only_by_a_verified_one(zenodo, tmp_path, weights):
    url, sha256 = weights
    path = tmp_path / "weights.bin"
    path.write_bytes(b"older")
    failure(lambda: fetch(url, "0" * 64, path), url, "corrupted", sha256, f"download it by hand to {path}.")
    assert path.read_bytes() == b"older"
    fetch(url, sha256, path)
    assert path.read_bytes() == b"weights" * 1000
    assert list(tmp_path.iterdir()) == [path]


def test_fetch_names_url_and_cure(zenodo, tmp_path, weights):
    url, sha256 = weights
    path = tmp_path / "weights.bin"
    failure(lambda: fetch(url + "x", sha256, path), url + "x", "answered 404", "try again later", str(path))
    failure(lambda: fetch(url + "x", sha256, path, cure="train your own"), "; train your own.")
    assert list(tmp_path.iterdir()) == []
