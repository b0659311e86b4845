"""A capture made, shown and compared."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from capture_bench import FILES, World, lines_of, recorded, recorded_run, write_lines
from cli_bench import STIMULATION, cli, variant

from firmware_bridge.simulator.faults import PlannedFault
from hil.capture import reading, writing


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same sealed run of a stimulator, recorded twice."""
    folder = tmp_path_factory.mktemp("runs")
    files = folder / "a.capture", folder / "b.capture"
    with pytest.MonkeyPatch.context() as patch:
        for number, file in enumerate(files):
            patch.setenv("XDG_STATE_HOME", str(folder / str(number)))
            assert recorded_run(World("stimulator"), "stimulator", file).code == 0
    return files


# --- record --------------------------------------------------------------------------------------


def test_recording_changes_nothing_of_what_a_command_says_and_how_it_ends(tmp_path: Path) -> None:
    world = World("pump", PlannedFault("unplug", request="commit", count=1))
    done = recorded_run(world, "pump", tmp_path / "a.capture")
    assert done.code == 6
    assert "ITP-0001" in done.out
    assert lines_of(tmp_path / "a.capture")[-1]["code"] == 6


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["check", STIMULATION], "'check' is no command that talks to a device"),
        (["keys", "remove", "ITP-1"], "is no command that talks to a device"),
        (["capture", "record", "x", "status"], "is no command that talks to a device"),
    ],
)
def test_only_what_talks_to_a_device_is_recorded(
    command: list[object], text: str, tmp_path: Path
) -> None:
    answer = cli("capture", "record", tmp_path / "a.capture", *command)
    assert answer.code == 2
    assert text in answer.said
    assert not (tmp_path / "a.capture").exists()


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "a.capture"
    file.write_text("mine", "utf-8")
    world = World("stimulator")
    answer = recorded_run(world, "stimulator", file)
    assert (answer.code, world.links, file.read_text("utf-8")) == (2, 0, "mine")
    assert "never takes the place of a file" in answer.said


def test_a_capture_that_cannot_be_written_ends_the_command_before_a_byte_is_sent(
    tmp_path: Path,
) -> None:
    world = World("stimulator")
    answer = recorded_run(world, "stimulator", tmp_path / "no" / "folder")
    assert (answer.code, world.links) == (2, 0)
    assert "nothing was sent" in answer.said


def test_a_full_disk_ends_the_capture_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, written, write = tmp_path / "a.capture", [0], writing._write

    def fill(descriptor: int, data: bytes) -> None:
        written[0] += 1
        if written[0] > 20:
            os.write(descriptor, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(descriptor, data)

    monkeypatch.setattr(writing, "_write", fill)
    answer = recorded_run(World("stimulator"), "stimulator", file)
    assert answer.code == 0, answer.said
    assert answer.said.count("has ended here: No space left on device") == 1
    monkeypatch.undo()
    shown = cli("capture", "show", file)
    assert shown.code == 0
    assert "is not whole" in shown.err
    assert "breaks off here" in shown.out


def test_a_disk_that_was_full_from_the_begin_leaves_no_file_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, world = tmp_path / "a.capture", World("stimulator")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing, "_write", full)
    answer = recorded_run(world, "stimulator", file)
    assert (answer.code, world.links) == (2, 0)
    assert f"{file} cannot be written (No space left on device)" in answer.said
    monkeypatch.undo()
    assert not file.exists()


@pytest.mark.parametrize("name", ["--force", "-f"])
def test_an_option_where_the_file_stands_is_a_usage_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = cli("capture", "record", name, "status")
    assert answer.code == 2
    assert f"write ./{name} if that is the name of the file" in answer.said
    assert not (tmp_path / name).exists()
    assert cli("capture", "record", f"./{name}", "status").code == 4
    assert (tmp_path / name).exists()


def test_where_no_line_was_opened_it_is_said_why(tmp_path: Path) -> None:
    answer = cli("capture", "record", tmp_path / "a.capture", "status")
    assert answer.code == 4
    assert "no line was opened" in answer.said
    assert cli("replay", tmp_path / "a.capture").code == 0, "there was nobody to be asked"


# --- show ----------------------------------------------------------------------------------------


def test_a_sealed_conversation_is_shown_in_words(two_runs: tuple[Path, Path]) -> None:
    shown = cli("capture", "show", two_runs[0]).out
    for text in (
        "> Identify",
        "< Identity protocol",
        "> Stage slot 0, program",
        "> Start id",
        "< StimulatorStatus serial",
        " sealed]",
        "the command ended with exit code 0",
    ):
        assert text in shown


def test_what_is_no_good_is_marked(tmp_path: Path) -> None:
    file = tmp_path / "a.capture"
    faults = (
        PlannedFault("corrupt_reply", request="status", count=2),
        PlannedFault("truncate_reply", request="status", count=4),
    )
    recorded_run(World("stimulator", *faults), "stimulator", file)
    value = cli("capture", "show", file, "--format", "json").json
    problems = [one["problem"] for one in value["entries"] if one.get("problem")]
    assert len(problems) == 2, problems
    assert "damaged" in problems
    assert value["code"] == 0


