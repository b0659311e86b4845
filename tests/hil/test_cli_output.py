"""Where an answer goes nowhere: a full disk, a limit, a reader who left, a terminal without µ."""

import json
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_bench import (
    COMMAND,
    INFUSION,
    PATIENCE_S,
    STIMULATION,
    Answer,
    apply,
    cli,
    is_silent,
    journal_of,
    process,
    simulator,
)

from hil.streams import MOST_LOST

pytestmark = pytest.mark.real_clock

FULL = Path("/dev/full")
LOST = "standard output takes nothing more (No space left on device); all else goes on"
ASCII = {"PYTHONIOENCODING": "ascii"}
BARE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def into(
    out: Path,
    *args: object,
    env: dict[str, str] | None = None,
    prepare: Callable[[], None] | None = None,
) -> Answer:
    """A command whose standard output is a file; what it said is on standard error."""
    with out.open("ab") as stream:
        done = subprocess.run(
            [*COMMAND, *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S * 2,
            env={**os.environ, **(env or {})},
            preexec_fn=prepare,
            check=False,
        )
    return Answer(done.returncode, "", done.stderr)


def to_a_reader_who_left(*args: object) -> Answer:
    """A command whose standard output is a pipe that nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    try:
        return into(Path(f"/dev/fd/{writes}"), *args)
    finally:
        os.close(writes)


# --- what was done stands --------------------------------------------------------------------


@pytest.mark.requirement("SR-21")
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_bolus_whose_answer_meets_a_full_disk_is_told_as_given(tmp_path: Path, form: str) -> None:
    with simulator(tmp_path, "pump") as pump:
        assert apply(INFUSION, pump.url).code == 0
        ask = ("bolus", "0.01 mg", "--over", "5 min", "--device", pump.url, "--format", form)
        given = into(FULL, *ask)
        assert given.code == 0, given.err
        assert given.err.count(LOST) == 1
        assert "10 mcg over 5 min has begun" in given.err, "the answer is not lost"
    assert "intended: bolus" in cli("journal", "show", journal_of("ITP-A")).out


@pytest.mark.requirement("SR-32")
@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("reader", ["a full disk", "left"])
def test_a_confirmed_stop_is_told_as_such_whoever_reads(form: str, reader: str) -> None:
    ask = ("stop", "--device", "sim://stimulator", "--format", form)
    stopped = into(FULL, *ask) if reader == "a full disk" else to_a_reader_who_left(*ask)
    assert stopped.code == 0, stopped.err
    if reader == "left":
        assert stopped.err == "", "`| head` is no news"
    else:
        assert "stopped and confirmed" in stopped.err


def test_a_refusal_stays_a_refusal_where_neither_output_takes_a_word() -> None:
    ask = [*COMMAND, "amplitude", "1 mA", "--device", "sim://stimulator", "--format", "json"]
    with FULL.open("wb") as full:
        done = subprocess.run(ask, stdout=full, stderr=full, timeout=PATIENCE_S, check=False)
    assert done.returncode == 3


@pytest.mark.requirement("SR-33")
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_therapy_runs_on_when_its_output_meets_a_full_disk(tmp_path: Path, form: str) -> None:
    with simulator(tmp_path, "stimulator") as device:
        ask = ("run", STIMULATION, "--device", device.url, "--yes", "--for", "1 s")
        done = into(FULL, *ask, "--format", form)
        assert done.code == 0, done.err
        assert done.err.count("takes nothing more") == 1
        assert "Traceback" not in done.err
        assert is_silent(device.truth())
    told = cli("journal", "show", journal_of("SCS-A")).out
    assert "intended: start" in told
    assert "safe state confirmed" in told


# --- what only prints ------------------------------------------------------------------------


def test_an_export_that_is_not_whole_is_no_success(tmp_path: Path) -> None:
    part = tmp_path / "schema.json"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    done = into(part, "schema", "therapy", prepare=limit)
    assert done.code == 2
    assert "takes nothing more (File too large)" in done.err
    assert part.stat().st_size == 1024
    assert len(done.err) < MOST_LOST + 300, "an export is not told on the terminal"
    assert to_a_reader_who_left("schema", "therapy") == Answer(0, "", "")


def test_output_that_was_closed_by_whoever_started_it_is_no_failure() -> None:
    ask = [*COMMAND, "stop", "--device", "sim://stimulator"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *ask],
        stderr=subprocess.PIPE,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


# --- signs that a terminal does not have -----------------------------------------------------


@pytest.mark.parametrize("env", [ASCII, BARE], ids=["ascii", "bare"])
def test_a_run_in_ascii_is_a_run(env: dict[str, str]) -> None:
    done = process("run", STIMULATION, "--yes", "--for", "500 ms", env=env)
    assert done.code == 0, done.err
    assert "safe state confirmed" in done.out


def test_what_ascii_has_no_sign_for_is_escaped_and_json_stays_json(tmp_path: Path) -> None:
    path = tmp_path / "µ\U0001d11e.yaml"
    path.write_bytes(STIMULATION.read_bytes())
    text = process("check", path, env=ASCII)
    assert (text.code, "\\u00b5\\ud834\\udd1e.yaml: accepted" in text.out) == (0, True)
    found = process("check", path, "--format", "json", env=ASCII)
    assert json.loads(found.out)["file"] == str(path)


def test_a_name_of_bytes_that_are_no_text_is_shown(tmp_path: Path) -> None:
    path = os.fsdecode(bytes(tmp_path) + b"/\xff.yaml")
    Path(path).write_bytes(STIMULATION.read_bytes())
    done = process("check", path)
    assert done.code == 0, done.err
    assert "\\udcff.yaml: accepted" in done.out
