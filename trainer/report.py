"""A run sent to Curator on another machine, file by file, as it grows. Knows its folder and HTTP; knows no model.

A process of its own sends, so that a server that is slow or away costs the training nothing. It outlives the trainer,
however that ends, and so tells even of one that was killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn
from urllib.parse import quote, urlencode, urlsplit

from trainer import UserError
from trainer.record import is_at_work

TOKEN = "CURATOR_TOKEN"
FILES = (
    "metrics.jsonl train_losses.jsonl signals.jsonl losses.jsonl samples.jsonl evaluation.json lr.json run.json"
).split()
ADAPTER = (
    "adapter_config.json tokenizer.json tokenizer_config.json special_tokens_map.json vocab.json added_tokens.json "
    "merges.txt chat_template.jinja README.md adapter_model.safetensors"
).split()
PIECE_BYTES = 4 * 2**20
LOOK_SECONDS = 2.0  # between looks at the folder
SHARE = 0.1  # of the time, at most, that is spent on sending: a file of many steps takes longer to read through
SIGN_SECONDS = 15.0  # after which a sign of life is given where nothing is new
LONGEST_PAUSE = 60.0  # between two tries
PATIENCE_SECONDS = 90.0  # after the end of a run, while nothing gets through
TIMEOUT_SECONDS = 60.0  # of one request; bringing in the losses of a long run takes some of them


class Unreachable(Exception):
    """It did not work this time, and may the next."""


class Behind(Exception):
    """The file ends elsewhere there than was thought."""

    def __init__(self, there: int) -> None:
        super().__init__(there)
        self.there = there


class Unwanted(Exception):
    """This one file is not taken; the others are."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token to whoever it names."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Destination:
    """A Curator that listens, and the token that lets us in."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url.rstrip("/"), token
        self.opener = urllib.request.build_opener(NoRedirect)

    def call(self, method: str, path: str, wanted: str, body: bytes | None = None, **query: Any) -> Any:
        """Send one request, and return what is wanted of the answer.

        Raises Unreachable where another try may help, Behind and Unwanted for a file, UserError where nothing helps.
        """
        address = f"{self.url}/reports/{path}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(address, body, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/octet-stream")
        try:
            with self.opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return json.loads(answer.read())[wanted]
        except urllib.error.HTTPError as error:
            self.refuse(error)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(str(getattr(error, "reason", error)) or type(error).__name__) from error
        except (ValueError, TypeError, KeyError):
            raise UserError(f"{self.url} answers, but not as Curator does. Is the address right?") from None

    def refuse(self, error: urllib.error.HTTPError) -> NoReturn:
        try:
            said = json.loads(error.read())
            words = str(said["error"])
        except (ValueError, TypeError, KeyError, OSError, http.client.HTTPException):
            said, words = {}, f"{error.code} {error.reason}"
        if error.code >= 500 or error.code in (408, 429):
            raise Unreachable(words) from None
        if error.code == 409 and "there" in said:
            raise Behind(int(said["there"])) from None
        if error.code == 413 or error.code == 400 and said:
            raise Unwanted(words) from None
        if error.code in (401, 403, 409) and said:
            raise UserError(f"{self.url}: {words}") from None
        raise UserError(f"{self.url} answers {words}, not as Curator does. Is the address right?") from None


def destination(url: str | None, token: str | None, *, asks: bool = True) -> Destination | None:
    """Return where a run is to be sent, None without a URL. Raises UserError where that could never work.

    It `asks` there whether the token is good. A server that is away now is no fault: it may be there later.
    """
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise UserError(f"--report-to is {url!r}, but must be the address of Curator, such as http://127.0.0.1:5000")
    token = token or os.environ.get(TOKEN)
    if not token:
        raise UserError(
            f"--report-to needs a token, in {TOKEN} or as --token. Make one where Curator runs: flask token new NAME"
        )
    if not token.isascii() or not token.isprintable():
        raise UserError("The token has characters that no token has. Copy it again.")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        say(f"The token goes to {parts.hostname} as it is, to be read on its way: better by https, or through ssh.")
    to = Destination(url, token)
    try:
        if asks:
            to.call("GET", "", "token")
    except Unreachable as error:
        say(f"Curator at {to.url} cannot be reached: {error}. What there is to send waits until it can.")
    except Unwanted as error:
        raise UserError(f"{to.url}: {error}") from None
    return to


@contextlib.contextmanager
def sending(folder: Path, to: Destination | None) -> Iterator[None]:
    """Send a run while it is made, and wait at its end until all of it is there, or nothing gets through any more."""
    # Of several processes that train one run, the first alone reports it.
    if to is None or os.environ.get("RANK", "0") != "0":
        yield
        return
    # Its own session: Ctrl-C is for the trainer. Its input ends when we do, however that comes.
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", "report", str(folder.resolve()), "--report-to", to.url, "--follow"],
        cwd=Path(__file__).parents[1],  # this trainer, whatever lies in the folder that it was started in
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {TOKEN: to.token},
    )
    try:
        yield
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait()
        except KeyboardInterrupt:
            process.kill()
            process.wait()
            say(f"Not all was sent. Send it later with: python -m trainer report {folder} --report-to {to.url}")
            raise


def follow(folder: Path, to: Destination) -> str:
    """Send a run until standard input ends, and then what is left of it. Return its page."""
    over = threading.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        over.set()

    # The machine that ends all of a job's processes means the trainer: our end is its end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=wait, daemon=True).start()
    return send_all(folder, to, over)


def report(folder: Path, to: Destination) -> str:
    """Send a run that is there, and what comes while it is at work. Return its page. Raises UserError."""
    read_id(folder)
    over = threading.Event()

    def wait() -> None:
        while is_at_work(folder):
            time.sleep(LOOK_SECONDS)
        over.set()

    if is_at_work(folder):
        say(f"{folder} is at work: it is sent as it grows, until its end.")
        threading.Thread(target=wait, daemon=True).start()
    else:
        over.set()
    return send_all(folder, to, over)


def send_all(folder: Path, to: Destination, over: threading.Event) -> str:
    """Send what a run has until it is `over`, trying again where nothing gets through. Return the run's page.

    Raises UserError where the run is not wanted, or nothing got through for PATIENCE_SECONDS after the end.
    """
    report = Report(folder, to)
    pause, failed_since, told = 0.0, None, False
    while True:
        is_over, began, taken = over.wait(pause), time.monotonic(), report.taken
        try:
            report.send(is_over=is_over)
        except Unreachable as error:
            if report.taken > taken:  # some of it got through
                pause, report.ended = 0.0, None
            # Many trainers that lost one server must not all come back in the same second.
            pause = min(LONGEST_PAUSE, 2 * max(pause, 0.5)) * random.uniform(0.75, 1.25)
            if failed_since is None:
                failed_since = time.monotonic()
                say(f"Curator at {to.url} cannot be reached: {error}. Trying again.")
            if is_over:
                # Its patience begins with the end: what was tried before says nothing about now.
                ended = report.ended = report.ended or time.monotonic()
                if time.monotonic() - ended > PATIENCE_SECONDS:
                    raise UserError(
                        f"Not all of {folder} was sent: {error}. Send it later with: python -m trainer report {folder} "
                        f"--report-to {to.url}"
                    ) from None
                time.sleep(min(pause, 5))
            continue
        if failed_since is not None:
            say(f"Curator at {to.url} has all of {folder} again.")
        if is_over:
            return to.url + report.page
        if report.page and not told:
            say(f"Follow {folder.name} at {to.url}{report.page}")
            told = True
        pause, failed_since = max(LOOK_SECONDS, (time.monotonic() - began) / SHARE), None


class Report:
    """What of a run is there already."""

    def __init__(self, folder: Path, to: Destination) -> None:
        self.folder, self.to = folder, to
        self.key = ""
        self.page = ""
        self.sent: dict[str, Any] = {}  # by name: the state of the file that is there, None for one that is not wanted
        self.there: dict[str, dict[str, Any]] | None = None  # by name, size and sha256, as the other side says
        self.taken = 0  # pieces, so far
        self.signed = 0.0
        self.ended: float | None = None

    def send(self, *, is_over: bool) -> None:
        """Send what is new. Raises Unreachable, and UserError where the run is not wanted."""
        if not (self.folder / "run.json").is_file():
            return
        if not self.key:
            self.key = quote(read_id(self.folder), safe="")
        if self.there is None:
            self.there = self.to.call("GET", self.key, "files")
        progress = sorted(f"progress/{path.name}" for path in (self.folder / "progress").glob("samples-*.jsonl"))
        # The record first, as it says whose files these are; last as well, as it says that they are all there.
        first = [] if "run.json" in self.there else ["run.json"]
        adapter = [f"adapter/{name}" for name in ADAPTER] if is_over else []
        is_new = [self.send_file(name) for name in (*first, *progress, *FILES)]
        if any(is_new) or is_over or time.monotonic() - self.signed > SIGN_SECONDS:
            self.sign(is_over)
        for name in adapter:  # may take long, and nobody who looks at the page waits for it
            self.send_file(name)
            if time.monotonic() - self.signed > SIGN_SECONDS:
                self.sign(is_over)

    def sign(self, is_over: bool) -> None:
        try:
            self.page = self.to.call("POST", self.key, "page", over=int(is_over))
        except Unwanted as error:
            raise UserError(f"{self.to.url}: {error}") from None
        self.signed = time.monotonic()

    def send_file(self, name: str) -> bool:
        """Send what is new of a file, and return whether there was anything."""
        try:
            file = (self.folder / name).open("rb")
        except OSError:  # not there, or not yet
            return False
        with file:  # a file that is replaced meanwhile stays for us what it was
            facts = os.fstat(file.fileno())
            state = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
            if self.sent.get(name) == state:
                return False
            size = whole_lines(file, facts.st_size) if name == "metrics.jsonl" else facts.st_size
            sha256 = digest(file, size)
            assert self.there is not None
            known = self.there.get(name, {"size": 0, "sha256": ""})
            is_there = known["sha256"] == sha256
            try:
                if not is_there:
                    # Only this one grows at its end; of another, what is there is of an older state.
                    self.send_pieces(file, name, size, sha256, known["size"] if name == "metrics.jsonl" else 0)
            except Unwanted as error:
                say(f"Not sent: {error}")
            self.sent[name] = state
            self.there[name] = {"size": size, "sha256": sha256}
            return not is_there

    def send_pieces(self, file: BinaryIO, name: str, size: int, sha256: str, at: int) -> None:
        """Send a file from a place on; from where it ends there where that is another."""
        at = at if at < size else 0
        for _ in range(size // PIECE_BYTES + 5):  # some to spare for what the other side corrects
            file.seek(at)
            piece = file.read(min(PIECE_BYTES, size - at))
            try:
                path = f"{self.key}/{quote(name)}"
                at = self.to.call("PUT", path, "there", piece, at=at, size=size, sha256=sha256)
            except Behind as behind:
                at = min(behind.there, size)
                continue
            self.taken += 1
            if at >= size:
                return
        raise Unreachable(f"{name} does not come through whole")


def read_id(folder: Path) -> str:
    try:
        return str(json.loads((folder / "run.json").read_text("utf-8"))["id"])
    except FileNotFoundError:
        raise UserError(f"{folder} is no run: it holds no run.json. Start one with: python -m trainer run") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder / 'run.json'} cannot be read: {error}.") from None


def whole_lines(file: BinaryIO, size: int) -> int:
    """Return how many of the bytes of a file are whole lines."""
    file.seek(max(0, size - 2**16))
    end = file.read(min(size, 2**16)).rfind(b"\n") + 1
    return max(0, size - 2**16) + end


def digest(file: BinaryIO, size: int) -> str:
    """Return the sha256 of the beginning of a file."""
    found = hashlib.sha256()
    file.seek(0)
    while size > 0:
        read = file.read(min(size, 2**20))
        if not read:
            break
        found.update(read)
        size -= len(read)
    return found.hexdigest()


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
