"""The class's scoreboard, served by the tutor's machine: ``python -m tools.scoreboard --host 0.0.0.0``.

Students call ``bk.submit``: they get images and send fluxes back; the truth stays here. All is kept in one SQLite file
in ``--out``: whenever this stops, started again it goes on. ``--remove NAME`` takes somebody off the board.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import re
import secrets
import socket
import sqlite3
import sys
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from blendkit.data.check import require
from blendkit.data.simulate import MAX_SEED
from blendkit.lessons.scoreboard import SOFT, STEPS, class_set, digest, judged, ranked, whose, word
from blendkit.widgets.answers import MISSED
from tools.scoreboard_page import CSS, page

BODY, BRIGHTEST, ROUNDS, RIVALS = 2**17, 1e7, 300, 8  # bytes, e-/s, rounds at once, methods in a round: at most
TRIES, NAMES, EACH = 5000, 1000, 200  # on the scoreboard, and for each name, at most
OPEN, SAME = 256, 100  # connections at once, and from one address
READING, SENDING = 20, 300  # seconds that a request and an answer may take
# at once, and more per second: submissions of an address, tries that it adds, new names from it; submissions of a name
RATES = {"address": (200, 4.0), "tries": (2000, 0.1), "newcomers": (150, 0.2), "name": (12, 0.2)}
ADDRESS = "http://{}:{}"


class Refused(Exception):
    """A status of HTTP and one sentence."""


class Buckets:
    """Who calls too often: each has so many calls at once, and so many more per second."""

    def __init__(self, burst, rate):
        self.burst, self.rate, self.left, self.lock = burst, rate, {}, threading.Lock()

    def take(self, who):
        now = time.monotonic()
        with self.lock:
            if len(self.left) > 10_000:  # whose buckets are full again
                self.left = {k: v for k, v in self.left.items() if v[0] + (now - v[1]) * self.rate < self.burst}
            left, since = self.left.get(who, (self.burst, now))
            left = min(self.burst, left + (now - since) * self.rate)
            self.left[who] = (left - (left >= 1), now)
        if left < 1:
            raise Refused(429, "too many submissions at once: wait a little, then try again.")


class Store:
    """Names and tries in a folder's SQLite file; what was kept once stays, whenever the machine stops."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "scoreboard.sqlite"
        self.db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self.lock, self.version, self.shown = threading.RLock(), None, None
        self.db.executescript("""
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = FULL;
            CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, owner TEXT NOT NULL);
            CREATE TABLE IF NOT EXISTS tries (key TEXT PRIMARY KEY, name TEXT NOT NULL, record TEXT NOT NULL);
            CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value);""")
        self.db.execute("INSERT OR IGNORE INTO settings VALUES ('seed', ?)", (secrets.randbelow(MAX_SEED),))

    def one(self, query, *values):
        return (self.db.execute(query, values).fetchone() or [None])[0]

    @property
    def seed(self):
        """Of the class's blends: drawn for each scoreboard, so that no student can make them and their truth."""
        return self.one("SELECT value FROM settings WHERE name = 'seed'")

    @contextmanager
    def writing(self):
        with self.lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                self.db.execute("ROLLBACK")
                raise

    def owner(self, name):
        with self.lock:
            return self.one("SELECT owner FROM names WHERE name = ?", name.casefold())

    def keep(self, key, owner, record):
        """Keep a record, unless it is there; the one that is."""
        name = record["name"].casefold()
        with self.writing():
            if (kept := self.one("SELECT record FROM tries WHERE key = ?", key)) is not None:
                return json.loads(kept)
            self.db.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (name, owner))
            with refusing(403):
                whose(record["name"], self.owner(name), owner)
            full = self.one("SELECT count(*) FROM tries") >= TRIES or self.one("SELECT count(*) FROM names") > NAMES
            full = full or self.one("SELECT count(*) FROM tries WHERE name = ?", name) >= EACH
            if full:
                raise Refused(507, "the scoreboard is full: ask the tutor to start another one.")
            self.db.execute("INSERT INTO tries VALUES (?, ?, ?)", (key, name, json.dumps(record)))
        return record

    def board(self):
        """What is shown of all that is kept."""
        with self.lock:
            version = self.one("PRAGMA data_version"), self.db.total_changes
            if version != self.version:
                self.shown = ranked(json.loads(text) for (text,) in self.db.execute("SELECT record FROM tries"))
                self.version = version
            return self.shown

    def remove(self, name):
        name = word(name, "the name").casefold()
        with self.writing():
            self.db.execute("DELETE FROM names WHERE name = ?", (name,))
            return self.db.execute("DELETE FROM tries WHERE name = ?", (name,)).rowcount


