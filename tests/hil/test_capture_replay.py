"""A capture played again: the same to its end, or where it first differs."""

import asyncio
import base64
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from capture_bench import (
    FILES,
    KEY,
    World,
    lines_of,
    living_in,
    recorded,
    recorded_run,
    write_lines,
)
from cli_bench import STIMULATION, cli, variant

from device_profiles.document import LARGEST_FILE
from device_profiles.errors import UsageError
from firmware_bridge.controller import Controller
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.table import CATALOGUE
from firmware_bridge.links import factory
from firmware_bridge.protocol.catalogue import Envelope
from firmware_bridge.protocol.frames import decode_frame, encode_frame
from firmware_bridge.protocol.messages import AskStatus, Identify
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.session import Session
from firmware_bridge.simulator.faults import PlannedFault
from hil.capture.conversation import Frame, conversation_of
from hil.capture.reading import read_capture
from hil.outside import Outside


class NoWorld(Outside):
    """A world in which nothing may be reached."""

    def link(self, *_: Any) -> Any:
        raise AssertionError("a real line was asked for")

    line = link  # type: ignore[assignment]


def fault(name: str, request: str, count: int = 1) -> PlannedFault:
    return PlannedFault(name, request=request, count=count)


def replay(file: Path, *options: object) -> tuple[int, dict[str, Any]]:
    """A replay where no line can be opened; its exit code and what it found."""
    with living_in(NoWorld()):
        answer = cli("replay", file, "--format", "json", *options)
    return answer.code, answer.json


# --- the same ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "unsealed"])
@pytest.mark.parametrize("family", ["stimulator", "pump"])
def test_a_recorded_run_is_the_same_to_its_end(family: str, sealed: bool, tmp_path: Path) -> None:
    file = tmp_path / "a.capture"
    assert recorded_run(World(family, sealed=sealed), family, file).code == 0
    code, found = replay(file)
    assert (code, found["difference"], found["breaks_off"]) == (0, None, False)
    said = [one for one in conversation_of(read_capture(file)) if isinstance(one, Frame)]
    assert found["frames"] == sum(one.way == ">" for one in said) > 10


@pytest.mark.parametrize(
    ("family", "faults", "code"),
    [
        ("stimulator", [fault("drop_reply", "start")], 0),
        ("stimulator", [fault("corrupt_reply", "status", 3)], 0),
        ("stimulator", [fault("truncate_reply", "read", 2)], 0),
        ("stimulator", [fault("duplicate_reply", "status", 4)], 0),
        ("stimulator", [fault("delay_reply", "status", 3)], 0),
        ("stimulator", [fault("unplug", "status", 6)], 6),
        ("stimulator", [fault("reset", "status", 6)], 5),
        ("stimulator", [fault("silence", "commit")], 6),
        ("pump", [fault("drop_reply", "commit")], 0),
        ("pump", [fault("read_back_differs", "read", 2)], 5),
        ("pump", [fault("unplug", "commit")], 6),
    ],
    ids=lambda value: value[0].name if isinstance(value, list) else "",
)
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "unsealed"])
def test_what_goes_wrong_on_the_line_goes_wrong_again(
    family: str, faults: list[PlannedFault], code: int, sealed: bool, tmp_path: Path
) -> None:
    file = tmp_path / "a.capture"
    assert recorded_run(World(family, *faults, sealed=sealed), family, file).code == code
    played, found = replay(file)
    assert (played, found["difference"]) == (0, None)


class OtherKey(World):
    """The host has another key than the device."""

    def key_of(self, serial: str) -> DeviceKey | None:
        return DeviceKey(bytes(32))


class NoKey(World):
    """The host has no key."""

    def key_of(self, serial: str) -> DeviceKey | None:
        raise UsageError(f"there is no key for {serial}")


