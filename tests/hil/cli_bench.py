"""The command line from outside: in this process where only its answer counts, else as a process.

Simulators are always processes of their own, for a real port is the point. Their output goes into
files, so that nothing stays open in the tests.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from hil.app import app
from hil.keys import KeyStore

EXAMPLES = Path(__file__).parents[2] / "examples"
STIMULATION = EXAMPLES / "stimulation.yaml"
INFUSION = EXAMPLES / "infusion.yaml"
BRIDGE = EXAMPLES / "bridge.yaml"
DANGEROUS = EXAMPLES / "dangerous.yaml"

COMMAND = [sys.executable, "-m", "hil.cli"]
SIMULATOR = [sys.executable, "-m", "firmware_bridge.simulator"]
"""What `neuraxis simulate` runs, in half its time to start."""
PATIENCE_S = 20.0
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


# --- files -----------------------------------------------------------------------------------


def variant(base: Path, *changes: tuple[str, str]) -> str:
    """The text of a file with each of ``changes`` made once; a text that is not there fails."""
    text = base.read_text("utf-8")
    for old, new in changes:
        assert old in text, f"{base.name} holds no {old!r}"
        text = text.replace(old, new, 1)
    return text


# --- commands --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be one JSON object and nothing else."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    @property
    def said(self) -> str:
        """Everything it said, on one line and without the wrapping of the terminal."""
        return " ".join((self.out + self.err).split())


def cli(*args: object, stdin: str | None = None) -> Answer:
    """A command in this process; the unforeseen is exit code 1, as the entry point makes it."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], input=stdin)
    error = result.exception
    if error is None or isinstance(error, SystemExit):
        return Answer(result.exit_code, result.stdout, result.stderr)
    return Answer(1, result.stdout, f"{result.stderr}internal error: {error!r}")