@contextmanager
def refusing(status):
    """A check that fails is told to whom it concerns."""
    try:
        yield
    except ValueError as error:
        raise Refused(status, str(error)) from None


def numbers(values, n, what):
    """Two numbers for each blend, in e-/s; None and NaN where nothing was found."""
    told = f"{what} is no list of {n} pairs of numbers: send e-/s, central galaxy first, NaN where nothing was found."
    good = isinstance(values, list) and len(values) == n
    good = good and all(isinstance(pair, list) and len(pair) == 2 for pair in values)
    good = good and all(type(value) in (int, float, type(None)) for pair in values for value in pair)
    require(good, told)
    pairs = np.array([[np.nan if v is None else min(max(v, -1e300), 1e300) for v in pair] for pair in values], float)
    require(not (np.abs(pairs) > BRIGHTEST).any(), f"{what} has infinite or huge numbers, expected e-/s below 10⁷.")
    return pairs.tolist()


def understood(body, n):
    """A submission as `judged` takes it, from bytes of anybody's."""
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        sent = None
    require(isinstance(sent, dict), "this is no JSON object: hand your method in with bk.submit.")
    given = {"name": word(sent.get("name"), "the name"), "token": sent.get("token")}
    good = isinstance(given["token"], str) and re.fullmatch("[0-9a-f]{32}", given["token"])
    require(good, "the submission has no token: hand your method in with bk.submit.")
    if "rounds" in sent:
        rounds = sent["rounds"]
        good = isinstance(rounds, list) and 0 < len(rounds) <= ROUNDS
        good = good and all(isinstance(r, dict) and "you" in r and len(r) <= RIVALS for r in rounds)
        good = good and all(type(v) in (int, float) and 0 <= v <= MISSED for r in rounds for v in r.values())
        require(good, f"the rounds are no explorer's, expected 1 to {ROUNDS}: use bk.submit(name, explorer).")
        return given | {"rounds": [{word(k, "a method's name"): round(v, 6) for k, v in r.items()} for r in rounds]}
    given["method"], seconds = word(sent.get("method"), "the method's name"), sent.get("seconds")
    given["seconds"] = float(seconds) if type(seconds) in (int, float) and 0 <= seconds < 1e6 else None
    given["flux"] = numbers(sent.get("flux"), n, "flux")
    return given | ({"flux_err": numbers(sent["flux_err"], n, "flux_err")} if "flux_err" in sent else {})


class Handler(BaseHTTPRequestHandler):
    """One request, one answer."""

    server_version, sys_version, default_request_version, timeout = "blendkit", "", "HTTP/1.0", READING

    def do_GET(self):
        board, path = self.server.board, self.path.partition("?")[0]
        if path == "/":
            self.answer(200, board.page(self.server.store.board()), "text/html; charset=utf-8")
        elif path == "/board.json":
            self.answer(200, json.dumps({"images": board.name} | self.server.store.board()))
        elif path == f"/images-{board.name}":
            self.answer(200, board.images, "application/octet-stream", "max-age=86400")
        elif path == "/style.css":
            self.answer(200, CSS, "text/css; charset=utf-8")
        else:
            self.send_error(404, "there is nothing here: the scoreboard is at /.")

    def do_POST(self):
        try:
            yours = self.submission()
        except Refused as error:
            self.send_error(*error.args)
        else:
            self.answer(200, json.dumps(self.server.store.board() | {"yours": yours}))

    def submission(self):
        """What was handed in, judged and kept."""
        server, here = self.server, self.client_address[0]
        if self.path != "/submit":
            raise Refused(404, "nothing is handed in here: use bk.submit.")
        server.rates["address"].take(here)
        with refusing(422):
            sent = understood(self.body(), len(server.board.blends))
        owner = server.store.owner(sent["name"])
        with refusing(403):
            whose(sent["name"], owner or digest(sent["token"]), digest(sent["token"]))
        server.rates["newcomers" if owner is None else "name"].take(here if owner is None else sent["name"].casefold())
        server.rates["tries"].take(here)
        with refusing(422), server.judging:
            kept = judged(sent, server.board.blends)
        return server.store.keep(*kept)

    def body(self):
        length, kind = self.headers.get("Content-Length", ""), self.headers.get("Content-Type", "")
        if self.headers.get("Transfer-Encoding") or not re.fullmatch("[0-9]{1,18}", length):
            raise Refused(411, "a submission says its length (Content-Length) and comes in one piece.")
        if int(length) > BODY:
            raise Refused(413, f"a submission has at most {BODY:,} bytes.")
        if kind.partition(";")[0].strip().lower() != "application/json" or self.headers.get("Content-Encoding"):
            raise Refused(415, "a submission is plain JSON (application/json), not packed.")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refused(400, "the submission ended before it was complete: send it again.")
        return body

    def answer(self, status, content, kind="application/json", keep="no-store"):
        self.server.until(self.request, SENDING)
        content = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        for name, value in {
            "Content-Type": kind, "Content-Length": len(content), "Cache-Control": keep, "Connection": "close",
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
            "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'",
        }.items():  # fmt: skip
            self.send_header(name, str(value))
        if status in (429, 503):
            self.send_header("Retry-After", "2")
        if status == 405:
            self.send_header("Allow", "GET, POST")
        self.end_headers()
        for start in range(0, len(content), 2**16):  # each piece has a timeout of its own
            self.wfile.write(content[start : start + 2**16])

    def send_error(self, code, message=None, explain=None):
        """Refuse in one sentence, also what the standard library refuses."""
        self.close_connection = True
        if code == 501:
            code, message = 405, "the scoreboard knows GET and POST only."
        with suppress(OSError):
            self.answer(code, json.dumps({"error": message or explain or "this is no request of HTTP."}))

    def log_message(self, *_):
        """Say nothing: the page shows what comes."""

    def handle(self):
        with suppress(OSError):  # who goes away is not waited for
            try:
                super().handle()
            except Exception as error:
                print(f"a request could not be answered: {type(error).__name__}", file=sys.stderr)
                self.send_error(500, "the scoreboard could not answer this: tell the tutor.")


