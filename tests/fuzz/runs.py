"""Runs targets in child processes, reads their reports, and says how far they are."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .child import ENDED_EARLY
from .watch import Found, Report, read_report

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "fuzz"
EVERY_S = 10.0
_STATUS = re.compile(r"cov: (\d+) ft: \d+ corp: (\d+)/")
_EXECUTED = re.compile(r"stat::number_of_executed_units: (\d+)")
_ENDS = {"timeout": "hang: the input did not end", "oom": "memory: more than the limit"}


@dataclass(frozen=True, slots=True)
class Job:
    """One run: of a target, or of a wrong twin of what it tests."""

    name: str
    target: str
    runs: int
    rate: int
    twin: str = ""

    @property
    def folder(self) -> Path:
        """Where its child writes."""
        return FOLDER / re.sub(r"\W+", "-", self.name)


class Progress:
    """Says on stderr what runs, how fast, and about how long it still takes."""

    def __init__(self, jobs: Sequence[Job], at_once: int) -> None:
        self._left = {job.name: job for job in jobs}
        self._all = len(jobs)
        self._at_once = at_once
        self._begun = time.monotonic()

    def ended(self, job: Job, report: Report) -> None:
        """A child has ended."""
        del self._left[job.name]
        found = f"{len(report.fresh)} findings" if report.fresh else "no finding"
        self._say(f"{job.name}: {report.executions:,} executions, {found}", ())

    def tell(self, running: Sequence[Job]) -> None:
        """Still running."""
        words = []
        for job in running:
            report = read_report(job.folder)
            if report is not None and report.seconds > 0:
                rate = report.executions / report.seconds
                words.append(f"{job.name} {report.executions:,} of {job.runs:,}, {rate:,.0f}/s")
        self._say("; ".join(words), running)

    def _say(self, text: str, running: Sequence[Job]) -> None:
        left = 0.0
        for job in self._left.values():
            report = read_report(job.folder) if job in running else None
            if report is not None and report.executions and report.seconds:
                rate = report.executions / report.seconds
                left += max(0, job.runs - report.executions) / rate
            else:
                left += job.runs / job.rate
        gone, to_go = _clock(time.monotonic() - self._begun), _clock(left / self._at_once)
        done = f"{self._all - len(self._left)} of {self._all}"
        print(f"fuzz {gone} ({done}, about {to_go} to go): {text}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def run_all(
    jobs: Sequence[Job], at_once: int, seconds: int, options: Sequence[str], progress: Progress
) -> list[Report]:
    """The reports of all jobs, so many at once."""
    waiting = list(jobs)[::-1]
    running: dict[str, tuple[Job, subprocess.Popen[bytes]]] = {}
    reports: list[Report] = []
    told = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < max(1, at_once):
                job = waiting.pop()
                running[job.name] = job, _start(job, seconds, options)
            time.sleep(0.2)
            for job, child in list(running.values()):
                if child.poll() is not None:
                    del running[job.name]
                    reports.append(_report_of(job, child.returncode))
                    progress.ended(job, reports[-1])
            if time.monotonic() - told > EVERY_S:
                told = time.monotonic()
                progress.tell([job for job, _ in running.values()])
    finally:
        for _, child in running.values():
            child.kill()
            child.wait()
    return reports


def _start(job: Job, seconds: int, options: Sequence[str]) -> subprocess.Popen[bytes]:
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    command = [sys.executable, "-m", "tests.fuzz.child", job.target, "--runs", str(job.runs)]
    command += ["--folder", str(job.folder), "--seconds", str(seconds), *options]
    if job.twin:
        command += ["--twin", job.twin]
    with (job.folder / "log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _report_of(job: Job, code: int) -> Report:
    """The child's own report, and what only its end tells."""
    report = read_report(job.folder) or Report(job.name, job.runs)
    report.name = job.name
    log = (job.folder / "log").read_text("utf-8", "replace")
    if status := _STATUS.findall(log):
        report.edges, report.corpus = map(int, status[-1])
    if executed := _EXECUTED.search(log):
        report.executions = max(report.executions, int(executed[1]))
    artifacts = sorted(
        p for kind in (*_ENDS, "crash", "leak") for p in job.folder.glob(f"{kind}-*")
    )
    for path in artifacts:
        text = _ENDS.get(path.name.split("-")[0], "the process died")
        report.findings.append(Found(text, str(path), report.executions))
    if code not in (0, ENDED_EARLY) and not artifacts:
        last = log.strip().splitlines()[-1:] or ["without a word"]
        report.findings.append(Found(f"the child ended with {code}: {last[0]}", "", 0))
    elif not report.executions:
        report.findings.append(Found("nothing was executed", "", 0))
    return report
