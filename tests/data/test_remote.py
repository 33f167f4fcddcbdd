"""The CANDELS download, whole, against a server on this machine that plays the Zenodo record."""

import hashlib
import io
import json
import tarfile
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pooch
import pytest
from conftest import refused

import blendkit as bk
from blendkit.data import remote
from blendkit.data.remote import CANDELS_ARCHIVE, CANDELS_FILES, DownloadError, data_folder, fetch, fetch_candels

RECORD = f"/api/records/{remote.CANDELS_RECORD}"
CONTENT = f"{RECORD}/files/{CANDELS_ARCHIVE}/content"


@pytest.fixture(scope="module")
def release(make_sample, tmp_path_factory):
    """The three files of the release, with four galaxies."""
    folder = make_sample(4).save(tmp_path_factory.mktemp("release"))
    return {name: (folder / name).read_bytes() for name in CANDELS_FILES}


def tar_gz(members):
    """An archive of (name, content) pairs; content is bytes, or the type of a member and what it links to."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            else:
                info.type, info.linkname = content
            tar.addfile(info, io.BytesIO(content) if info.size else None)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers with the record and the archive; `faults` maps a path to a function that answers in its own way."""

    def do_GET(self):
        server = self.server
        server.paths.append(self.path)
        checksum = f"md5:{hashlib.md5(server.archive).hexdigest()}"
        entry = {"key": CANDELS_ARCHIVE, "size": len(server.archive), "checksum": checksum}
        record = {"files": [{"key": "README.md"}, entry | {"links": {"self": server.url + CONTENT}}]}
        usual = {RECORD: json.dumps(record).encode(), CONTENT: server.archive}
        server.faults.get(self.path, answer(usual.get(self.path)))(self)

    def log_message(self, *args):
        pass


