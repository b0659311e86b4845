"""Runs inputs against a target and watches: what it raises, how long it takes, how it grows."""

import hashlib
import json
import os
import resource
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .known import known_as
from .target import Finding, Target

LOOK_EVERY = 256
"""Executions between two looks at the clock and at the memory."""
WARM_UP = 0.25
WARM_UP_S = 20.0
"""The part of a run, or its first seconds, in which memory may grow: caches and corpus fill."""
GROWTH_MB = 64.0
"""More than this after the warm-up, or by one input, is a finding."""
MOST_FINDINGS = 8


@dataclass(frozen=True, slots=True)
class Found:
    """One finding: what it is in a line, the input that shows it, after how many executions."""

    text: str
    input: str
    after: int
    known: str = ""


@dataclass(slots=True)
class Report:
    """What a run has done so far."""

    name: str
    runs: int
    executions: int = 0
    seconds: float = 0.0
    edges: int = 0
    corpus: int = 0
    slowest_ms: float = 0.0
    growth_mb: float = 0.0
    findings: list[Found] = field(default_factory=list)
    skipped: str = ""

    @property
    def shown(self) -> list[Found]:
        """The findings that an execution has shown: none is that the child did not run at all."""
        return [one for one in self.fresh if one.after > 0]

    @property
    def fresh(self) -> list[Found]:
        """The findings that are not known."""
        return [one for one in self.findings if not one.known]


class Hung(Exception):
    """An input did not end."""


class TooMany(Exception):
    """There is no use in going on."""


class Watch:
    """Executes a target's inputs one by one; keeps the report, and each finding's input."""

    def __init__(
        self,
        target: Target,
        runs: int,
        folder: Path,
        *,
        quiet: bool = False,
        most_findings: int | None = None,
    ) -> None:
        self._most = most_findings or MOST_FINDINGS
        self.target = target
        self.report = Report(target.name, runs)
        self._folder = folder
        self._quiet = quiet
        self._begun = time.monotonic()
        self._told = 0.0
        self._peak_kb = _peak_kb()
        self._warm_mb: float | None = None
        self._signatures = set[str]()

    def run(self, data: bytes) -> None:
        """Executes one input; raises TooMany."""
        report = self.report
        report.executions += 1
        begun = time.thread_time()
        try:
            self.target.check(data)
        except Hung as error:
            report.slowest_ms = max(report.slowest_ms, (time.thread_time() - begun) * 1_000)
            self._found(data, "hung", f"hang: {error}")
            return
        except Exception as error:
            self._found(data, _signature(error), _sentence(error))
        took = time.thread_time() - begun
        if took * 1_000 > report.slowest_ms:
            self._judge_slowest(data, took)
        if not report.executions % LOOK_EVERY:
            peak = _peak_kb()
            if peak - self._peak_kb > GROWTH_MB * 1_024:
                what = f"memory: {(peak - self._peak_kb) >> 10} MB more within {LOOK_EVERY} inputs"
                self._found(data, "peak", what)
            self._peak_kb = max(self._peak_kb, peak)
            self.look()

    def look(self, *, end: bool = False) -> None:
        """Brings the report up to now; tells it at most once a second."""
        report, now = self.report, time.monotonic()
        report.seconds = now - self._begun
        memory = _memory_mb()
        warm = report.executions >= WARM_UP * report.runs or report.seconds > WARM_UP_S
        if self._warm_mb is None and warm:
            self._warm_mb = memory
        report.growth_mb = memory - (self._warm_mb if self._warm_mb is not None else memory)
        if end and report.growth_mb > GROWTH_MB:
            # No single input shows it.
            text = f"memory: {report.growth_mb:.0f} MB more over the run"
            report.findings.append(Found(text, "", report.executions))
        if not self._quiet and (end or now - self._told > 1.0):
            self._told = now
            write_report(self._folder, report)

    def _judge_slowest(self, data: bytes, took: float) -> None:
        if took > self.target.seconds:
            # Once more: the machine may have been busy, or the collector of garbage.
            begun = time.thread_time()
            with suppress(Exception):  # said already
                self.target.check(data)
            took = min(took, time.thread_time() - begun)
        self.report.slowest_ms = max(self.report.slowest_ms, took * 1_000)
        if took > self.target.seconds:
            limit = self.target.seconds
            self._found(data, "slow", f"slow: {took:.1f} s of processor time, over {limit} s")

    def _found(self, data: bytes, signature: str, sentence: str) -> None:
        if signature in self._signatures:
            return
        self._signatures.add(signature)
        path = ""
        if not self._quiet:
            path = str(keep(self._folder, data))
        known = known_as(self.target.name, sentence)
        self.report.findings.append(Found(sentence, path, self.report.executions, known))
        if not self._quiet:
            write_report(self._folder, self.report)
        if len(self.report.fresh) >= self._most:
            raise TooMany


def keep(folder: Path, data: bytes) -> Path:
    """Keeps an input that shows a finding."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"found-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def write_report(folder: Path, report: Report) -> None:
    """Puts a report where the parent process looks for it, in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "report.new"
    draft.write_text(json.dumps(asdict(report)), "utf-8")
    draft.replace(folder / "report.json")


def read_report(folder: Path) -> Report | None:
    """The newest report in a folder."""
    try:
        values = json.loads((folder / "report.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    values["findings"] = [Found(**one) for one in values["findings"]]
    return Report(**values)


def _signature(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    words = str(error).split(":")[0] if isinstance(error, Finding) else ""
    return f"{type(error).__name__} {os.path.basename(last.filename)}:{last.name} {words}"


def _sentence(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(last.filename)}:{last.lineno} in {last.name}"
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, Finding) else f"{type(error).__name__}: {text} ({place})"


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _memory_mb() -> float:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:  # no Linux
        return _peak_kb() / 1_024