def process(*args: object, stdin: str | None = None, env: dict[str, str] | None = None) -> Answer:
    """A command as a process of its own, without a terminal, awaited to its end."""
    done = subprocess.run(
        [*COMMAND, *map(str, args)],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 2,
        env={**os.environ, **(env or {})},
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


class Running:
    """A command that is still going on."""

    def __init__(
        self, folder: Path, name: str, *args: object, stdin: int = subprocess.DEVNULL
    ) -> None:
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._child = subprocess.Popen(
                [*COMMAND, *map(str, args)],
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self._child.pid

    @property
    def said(self) -> str:
        """What it has said so far."""
        both = self._out.read_text("utf-8", "replace") + self._err.read_text("utf-8", "replace")
        return " ".join(both.split())

    def until_it_says(self, text: str) -> None:
        """Waits for a text; an end before that fails."""

        def seen() -> bool:
            if text in self.said:
                return True
            assert self._child.poll() is None, f"ended with {self._child.poll()}: {self.said}"
            return False

        until(seen, f"{text!r} in {self.said!r}")

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._child.send_signal(number)

    def end(self) -> Answer:
        """Waits for its end."""
        code = self._child.wait(PATIENCE_S)
        return Answer(code, self._out.read_text("utf-8"), self._err.read_text("utf-8"))

    def kill(self) -> None:
        """Ends it at once, if it has not ended by itself."""
        self._child.kill()
        self._child.wait(PATIENCE_S)


@contextmanager
def running(
    folder: Path, name: str, *args: object, stdin: int = subprocess.DEVNULL
) -> Iterator[Running]:
    """A command that is killed at the end, whatever the test did with it."""
    command = Running(folder, name, *args, stdin=stdin)
    try:
        yield command
    finally:
        command.kill()


def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Waits until a condition on files or sockets holds; fails with ``what`` if it never does."""
    limit = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < limit, f"waited in vain for {what}"
        threading.Event().wait(POLL_S)


POLL_S = 0.02


# --- simulators ------------------------------------------------------------------------------


class Simulator:
    """A simulated device in its own process, behind a pty or TCP, with truth and state files."""

    def __init__(
        self,
        folder: Path,
        family: str,
        *faults: str,
        serial: str = "",
        tcp: bool = False,
        speed: int = 1,
        sealed: bool = True,
    ) -> None:
        self.serial = serial or ("SCS-A" if family == "stimulator" else "ITP-A")
        self._sealed = sealed
        self._base = folder / self.serial.lower()
        self._family, self._tcp, self._speed = family, tcp, speed
        self._faults = faults
        self._marked = 0
        self._start()

    def mark(self) -> None:
        """From here on the truth is that of another test."""
        self._marked = len(self._lines())

    def _start(self) -> None:
        base = self._base
        lines = "".join(f"- {{{fault}}}\n" for fault in self._faults)
        base.with_suffix(".faults").write_text(lines, "utf-8")
        listen = "tcp:127.0.0.1:0" if self._tcp else f"pty:{base}.pty"
        args = [self._family, "--listen", listen, "--serial-number", self.serial]
        args += ["--state", f"{base}.state", "--truth", f"{base}.truth"]
        args += ["--speed", str(self._speed), "--faults", f"{base}.faults"]
        if self._sealed:
            args += ["--key", str(key_of(self.serial))]
        out = base.with_suffix(".sim")
        with out.open("wb") as stream, base.with_suffix(".simerr").open("wb") as errors:
            self._child = subprocess.Popen(
                [*SIMULATOR, *args],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=errors,
                start_new_session=True,
            )

        def announced() -> bool:
            errors = base.with_suffix(".simerr").read_text("utf-8")
            assert self._child.poll() is None, f"the simulator ended: {errors}"
            return out.read_text("utf-8").endswith("\n")

        until(announced, f"the simulator {self.serial}")
        self.url: str = json.loads(out.read_text("utf-8").splitlines()[0])["listening"]

    def again(self, *faults: str, speed: int = 1) -> None:
        """Starts it once more with the memory it had, and other faults."""
        self.close()
        self._faults, self._speed = faults, speed
        self._start()

    def truth(self) -> list[dict[str, Any]]:
        """Every line of the truth since the mark."""
        return [json.loads(line) for line in self._lines()[self._marked :]]

    def _lines(self) -> list[str]:
        path = self._base.with_suffix(".truth")
        return path.read_text("utf-8").splitlines() if path.exists() else []

    def close(self) -> None:
        """Ends it."""
        if self._child.poll() is None:
            self._child.terminate()
        self._child.wait(PATIENCE_S)

    def kill(self) -> None:
        """Cuts its power."""
        self._child.kill()
        self._child.wait(PATIENCE_S)


@contextmanager
def simulator(
    folder: Path,
    family: str,
    *faults: str,
    serial: str = "",
    tcp: bool = False,
    speed: int = 1,
    sealed: bool = True,
) -> Iterator[Simulator]:
    """A simulated device for the time of a test or module."""
    device = Simulator(folder, family, *faults, serial=serial, tcp=tcp, speed=speed, sealed=sealed)
    try:
        yield device
    finally:
        device.close()


# --- short ways ------------------------------------------------------------------------------


def digest_of(file: Path, url: str) -> str:
    """The digest of a fresh plan."""
    planned = cli("plan", file, "--device", url)
    assert planned.code == 0, planned.said
    found = re.search(r"^digest: +(\S+)", planned.out, re.MULTILINE)
    assert found is not None, planned.said
    return found[1]


def apply(file: Path, url: str, *options: str) -> Answer:
    """Plans and applies a file."""
    return cli("apply", file, "--device", url, "--confirm", digest_of(file, url), *options)


def journal_of(serial: str) -> Path:
    """The default journal of a serial number, where the README says it is."""
    return Path(os.environ["XDG_STATE_HOME"]) / "neuraxis" / "journals" / f"{serial}.journal"


def key_store() -> KeyStore:
    """The user's store of keys."""
    return KeyStore(Path(os.environ["XDG_CONFIG_HOME"]) / "neuraxis" / "keys")


def key_of(serial: str) -> Path:
    """The file of a serial number's key in the user's store, made when it is first asked for."""
    store = key_store()
    if store.find(serial) is None:
        store.make(serial)
    return store.path_of(serial)


def whole(journal: Path) -> bool:
    """Whether ``journal verify`` accepts it."""
    return cli("journal", "verify", journal).code == 0


# --- the oracle: written anew, it shares nothing with the product -----------------------------


def currents(lines: Iterable[dict[str, Any]]) -> dict[str, int]:
    """The last amplitude of each contact, uA."""
    return {line["contact"]: line["amplitude_uA"] for line in lines}


def is_silent(lines: Iterable[dict[str, Any]]) -> bool:
    """Whether no contact carries current after the last line."""
    return not any(currents(lines).values())


def highest(lines: Iterable[dict[str, Any]]) -> int:
    """The largest current of any contact in any line, uA."""
    return max((abs(line["amplitude_uA"]) for line in lines), default=0)


def most_in_a_window(
    lines: list[dict[str, Any]], concentration_ng_per_ml: int, window_ms: int
) -> int:
    """The most drug (fg) that left the pump in any window of this length, seen at its lines.

    Between two lines the flow is constant, so the largest window begins or ends at a line.
    """
    points = [(line["t_ms"], line["volume_nL"] * concentration_ng_per_ml) for line in lines]
    if not points:
        return 0
    edges = {t for t, _ in points} | {t + window_ms for t, _ in points}
    edges = {t for t in edges if t <= points[-1][0]}
    return max(_at(points, end) - _at(points, end - window_ms) for end in edges)


def _at(points: list[tuple[int, int]], moment: int) -> int:
    """The mass delivered until a moment, rounded up, straight between the lines."""
    if moment <= points[0][0]:
        return points[0][1]
    for (t0, m0), (t1, m1) in pairwise(points):
        if t0 <= moment <= t1:
            return m0 if t1 == t0 else m0 + -(-(m1 - m0) * (moment - t0) // (t1 - t0))
    return points[-1][1]