def answer(body, length=None, silent=False):
    """A function that answers so, or not, and goes away or keeps silent then."""

    def act(handler):
        if body is not None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(length or len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        handler.server.closing.wait(10 * silent)

    return act


FAULTS = [
    *((path, lambda handler: handler.send_error(429), "answered 429") for path in (RECORD, CONTENT)),
    *((path, answer(None, silent=True), "not answer within 0.2 s") for path in (RECORD, CONTENT)),
    (CONTENT, answer(b"half of it", 1000, silent=True), "not answer within 0.2 s"),
    *((RECORD, answer(body), CANDELS_ARCHIVE) for body in (b"<html>Log in</html>", b'{"files": []}', b"[1, 2]")),
    (RECORD, answer(json.dumps({"files": [{"key": CANDELS_ARCHIVE}]}).encode()), CANDELS_ARCHIVE),
    (CONTENT, answer(b"half of it", 5000), "broke before the whole file"),
    (CONTENT, answer(b"half of it"), "corrupted"),
]


@pytest.fixture
def zenodo(release, tmp_path, monkeypatch):
    for name, value in {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "BLENDKIT_DATA": tmp_path / "data"}.items():
        monkeypatch.setenv(name, str(value))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.url = True, f"http://127.0.0.1:{server.server_port}"
    server.faults, server.paths, server.closing = {}, [], threading.Event()
    server.archive = tar_gz([("data", (tarfile.DIRTYPE, "")), *release.items()])
    monkeypatch.setattr(remote, "ZENODO", f"{server.url}/api")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


folder = pytest.fixture(lambda tmp_path: tmp_path / "data" / "candels")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def failure(call, *words):
    """A call fails with a single sentence that holds all `words`."""
    assert ". " not in refused(call, *words, error=DownloadError)


def candels_failure(folder, *words):
    """The download fails with a cure, and nothing is left behind but an empty folder."""
    failure(fetch_candels, *words, "try again later", "load_sample('synthetic')", "doi.org/10.5281/zenodo.2604740")
    assert [path for path in folder.parents[1].rglob("*") if path not in (folder, folder.parent)] == []


class TestDownload:
    @pytest.mark.parametrize("prefix", ["data/", "./", "", "a/b/"])
    def test_good_archive(self, zenodo, folder, release, prefix, capsys):
        """The whole path: from the record to a `Sample`."""
        zenodo.archive = tar_gz([("LICENSE", b"free"), *((prefix + k, v) for k, v in release.items())])
        folder.mkdir(parents=True)  # an empty folder is filled
        sample = bk.load_sample("candels")
        out, err = capsys.readouterr()
        assert (err, out.count("\n"), out.count("\r")) == ("", 1, 0)
        assert (len(sample), sample.name, contents(folder)) == (4, "CANDELS", release)
        assert list(folder.parent.iterdir()) == [folder]
        (folder / "as usual").touch()
        assert len({path.stat().st_mode for path in folder.iterdir()}) == 1, "readable for those who may read others"
        assert fetch_candels() == folder
        assert zenodo.paths == [RECORD, CONTENT], "the second call needs no network"

    def test_data_folder_of_a_checkout_and_of_an_installation(self, tmp_path, monkeypatch):
        monkeypatch.delenv("BLENDKIT_DATA", raising=False)
        monkeypatch.setattr(remote, "CHECKOUT", tmp_path)
        (tmp_path / "data").mkdir()
        assert str(data_folder()) == str(pooch.os_cache("blendkit"))
        (tmp_path / "pyproject.toml").touch()
        assert data_folder() == tmp_path / "data"

    def test_two_downloads_at_once(self, zenodo, folder, release):
        both = threading.Barrier(2)
        zenodo.faults[CONTENT] = lambda handler: (both.wait(timeout=5), answer(zenodo.archive)(handler))
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(lambda _: fetch_candels(), range(2))) == [folder, folder]
        assert (contents(folder), list(folder.parent.iterdir())) == (release, [folder])

    def test_what_the_user_has_already_is_left_alone(self, zenodo, folder):
        folder.parent.write_bytes(b"mine")
        failure(fetch_candels, "load_sample('synthetic')")
        assert folder.parent.read_bytes() == b"mine"
        folder.parent.unlink()
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_bytes(b"mine")
        failure(fetch_candels, str(folder), "not empty", "candels_seg.npy, candels_cat.csv", "move it away")
        assert contents(folder) == {"notes.txt": b"mine"}

    @pytest.mark.parametrize(("path", "fault", "word"), FAULTS)
    def test_what_a_server_does(self, zenodo, folder, monkeypatch, path, fault, word):
        monkeypatch.setattr(remote, "TIMEOUT", 0.2)
        zenodo.faults[path] = fault
        candels_failure(folder, zenodo.url, word)
        zenodo.shutdown()
        zenodo.server_close()
        candels_failure(folder, zenodo.url, "no connection", "online?")

    def test_archive_that_is_none(self, zenodo, folder, release):
        some = [(k, v) for k, v in release.items() if k != "candels_seg.npy"]
        twice = [*release.items(), ("old/candels_cat.csv", b"")]
        for archive in (b"<html>not found</html>", zenodo.archive[:-2000], tar_gz(some), tar_gz(twice)):
            zenodo.archive = archive
            candels_failure(folder, CANDELS_ARCHIVE)

    def test_nothing_is_written_outside_the_folder(self, zenodo, tmp_path, folder, release):
        """Members that a naive extraction would write, or let others write, elsewhere."""
        link = (tarfile.SYMTYPE, str(tmp_path))
        names = ("../evil", "data/../../evil", str(tmp_path / "evil"), "..\\evil", "C:\\evil", "data/evil")
        hostile = [("data", link), *((name, b"evil") for name in names), ("x/candels_img.npy", link)]
        hostile += [("candels_cat.csv", (tarfile.LNKTYPE, "../../../etc/passwd"))]
        hostile += [("candels_seg.npy", (tarfile.CHRTYPE, ""))]
        zenodo.archive = tar_gz([*hostile, *release.items(), *hostile])
        assert contents(fetch_candels()) == release
        assert set(tmp_path.rglob("*")) == {folder.parent, folder, *folder.iterdir()}

    def test_too_little_space_is_seen_beforehand(self, zenodo, folder, monkeypatch):
        usage = namedtuple("usage", "total used free")(10**9, 0, 20)
        monkeypatch.setattr(remote.shutil, "disk_usage", lambda path: usage)
        candels_failure(folder, "MB are free", str(folder))

    def test_fetch_one_file(self, zenodo, tmp_path):
        body = b"weights" * 1000
        zenodo.faults["/weights"] = answer(body)
        zenodo.faults["/weightsx"] = lambda handler: handler.send_error(404)
        url, sha256, path = f"{zenodo.url}/weights", hashlib.sha256(body).hexdigest(), tmp_path / "new" / "weights.bin"
        assert fetch(url, "sha256:" + sha256.upper(), path) == path
        fetch(url, sha256, path)
        assert zenodo.paths == ["/weights"], "the second call needs no network"
        path.write_bytes(b"older")
        failure(partial(fetch, url, "0" * 64, path), url, "corrupted", f"download it by hand to {path}.")
        failure(partial(fetch, url + "x", sha256, path, "try another"), url + "x", "answered 404", "; try another.")
        assert contents(path.parent) == {"weights.bin": b"older"}, "replaced only by a verified one"
        fetch(url, sha256, path)
        assert contents(path.parent) == {"weights.bin": body}