def test_a_capture_cannot_command_the_terminal_of_whoever_reads_it(
    two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    evil = tmp_path / "evil.capture"
    lines = lines_of(two_runs[0])
    lines[0]["command"] = ["run", "\x1b]0;owned\x07.yaml"]
    write_lines(evil, lines)
    shown = cli("capture", "show", evil)
    assert shown.code == 0, shown.said
    assert "]0;owned" in shown.out
    assert not any(sign in shown.out for sign in ("\x1b", "\x07"))


def test_a_frame_that_the_host_could_not_open_is_said_to_be_sealed(
    two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    lines = lines_of(two_runs[0])
    last = max(at for at, line in enumerate(lines) if line.get("said"))
    lines[last]["said"] = [None]
    shown = cli("capture", "show", write_lines(tmp_path / "a.capture", lines)).out
    assert "(sealed, and not opened by this host)" in shown


# --- diff ----------------------------------------------------------------------------------------


def test_two_recordings_of_the_same_are_the_same(two_runs: tuple[Path, Path]) -> None:
    first, second = two_runs
    assert first.read_bytes() != second.read_bytes()
    for options in ([], ["--host"], ["--within", "1 ms"]):
        answer = cli("capture", "diff", first, second, *options)
        assert (answer.code, answer.out) == (0, "the same\n"), answer.said


def test_another_amplitude_is_the_first_difference(
    two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    other, file = tmp_path / "b.capture", tmp_path / "other.yaml"
    file.write_text(variant(STIMULATION, ("amplitude: 4.2 mA", "amplitude: 4.1 mA")), "utf-8")
    recorded(World("stimulator"), other, "run", file, "--yes", "--for", "5.1 s")
    answer = cli("capture", "diff", two_runs[0], other)
    assert answer.code == 1
    assert "the first difference: program.areas[0].amplitude: 4200 here, 4100 there" in answer.out
    assert answer.out.count("→") == 2
    value = cli("capture", "diff", two_runs[0], other, "--format", "json").json
    assert value["one"]["says"].startswith("Stage slot 0")


def test_a_capture_of_another_protocol_is_said_to_be_one(
    two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    began, *rest = lines_of(two_runs[1])
    old = write_lines(tmp_path / "old.capture", [{**began, "protocol": 3}, *rest])
    for command in (["show", old], ["diff", two_runs[0], old]):
        answer = cli("capture", *command)
        assert f"{old} was recorded in protocol 3" in answer.err
        assert f"{two_runs[0]} was recorded" not in answer.err


def test_no_single_message_can_be_missing_on_one_side(
    two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    lines = lines_of(two_runs[0])
    places = [at for at, line in enumerate(lines) if line["kind"] == "bytes"]
    for at in places[:: max(1, len(places) // 20)]:
        file = write_lines(tmp_path / f"{at}.capture", lines[:at] + lines[at + 1 :])
        for pair in ((two_runs[0], file), (file, two_runs[0])):
            assert cli("capture", "diff", *pair).code == 1, at


def test_times_are_compared_where_they_are_asked_for(
    two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    lines: list[dict[str, Any]] = lines_of(two_runs[0])
    half = len(lines) // 2
    later = [{**line, "ns": line["ns"] + 60_000_000} for line in lines[half:]]
    file = write_lines(tmp_path / "later.capture", lines[:half] + later)
    assert cli("capture", "diff", two_runs[0], file).code == 0
    assert cli("capture", "diff", two_runs[0], file, "--within", "100 ms").code == 0
    answer = cli("capture", "diff", two_runs[0], file, "--within", "50 ms")
    assert answer.code == 1
    assert "ms after what went before" in answer.out


def test_an_id_that_is_used_for_two_things_is_a_difference(
    tmp_path: Path,
) -> None:
    """Mapped is not ignored: the same on one side has to be the same on the other."""
    file, other = tmp_path / "a.capture", tmp_path / "b.capture"
    recorded_run(World("pump", sealed=False), "pump", file)
    lines = lines_of(file)
    asked = [at for at, line in enumerate(lines) if line.get("way") == "<"]
    lines[asked[-1]]["hex"] = lines[asked[-2]]["hex"]  # the answer to another request
    assert cli("capture", "diff", file, write_lines(other, lines)).code == 1


@pytest.mark.parametrize("place", [0, 1])
def test_a_bad_file_is_told_apart_from_a_difference(
    place: int, two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(b"\x00\xff\n")
    pair = [two_runs[0], two_runs[1]]
    pair[place] = bad
    answer = cli("capture", "diff", *pair)
    assert answer.code == 2
    assert f"{bad}:1:" in answer.said
    assert cli("capture", "diff", two_runs[0], tmp_path / "missing").code == 2


def test_the_two_families_differ_at_once(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "pump.capture"
    recorded(World("pump"), file, "plan", FILES["pump"], "--device", "sim://pump")
    assert "family: 'scs' here, 'itp' there" in cli("capture", "diff", two_runs[0], file).out


def test_what_has_no_size_and_no_end_is_no_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 1 << 20)
    for command in (["replay"], ["capture", "show"]):
        shown = cli(*command, "/dev/zero")
        assert shown.code == 2
        assert "has more than 1 MiB: no capture is that long" in shown.err