@pytest.mark.parametrize(
    ("world", "code", "text"), [(OtherKey, 5, "does not prove"), (NoKey, 2, "there is no key for")]
)
def test_a_key_that_was_wrong_or_missing_is_so_again(
    world: type[World], code: int, text: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.capture"
    assert recorded_run(world("pump"), "pump", file).code == code
    played, found = replay(file)
    assert (played, found["difference"]) == (0, None)
    assert text in " ".join(found["said"].split())


def test_a_line_that_was_dialled_again_is_dialled_again(tmp_path: Path) -> None:
    file = tmp_path / "a.capture"
    world = World("pump", fault("unplug", "status", 7), plugs_back=True)
    done = recorded(
        world, file, "run", FILES["pump"], "--yes", "--for", "40 s", "--reconnect", "1 min"
    )
    assert (done.code, world.links > 1) == (0, True), done.said
    assert replay(file)[0] == 0


def test_other_terminals_and_a_signal_come_again(tmp_path: Path) -> None:
    file = tmp_path / "a.capture"
    asks = [(3.5, '{"request": "amplitude", "amplitude": 3000, "area": 1}')]
    world = World("stimulator", asks=asks, interrupted_at=6.0)
    assert recorded(world, file, "run", STIMULATION, "--yes").code == 130
    assert [line["kind"] for line in lines_of(file) if line["kind"] in ("request", "signal")] == [
        "request",
        "signal",
    ]
    assert replay(file)[0] == 0


def test_what_a_person_typed_is_typed_again(tmp_path: Path) -> None:
    file = tmp_path / "a.capture"
    assert (
        recorded(
            World("pump", answer="no\n"), file, "apply", FILES["pump"], "--device", "sim://pump"
        ).code
        == 3
    )
    assert replay(file)[0] == 0


@pytest.mark.parametrize(("answer", "code"), [("yes\n", 0), ("no\n", 3), ("", 3)])
def test_what_a_person_said_to_halting_the_flow_is_said_again(
    answer: str, code: int, tmp_path: Path
) -> None:
    file = tmp_path / "a.capture"
    stop = ("stop", "--flow", "--device", "sim://pump")
    assert recorded(World("pump", answer=answer), file, *stop).code == code
    assert [line["text"] for line in lines_of(file) if line["kind"] == "typed"] == [answer]
    played, found = replay(file)
    assert (played, found["difference"]) == (0, None)


def test_a_signal_at_the_question_comes_again(tmp_path: Path) -> None:
    file = tmp_path / "a.capture"
    world = World("pump", interrupted_at=0.5)
    assert recorded(world, file, "stop", "--flow", "--device", "sim://pump").code == 6
    played, found = replay(file)
    assert (played, found["difference"]) == (0, None)
    assert "no stop was sent" in found["said"]


def test_the_journal_as_it_was_comes_along(tmp_path: Path, state_folder: Path) -> None:
    file = tmp_path / "a.capture"
    world = World("pump")
    assert recorded_run(world, "pump", tmp_path / "before").code == 0
    again = World("pump")
    assert recorded(again, file, "status", "--device", "sim://pump").code == 0
    before = {path: path.read_bytes() for path in state_folder.rglob("*") if path.is_file()}
    assert replay(file)[0] == 0
    after = {path: path.read_bytes() for path in state_folder.rglob("*") if path.is_file()}
    assert after == before, "a replay writes nothing of the user's"
    without = [line for line in lines_of(file) if line["kind"] != "journal"]
    code, found = replay(write_lines(tmp_path / "without", without))
    assert code == 1, found


# --- what is in it -------------------------------------------------------------------------------


def test_a_capture_holds_no_key(tmp_path: Path) -> None:
    file = tmp_path / "a.capture"
    key = tmp_path / "stimulation.yaml"
    recorded_run(World("stimulator"), "stimulator", file)
    secret = KEY.secret
    data = file.read_bytes()
    for form in (secret, secret.hex().encode(), base64.b64encode(secret)):
        assert form not in data
    key.write_text(secret.hex() + "\n", "utf-8")
    other = tmp_path / "b.capture"
    recorded(World("stimulator"), other, "run", key, "--yes")
    assert secret.hex() not in other.read_text("utf-8"), "a key given for a therapy file"
    assert file.stat().st_mode & 0o077 == 0


# --- where it differs ----------------------------------------------------------------------------


def test_another_therapy_file_differs_where_its_amplitude_is_staged(tmp_path: Path) -> None:
    file, other = tmp_path / "a.capture", tmp_path / STIMULATION.name
    recorded_run(World("stimulator"), "stimulator", file)
    other.write_text(variant(STIMULATION, ("amplitude: 4.2 mA", "amplitude: 4.1 mA")), "utf-8")
    code, found = replay(file, "--file", other)
    assert code == 1
    assert found["difference"]["expected"].startswith("Stage slot 0")
    assert "program.areas[0].amplitude was 4200 and is 4100" in found["difference"]["came"]
    told = cli("replay", file, "--file", other)
    number = found["difference"]["number"]
    assert f"the first difference: frame {number}, " in told.out
    assert f"→{number:>5}" in told.out
    unknown = tmp_path / "unknown.yaml"
    unknown.write_text("", "utf-8")
    assert cli("replay", file, "--file", unknown).code == 2


def a_link_without_end(place: Path) -> None:
    place.symlink_to("/dev/zero")


def a_pipe(place: Path) -> None:
    os.mkfifo(place)


def too_much(place: Path) -> None:
    place.write_bytes(bytes(LARGEST_FILE + 1))


def no_text(place: Path) -> None:
    place.write_bytes(b"\xff")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (a_link_without_end, "is no plain file"),
        (a_pipe, "is no plain file"),
        (Path.mkdir, "is a directory"),
        (too_much, "is larger than 1 MiB"),
        (no_text, "cannot be read"),
        (lambda place: None, "cannot be read"),
    ],
    ids=["endless", "pipe", "folder", "large", "no text", "missing"],
)
def test_only_a_plain_file_of_text_takes_the_place_of_one(
    make: Callable[[Path], None], text: str, planned: Path, tmp_path: Path
) -> None:
    place = tmp_path / FILES["pump"].name
    make(place)
    answer = cli("replay", planned, "--file", place)
    assert answer.code == 2, answer.said
    assert f"{place} {text}" in answer.said