class Server(ThreadingHTTPServer):
    """Many students at once, none of whom can keep the others waiting."""

    request_queue_size, daemon_threads = 256, True

    def __init__(self, address, store):
        self.store, self.board, self.judging, self.open = store, None, threading.Lock(), {}
        self.rates = {name: Buckets(*rate) for name, rate in RATES.items()}
        super().__init__(address, Handler)

    def verify_request(self, request, client_address):
        same = sum(address == client_address[0] for address, _ in list(self.open.values()))
        if good := len(self.open) < OPEN and same < SAME:
            self.open[request] = client_address[0], time.monotonic() + READING
        else:
            with suppress(OSError):
                request.settimeout(0.1)
                request.sendall(b"HTTP/1.0 503 Busy\r\nRetry-After: 1\r\nContent-Type: application/json\r\n\r\n"
                                b'{"error": "the scoreboard is busy: try again in a moment."}')  # fmt: skip
        return good

    def until(self, request, seconds):
        if request in self.open:
            self.open[request] = self.open[request][0], time.monotonic() + seconds

    def shutdown_request(self, request):
        self.open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self):
        """Cut off who is too slow."""
        for request, (_, end) in list(self.open.items()):
            if time.monotonic() > end:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)


class Board:
    """The class's blends, as bytes for everybody, and their recipes, which stay."""

    def __init__(self, seed, address):
        images, self.blends = class_set(seed)
        self.images = zlib.compress(np.round(STEPS * np.arcsinh(images / SOFT)).astype("<i2").tobytes())
        self.name, self.address = hashlib.sha256(self.images).hexdigest()[:32], address
        self.drawn = None, ""
        class_set.cache_clear()

    def page(self, shown):
        """The page, drawn anew only when the scoreboard is another one."""
        if self.drawn[0] is not shown:
            self.drawn = shown, page(shown, self.address)
        return self.drawn[1]


def my_address():
    """This machine's address on its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]
    return "127.0.0.1"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="tools.scoreboard", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets the whole network in; default: this machine")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--out", type=Path, default=Path("results/scoreboard"), help="where all is kept")
    parser.add_argument("--remove", metavar="NAME", help="take somebody's tries off the scoreboard, and end")
    options = parser.parse_args(arguments)
    store = Store(options.out)
    if options.remove is not None:
        sys.exit(print(f"{store.remove(options.remove)} tries of {options.remove!r} are gone.", flush=True))
    try:
        server = Server((options.host, options.port), store)
    except OSError as error:
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
        sys.exit(f"Port {options.port} on {options.host} {why}: choose another one with --port.")
    port = server.server_address[1]
    address = ADDRESS.format(my_address() if options.host == "0.0.0.0" else options.host, port)
    print("Making the class's blends (once about 20 s) ...", flush=True)
    server.board = Board(store.seed, address)
    if options.host.startswith("127."):
        print("Only this machine can reach the scoreboard: for the class, add --host 0.0.0.0 (make: HOST=0.0.0.0).")
    print(f"Tell the class: open {address}, and write in a cell: %env BLENDKIT_CLASS={address}", flush=True)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
    print(f"\nThe scoreboard is kept in {options.out}.")


if __name__ == "__main__":
    main()
