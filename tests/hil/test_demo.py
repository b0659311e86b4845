"""`make demo` from outside: its end, its story, and what it leaves."""

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from safety.journal import parse

LONGEST_S = 60
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.real_clock
def test_the_demo_tells_its_story_and_ends_by_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hil.demo"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    story = [
        "$ neuraxis simulate stimulator",
        "$ neuraxis check",
        "dangerous.yaml:22:20: SR-41",
        "(exit code 3)",
        "$ neuraxis plan",
        "$ neuraxis apply",
        "read back equal",
        "the reply was lost; asked, the device says: executed",
        "within one window of 1 hour",
        "(exit code 3)",
        "$ neuraxis run",
        "on: 4.2 mA",
        "on: 3.8 mA",
        "safe state confirmed",
        "$ neuraxis status",
        "$ neuraxis amplitude",
        "$ neuraxis stop",
        "$ neuraxis journal verify",
        "whole",
        "$ neuraxis journal show",
        "the reply was lost; asked, the device says: executed",
        "demo-output/delivered.png",
        "demo-output/ITP-0001.journal",
    ]
    assert re.search(".*?".join(map(re.escape, story)), done.stdout, re.DOTALL), done.stdout

    results = tmp_path / "demo-output"
    assert (results / "delivered.png").read_bytes().startswith(PNG)
    for journal in ("ITP-0001.journal", "SCS-0001.journal"):
        assert parse((results / journal).read_bytes()).problem is None
    assert_the_lost_bolus_was_given_once(results / "pump.truth.jsonl")
    last: dict[str, int] = {}
    for line in (results / "stimulator.truth.jsonl").read_text().splitlines():
        shown = json.loads(line)
        last[shown["contact"]] = shown["amplitude_uA"]
    assert set(last.values()) == {0}

    port = re.search(r"pty:(\S+)/pump", done.stdout)
    assert port is not None
    assert not Path(port[1]).exists(), "a simulator was left, or its files"


def assert_the_lost_bolus_was_given_once(truth: Path) -> None:
    """The host's bolus gives 1.2 mg/h on top of the basal, the patient's button 0.9 mg/h."""
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    duration = mass = 0
    for start, end in pairwise(lines):
        lasted = end["t_ms"] - start["t_ms"]
        given = end["tip_mass_fg"]["morphine"] - start["tip_mass_fg"]["morphine"]
        if given * 3_600_000 > 1_150_000_000_000 * lasted:
            duration, mass = duration + lasted, mass + given
    assert duration == 300_000
    assert 100 <= mass // 10**9 <= 110