def no_measurement(patch: pytest.MonkeyPatch) -> str:
    async def measure(self: StimulatorController, *_: object) -> tuple[int, ...]:
        return (500,) * 16

    patch.setattr(StimulatorController, "measure", measure)
    return "Measure"


def one_question_more(patch: pytest.MonkeyPatch) -> str:
    stop = Controller.make_safe

    async def make_safe(self: Any, depth: Any) -> Any:
        await self.session.query(Identify(), object)
        return await stop(self, depth)

    patch.setattr(Controller, "make_safe", make_safe)
    return "Stop"


def no_stop(patch: pytest.MonkeyPatch) -> str:
    async def make_safe(self: Any, depth: Any) -> Any:
        return await self.sample()

    patch.setattr(Controller, "make_safe", make_safe)
    return "Stop"


def slots_backwards(patch: pytest.MonkeyPatch) -> str:
    execute = Session.execute

    async def backwards(self: Any, clearance: Any, procedure: Any, *rest: Any, **named: Any) -> Any:
        steps = procedure.steps
        if len(steps) > 2:
            object.__setattr__(procedure, "steps", (*steps[1::-1], *steps[2:]))
        return await execute(self, clearance, procedure, *rest, **named)

    patch.setattr(Session, "execute", backwards)
    return "Stage slot 0"


