"""`journal show` and `verify`, and what a device may still do with a journal that is not whole."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_bench import INFUSION, Simulator, apply, cli, digest_of, journal_of, simulator

pytestmark = pytest.mark.real_clock


@dataclass(frozen=True)
class Bench:
    """A pump, and the user's folder with its journal as a program and a bolus left it."""

    pump: Simulator
    state: Path
    as_it_was: Path


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    state, copy = folder / "state", folder / "copy"
    with (
        simulator(folder, "pump", tcp=True) as device,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_STATE_HOME", str(state))
        assert apply(INFUSION, device.url).code == 0
        assert cli("bolus", "0.1 mg", "--over", "10 min", "--device", device.url).code == 0
        shutil.copytree(state, copy)
        yield Bench(device, state, copy)


@pytest.fixture
def journal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal with its program and its bolus, whole, and this user's default."""
    shutil.rmtree(bench.state)
    shutil.copytree(bench.as_it_was, bench.state)
    monkeypatch.setenv("XDG_STATE_HOME", str(bench.state))
    return journal_of("ITP-A")


@pytest.fixture
def pump(bench: Bench) -> Simulator:
    """The pump of that journal."""
    return bench.pump


def test_a_whole_journal_is_told_as_a_story_and_verified(journal: Path) -> None:
    shown = cli("journal", "show", journal)
    assert (shown.code, shown.err) == (0, "")
    assert "journal of the simulated device ITP-A opened" in shown.out
    assert "intended: program the pump for BENCH-012" in shown.out
    assert "intended: bolus of 100 mcg morphine over 10 min" in shown.out
    verified = cli("journal", "verify", journal, "--format", "json")
    assert (verified.code, verified.json["whole"]) == (0, True)
    entries = cli("journal", "show", journal, "--format", "json").json["entries"]
    assert [entry["entry"] for entry in entries] == list(range(1, len(entries) + 1))
    assert len(entries) == verified.json["entries"] == len(shown.out.splitlines())


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
@pytest.mark.fault("F86")
@pytest.mark.fault("F96")
def test_every_damage_is_found_and_named_and_still_leaves_stop(
    journal: Path, pump: Simulator
) -> None:
    good = journal.read_bytes()
    damages = {
        "cut in half": good[: len(good) // 2],
        "last entry gone": good[:-40],
        "one bit flipped": good[:200] + bytes([good[200] ^ 1]) + good[201:],
        "an entry twice": good + good[-120:],
        "another file": b"hello\n" * 50,
        "empty": b"",
    }
    anchors = {path: path.read_bytes() for path in journal.parent.parent.glob("anchors/*")}
    for name, content in damages.items():
        for path, anchor in anchors.items():
            path.write_bytes(anchor)
        journal.write_bytes(content)
        verified = cli("journal", "verify", journal)
        assert verified.code == 3, name
        assert str(journal) in verified.err
        assert "Traceback" not in cli("journal", "show", journal).said
        stopped = cli("stop", "--device", pump.url)
        assert stopped.code == 0, (name, stopped.said)
        assert "stopped and confirmed" in stopped.out


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
def test_a_cut_journal_goes_on_denying_boluses_and_never_forgets_that_it_was_cut(
    journal: Path, pump: Simulator
) -> None:
    whole = journal.read_bytes()
    assert cli("stop", "--device", pump.url).code == 0
    journal.write_bytes(whole[: len(whole) * 2 // 3])
    for _ in range(3):
        status = cli("status", "--device", pump.url, "--format", "json")
        latched = json.loads(status.out[status.out.index('{\n  "code"') :])["latched"]
        assert latched is not None
        assert "missing" in latched
        refused = cli("bolus", "0.05 mg", "--over", "10 min", "--device", pump.url)
        assert refused.code == 3
        assert cli("journal", "verify", journal).code == 3


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
def test_a_deleted_journal_is_missed(journal: Path, pump: Simulator) -> None:
    journal.unlink()
    assert cli("journal", "verify", journal).code == 2
    assert "LATCHED" in cli("status", "--device", pump.url).out
    refused = cli("bolus", "0.05 mg", "--over", "10 min", "--device", pump.url)
    assert refused.code == 3


def test_what_cannot_be_read_is_a_usage_error_that_names_the_path(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        for command in ("show", "verify"):
            answer = cli("journal", command, path)
            assert answer.code == 2
            assert f"{path}: cannot be read" in answer.err
            assert cli("journal", command, path, "--format", "json").json["code"] == 2


def test_a_journal_lies_where_a_person_wants_it(tmp_path: Path) -> None:
    with simulator(tmp_path, "pump", tcp=True) as pump:
        _works_with_a_journal_of_ones_own(pump, tmp_path)


def _works_with_a_journal_of_ones_own(pump: Simulator, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "bench.journal"
    options = ("--device", pump.url, "--journal", mine)
    digest = cli("plan", INFUSION, *options, "--format", "json").json["digest"]
    assert cli("apply", INFUSION, *options, "--confirm", digest).code == 0
    assert not journal_of("ITP-A").exists()
    assert cli("journal", "verify", mine).code == 0
    assert cli("bolus", "0.1 mg", "--over", "10 min", *options).code == 0
    assert cli("apply", INFUSION, *options, "--confirm", digest).code == 3


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F73")
def test_a_journal_of_another_device_is_not_used(journal: Path, tmp_path: Path) -> None:
    with simulator(tmp_path, "pump", serial="ITP-B", tcp=True) as other:
        status = cli("status", "--device", other.url, "--journal", journal)
        assert "it belongs to ITP-A, and this is ITP-B" in status.out
        assert digest_of(INFUSION, other.url)


def test_a_journal_with_a_problem_is_told_to_programs_in_one_json_object(journal: Path) -> None:
    content = journal.read_bytes()
    journal.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    for command in ("show", "verify"):
        answer = cli("journal", command, journal, "--format", "json")
        assert answer.code in (2, 3)
        assert answer.json["problem"]


def test_an_alarm_of_the_journal_does_not_break_the_json_of_status(
    journal: Path, pump: Simulator
) -> None:
    journal.unlink()
    assert cli("status", "--device", pump.url, "--format", "json").json["latched"]


@pytest.mark.parametrize("command", [("show",), ("verify",), ("why", "1", "--journal")])
@pytest.mark.parametrize(("path", "kind"), [("/dev/zero", "no plain file"), ("/", "a directory")])
def test_what_is_no_plain_file_is_no_journal(
    command: tuple[str, ...], path: str, kind: str
) -> None:
    done = cli("journal", *command, path)
    assert done.code == 2
    assert f"{path}: cannot be read: it is {kind}; name a journal file" in done.err
