"""The class's scoreboard: fifty students at once, a machine that dies, and those who mean no good."""

import json
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import local
from types import SimpleNamespace

import pytest
from astropy.table import Table
from conftest import in_python, module, only_row, refused

import blendkit as bk
from blendkit.lessons import scoreboard

SMALL = "from blendkit.lessons import scoreboard as s; s.GALAXIES, s.BLENDS = 24, 60\n"
SERVE = SMALL + "import sys; from tools import scoreboard as t; t.READING = t.Handler.timeout = 5; t.main(sys.argv[1:])"
POST = "POST /submit HTTP/1.1\r\nContent-Type: application/json\r\n"
ME = local()  # each student has a secret of their own


class Served:
    """A scoreboard in a folder, on one port, also when it starts again."""

    port = 0

    def start(self, folder):
        command = [sys.executable, "-c", SERVE, f"--port={self.port}", f"--out={folder}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.address = next(line for line in self.process.stdout if "BLENDKIT_CLASS" in line).strip().split("=")[1]
        self.port = int(self.address.rpartition(":")[2])

    def ask(self, head, body=b""):
        """The status of the answer to any request, 0 if there is none, and what it says."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as end:
            end.sendall(f"{head}\r\n\r\n".encode() + body)
            status, _, said = end.makefile("rb").read().partition(b"\r\n\r\n")
        return int((status.split() or [0, 0])[1]), said.decode()

    def post(self, sent):
        body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        return self.ask(f"{POST}Content-Length: {len(body)}", body)

    def board(self):
        return json.loads(self.ask("GET /board.json HTTP/1.1")[1])


@module
def served(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoreboard, "_token", lambda: ME.token)
        server = Served()
        server.start(tmp_path_factory.getbasetemp() / "class")
        yield server
        server.process.kill()


def hand_in(to, name, scale=1.0, token=None):
    """Half of the light for each galaxy, `scale` times too bright; the scoreboard then."""
    ME.token = token or scoreboard.digest(name)
    light = bk.lessons.class_images(to).sum(axis=(1, 2))[:, None] * [scale / 2, scale / 2]
    return bk.submit(name, {"flux": light, "flux_err": light / 10}, to=to)


def sent(**other):
    return {"name": "Eve", "token": "e" * 32, "method": "mine", "flux": [[10.0, 5.0]] * 60} | other


def test_fifty_at_once_each_have_their_row_and_nobody_anothers(served):
    scales, to = {f"student {k}": 1 + k / 100 for k in range(50)}, served.address
    with ThreadPoolExecutor(50) as pool:
        boards = list(pool.map(lambda item: hand_in(to, *item), scales.items()))
    assert all(name in board["name"] for name, board in zip(scales, boards, strict=True))
    rows = served.board()["rows"]
    assert sorted(row["name"] for row in rows) == sorted(scales)
    assert [row["error"] for row in rows] == sorted(row["error"] for row in rows)
    assert not re.search(r"token|owner|flux|[0-9a-f]{32}", json.dumps(rows))
    refused(lambda: hand_in(to, "STUDENT 7", 0.5, token="0" * 32), "belongs to somebody")
    tries = [only_row(hand_in(to, "student 7", scale), name="student 7")["tries"] for scale in (1.07, 1.07, 0.5)]
    assert tries == ["1", "1", "2"]  # the same again is no try
    game = SimpleNamespace(tally=Table({"you": [0.2, 0.4], "SEP": [0.5, 0.7]}))
    for _ in range(2):
        assert "own machine" in bk.submit("student 7", game, to=to)["seconds"].description
    assert served.board()["guesses"] == [["SEP", 2, pytest.approx(0.3), pytest.approx(0.6)]]
    assert "2 rounds: the class 0.30 mag off, SEP 0.60" in served.ask("GET / HTTP/1.1")[1]


def test_a_machine_that_dies_loses_no_row_and_doubles_none(served, tmp_path_factory):
    done, names = [], [f"late {k}" for k in range(20)]

    def insist(name):
        while name not in done:
            try:
                hand_in(served.address, name)
                done.append(name)
            except ConnectionError:
                time.sleep(0.2)

    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(insist, name) for name in names]
        while not done:
            time.sleep(0.01)
        served.process.kill()
        acknowledged = list(done)
        served.start(tmp_path_factory.getbasetemp() / "class")
        assert set(acknowledged) <= {row["name"] for row in served.board()["rows"]}
        assert [future.result() for future in waiting] == [None] * 20
    late = {row["name"]: row["tries"] for row in served.board()["rows"] if row["name"] in names}
    assert late == dict.fromkeys(names, 1)


@pytest.mark.parametrize(("words", "bodies"), {
    "60 pairs": [sent(flux=flux) for flux in ([[1, 2]] * 59, [[1, 2, 3]] * 60, [["1", "2"]] * 60, "Infinity", None)],
    "positive": [sent(flux=[[value] * 2] * 60) for value in (float("nan"), -1, None)],
    "huge": [sent(flux=[[value, 1]] * 60) for value in (float("inf"), 10**400)],
    "cannot be shown": [sent(name=n) for n in ("<b>x</b>", "../../x", "a\x00b", "\u202eana", "x" * 10_000, "", None)],
    "rounds": [sent(rounds=rounds) for rounds in ([{"you": -1}], [{"you": 0.1}] * 1000, {}, [7])],
    "": [sent(method="<img src=x>"), sent(token="../x"), sent(flux_err=[1]), b"[" * 100_000, b"\x80\x04K\x01.", b"[]"],
}.items())  # fmt: skip
def test_what_is_broken_or_hostile_is_refused_in_a_sentence(served, words, bodies):
    before = served.board()
    for status, said in map(served.post, bodies):
        assert status == 422
        assert re.fullmatch(rf"[^\n]{{0,150}}{words}[^\n]{{0,150}}\.", json.loads(said)["error"])
    assert served.board() == before


@pytest.mark.parametrize(("status", "heads"), {
    0: [f"{POST}Content-Length: 90"],  # and nothing more: it is cut off
    200: ["GET / HTTP/1.1"],
    400: ["\x16\x03\x01 nonsense"],
    404: ["GET /../scoreboard.sqlite HTTP/1.1", "GET /%2e%2e/etc/passwd HTTP/1.1", "POST / HTTP/1.1"],
    405: ["DELETE / HTTP/1.1", "OPTIONS / HTTP/1.1", "BREW / HTTP/1.1"],
    411: [f"{POST}Transfer-Encoding: chunked", f"{POST}Content-Length: -1"],
    413: [f"{POST}Content-Length: {10**12}"],
    414: [f"GET /{'a' * 65_600} HTTP/1.1"],
    415: [POST.replace("json", "x-pickle") + "Content-Length: 2", f"{POST}Content-Length: 2\r\nContent-Encoding: gzip"],
}.items())  # fmt: skip
def test_a_request_that_no_browser_sends_has_an_answer(served, status, heads):
    assert [served.ask(head)[0] for head in heads] == [status] * len(heads)


def test_a_flood_is_slowed_down_and_everybody_else_goes_on(served):
    with ThreadPoolExecutor(20) as pool:
        told = list(pool.map(served.post, [sent(flux=[[10.0, 1.0 + k]] * 60) for k in range(60)]))
    assert {status for status, _ in told} == {200, 429}
    assert "calm" in hand_in(served.address, "calm")["name"]


def test_a_folder_bears_many_at_once(tmp_path):
    done = in_python(f"""{SMALL}
import multiprocessing, numpy, os
def one(k, light=10):
    os.makedirs(home := f"{tmp_path}/home-{{k}}", exist_ok=True)
    os.environ["HOME"] = home
    return len(s.submit(f"student {{k % 20}}", {{"flux": numpy.full((60, 2), light)}}, to="{tmp_path}/class"))
s.class_set()
with multiprocessing.get_context("fork").Pool(20) as pool:
    assert max(pool.map(one, [*range(20)] * 2, chunksize=1)) == 20
one(23)""")
    assert "belongs to somebody" in done.stderr
    assert len(list((tmp_path / "class").glob("try-*.json"))) == 20
    assert (tmp_path / "home-3/.blendkit-class").stat().st_mode & 0o77 == 0