@pytest.mark.parametrize("twin", [no_measurement, one_question_more, no_stop, slots_backwards])
def test_a_controller_that_does_otherwise_is_found(
    twin: Callable[[pytest.MonkeyPatch], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.capture"
    recorded_run(World("stimulator"), "stimulator", file)
    expected = twin(monkeypatch)
    code, found = replay(file)
    assert code == 1
    assert found["difference"]["expected"].startswith(expected)


def test_a_controller_that_falls_silent_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.capture"
    recorded_run(World("stimulator"), "stimulator", file)

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(StimulatorController, "measure", hang)
    code, found = replay(file)
    assert code == 1
    assert "nothing, 2000 ms after its time" in found["difference"]["came"]


def host_frames(lines: list[dict[str, Any]]) -> list[int]:
    """The places of the host's frames among a capture's lines."""
    return [at for at, line in enumerate(lines) if line.get("way") == ">"]


@pytest.fixture(scope="module", params=[True, False], ids=["sealed", "unsealed"])
def planned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short capture: a plan of the pump's example."""
    file = tmp_path_factory.mktemp("planned") / "plan.capture"
    world = World("pump", sealed=request.param)
    assert recorded(world, file, "plan", FILES["pump"], "--device", "sim://pump").code == 0
    return file


def test_no_single_frame_of_the_host_can_be_missing_altered_or_more(
    planned: Path, tmp_path: Path
) -> None:
    lines = lines_of(planned)
    assert replay(planned)[0] == 0
    places = host_frames(lines)
    assert len(places) > 4
    for number, at in enumerate(places):
        for name, changed in (
            ("missing", lines[:at] + lines[at + 1 :]),
            ("twice", lines[: at + 1] + lines[at:]),
            ("altered", [*lines[:at], altered(lines[at]), *lines[at + 1 :]]),
        ):
            code, found = replay(write_lines(tmp_path / f"{name}-{number}", changed))
            assert code == 1, f"frame {number} is {name} and nobody sees it: {found}"


def altered(line: dict[str, Any]) -> dict[str, Any]:
    """A line whose frame is another message."""
    wire = bytes.fromhex(line["hex"])
    body = bytes.fromhex(line["said"][0]) if line["said"] else decode_frame(wire[:-1])
    assert body is not None
    before = CATALOGUE.decode(body)
    message = Identify() if isinstance(before.message, AskStatus) else AskStatus()
    other = CATALOGUE.encode(Envelope(before.session, before.sequence, message))
    if line["said"]:
        return {**line, "said": [other.hex()]}
    return {**line, "hex": encode_frame(other).hex()}


def test_another_exit_code_is_a_difference(planned: Path, tmp_path: Path) -> None:
    lines = lines_of(planned)
    lines[-1]["code"] = 3
    code, found = replay(write_lines(tmp_path / "code", lines))
    assert code == 1
    assert found["difference"]["expected"] == "the command ends with 3"


def test_an_unsealed_host_where_it_was_sealed_is_found(planned: Path, tmp_path: Path) -> None:
    lines = lines_of(planned)
    keys = [line for line in lines if line["kind"] == "key"]
    keys[0]["found"] = "unsealed" if keys[0]["found"] == "key" else "key"
    assert replay(write_lines(tmp_path / "other", lines))[0] == 1


# --- what breaks off, and what is no capture -----------------------------------------------------


def test_a_capture_that_breaks_off_anywhere_is_the_same_to_there(
    planned: Path, tmp_path: Path
) -> None:
    data = planned.read_bytes()
    whole = data.index(b"\n") + 1
    for cut in range(whole, len(data), max(1, (len(data) - whole) // 25)):
        file = tmp_path / f"torn-{cut}"
        file.write_bytes(data[:cut])
        code, found = replay(file)
        assert (code, found["breaks_off"]) == (0, True), found


GARBAGE: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "nothing at all": lambda lines: [],
    "no begin": lambda lines: lines[1:],
    "two begins": lambda lines: [lines[0], *lines],
    "a newer format": lambda lines: [{**lines[0], "format": 2}, *lines[1:]],
    "another protocol": lambda lines: [{**lines[0], "protocol": 99}, *lines[1:]],
    "no hex": lambda lines: [*lines, {**lines[host_frames(lines)[0]], "hex": "xy"}],
    "a link that is not open": lambda lines: [
        *lines[:-1],
        {**lines[host_frames(lines)[0]], "link": 9},
    ],
    "a link that is opened twice": lambda lines: [
        *lines[:-1],
        *(line for line in lines if line.get("event") == "opened"),
    ],
    "a negative time": lambda lines: [*lines, {"kind": "end", "ns": -1, "code": 0}],
    "an unknown kind": lambda lines: [*lines, {"kind": "?", "ns": 1}],
    "dice with words": lambda lines: [
        *lines,
        {"kind": "dice", "ns": 1, "of": "id", "value": "many"},
    ],
    "no nonce": lambda lines: [*lines, {"kind": "dice", "ns": 1, "of": "bytes", "value": ""}],
    "a session that no frame can hold": lambda lines: [
        *lines,
        {"kind": "dice", "ns": 1, "of": "session", "value": str(1 << 32)},
    ],
    "an id that no frame can hold": lambda lines: [
        *lines,
        {"kind": "dice", "ns": 1, "of": "id", "value": "0"},
    ],
    "a damaged journal": lambda lines: [
        {**line, "files": ["AAAA", None, None]} if line["kind"] == "journal" else line
        for line in lines
    ],
    "an unknown request": lambda lines: [
        *lines[:-1],
        {"kind": "request", "ns": 1, "request": "{}"},
    ],
    "a command that talks to no device": lambda lines: [
        {**lines[0], "command": ["keys", "remove", "ITP-0001"]},
        *lines[1:],
    ],
    "telemetry": lambda lines: [
        {**lines[0], "command": [*lines[0]["command"], "--telemetry=mqtt://h"]},
        *lines[1:],
    ],
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_cannot_be_played_is_said_in_a_sentence(
    name: str, planned: Path, tmp_path: Path
) -> None:
    changed: Any = GARBAGE[name](lines_of(planned))
    file = write_lines(tmp_path / "garbage", changed)
    with living_in(NoWorld()):
        answer = cli("replay", file)
    assert answer.code == 2, answer.said
    assert str(file) in answer.said or "the capture" in answer.said
    assert "Traceback" not in answer.said


@pytest.mark.parametrize("ns", [10**17, 1 << 60])
def test_a_time_after_which_virtual_time_would_stand_still_is_named_with_its_line(
    ns: int, planned: Path, tmp_path: Path
) -> None:
    lines = lines_of(planned)
    at = host_frames(lines)[1]
    lines[at]["ns"] = lines[0]["ns"] + ns
    file = write_lines(tmp_path / "late", lines)
    answer = cli("replay", file)
    assert answer.code == 2, answer.said
    assert f"{file}:{at + 1}: this is {ns // (86_400 * 10**9)} days after" in answer.said
    assert "90 days at most" in answer.said


def test_the_longest_time_that_a_capture_may_span_is_played(planned: Path, tmp_path: Path) -> None:
    lines = lines_of(planned)
    lines[-1]["ns"] = lines[0]["ns"] + 90 * 86_400 * 10**9
    assert replay(write_lines(tmp_path / "long", lines))[0] == 0


def test_no_real_line_is_opened(
    planned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a real line was opened")

    monkeypatch.setattr(factory, "TcpLink", refuse)
    monkeypatch.setattr(factory, "ChildLink", refuse)
    monkeypatch.setattr("hil.outside.open_link", refuse)
    assert cli("replay", planned).code == 0


@pytest.mark.real_clock
def test_a_run_on_the_real_clock_with_its_monitor_is_the_same_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "a.capture"
    done = cli("capture", "record", file, "run", STIMULATION, "--yes", "--for", "1.6 s")
    assert done.code == 0, done.said
    code, found = replay(file)
    assert (code, found["difference"]) == (0, None)


@pytest.mark.parametrize("seed", range(12))
def test_a_capture_that_was_edited_anywhere_is_judged_and_never_crashes(
    seed: int, planned: Path, tmp_path: Path
) -> None:
    dice = Random(seed)
    lines = planned.read_bytes().splitlines(keepends=True)
    one, other = (dice.randrange(1, len(lines)) for _ in range(2))
    bent = bytearray(planned.read_bytes())
    bent[dice.randrange(len(bent))] = dice.randrange(256)
    edits = {
        "exchanged": [lines[{one: other, other: one}.get(at, at)] for at in range(len(lines))],
        "repeated": [*lines[:one], lines[other], *lines[one:]],
        "left out": [*lines[:one], *lines[one + 1 :]],
        "bent": [bytes(bent)],
    }
    for name, edited in edits.items():
        file = tmp_path / name
        file.write_bytes(b"".join(edited))
        for command in (["replay", file], ["capture", "show", file]):
            answer = cli(*command)
            assert answer.code in (0, 1, 2), answer.said
            assert "internal error" not in answer.said
