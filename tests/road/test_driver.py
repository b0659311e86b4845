"""Drivers: a file becomes Outputs, Outputs become bytes and come back, and nothing else passes."""

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from road_bench import formulary, infusion, program_pump, programs, stimulation, stimulator_profile

from device_profiles.errors import DeviceFault
from device_profiles.formulary import StopPolicy
from device_profiles.notation import parse_concentration
from device_profiles.quantities import (
    FemtogramsPerDay,
    MicroAmps,
    Microseconds,
    MilliHertz,
    Milliseconds,
    MinuteOfDay,
    NanogramsPerMillilitre,
    NanoLitres,
    NanoLitresPerDay,
    Percent,
)
from device_profiles.therapy import BasalStep, ElectrodeShare, Recharge, Waveform
from firmware_bridge.driver import Procedure
from firmware_bridge.families.itp import driver as itp
from firmware_bridge.families.itp.driver import PumpDriver, output_of, utc_offset_minutes
from firmware_bridge.families.itp.wire import Bolus, Prime, PumpStatus, WirePumpProgram
from firmware_bridge.families.scs import driver as scs
from firmware_bridge.families.scs.driver import StimulatorDriver, outputs_of
from firmware_bridge.families.scs.wire import Measure, SetAmplitude, Start
from firmware_bridge.protocol.blob import decode_program
from firmware_bridge.protocol.messages import (
    Commit,
    Done,
    MessageError,
    Stage,
    Staged,
    Stopped,
    TherapyRequest,
)
from safety.commands import CommandKind, Instant
from safety.events import Intended
from safety.outputs import (
    AreaOutput,
    BolusOutput,
    Bridge,
    DrugInPump,
    FlowStep,
    ImpedancePulses,
    Output,
    PatientBolusOutput,
    PrimeOutput,
    PumpProgram,
    Stimulation,
    StimulatorProgram,
)

STIMULATOR = StimulatorDriver(stimulator_profile())
PUMP = PumpDriver()
PUMP_PROGRAM = program_pump().program
WALKING, NIGHT = programs()
RUNNING = Stimulation(WALKING, (MicroAmps(4_200),))
PULSES = ImpedancePulses(16, MicroAmps(100), Microseconds(100), 8)
BOLUS = BolusOutput(NanoLitres(5_000), Milliseconds(120_000))
PRIME = PrimeOutput(NanoLitres(485_000), Milliseconds(3_600_000), PUMP_PROGRAM.fill_at_ms)
BRIDGE = Bridge(
    (DrugInPump("morphine", NanogramsPerMillilitre(5_000_000)),),
    (FlowStep(MinuteOfDay(0), NanoLitresPerDay(480_000)),),
    NanoLitres(485_000),
)
BRIDGED_PROGRAM = replace(PUMP_PROGRAM, bridge=BRIDGE)
AT = Instant(Milliseconds(0), Milliseconds(0), Milliseconds(0))


def ms(text: str) -> Milliseconds:
    return Milliseconds(int(datetime.fromisoformat(text).timestamp() * 1_000))


# --- compiling -----------------------------------------------------------------------------------


def test_the_example_stimulation_becomes_exactly_these_outputs() -> None:
    walking, night = outputs_of(stimulation())
    assert (walking.slot, night.slot) == (0, 1)
    assert (walking.rate, walking.burst_pulses, walking.intra_rate) == (50_000, 1, 0)
    assert (walking.ramp, walking.stimulate, walking.pause) == (3_000, 30_000, 90_000)
    (area,) = walking.areas
    assert [(e.contact, e.share) for e in area.electrodes] == [(3, -100), (4, 60), (5, 40)]
    assert (area.amplitude, area.ceiling, area.pulse_width) == (4_200, 6_000, 210)
    assert (night.waveform, night.burst_pulses, night.intra_rate) == ("burst", 5, 500_000)
    assert (night.stimulate, night.pause) == (0, 0)


def test_the_example_infusion_becomes_exactly_these_flows() -> None:
    program = PUMP_PROGRAM
    assert [(step.start, step.flow) for step in program.basal] == [(420, 240_000), (1_320, 180_000)]
    assert program.patient_bolus == PatientBolusOutput(
        NanoLitres(15_000), Milliseconds(600_000), Milliseconds(14_400_000), 4
    )
    assert (program.utc_offset_min, program.stop_policy) == (60, "hold-basal")
    assert program.fill_at_ms == ms("2026-11-02T09:30+01:00")


@pytest.mark.requirement("SR-07")
@pytest.mark.fault("F12")
@given(
    st.integers(1, 20_000_000_000_000),
    st.integers(1, 25_000_000),
    st.integers(1, 1_000_000_000_000),
)
def test_what_flows_is_the_files_rate_or_less_by_under_one_step(
    rate: int, concentration: int, dose: int
) -> None:
    therapy = infusion()
    assert therapy.patient_bolus is not None
    therapy = replace(
        therapy,
        drugs=(replace(therapy.drugs[0], concentration=NanogramsPerMillilitre(concentration)),),
        basal=(BasalStep(MinuteOfDay(0), FemtogramsPerDay(rate)),),
        patient_bolus=replace(therapy.patient_bolus, dose=type(therapy.patient_bolus.dose)(dose)),
    )
    program = output_of(therapy, formulary(), ms("2026-11-03T12:00+01:00"))
    assert 0 <= rate - program.basal[0].flow * concentration < concentration
    assert program.patient_bolus is not None
    assert 0 <= dose - program.patient_bolus.volume * concentration < concentration


@pytest.mark.parametrize(
    ("zone", "wall", "minutes"),
    [
        ("Europe/Berlin", "2026-01-15T12:00+00:00", 60),
        ("Europe/Berlin", "2026-07-15T12:00+00:00", 120),
        ("Europe/Berlin", "2026-03-29T00:59:59+00:00", 60),
        ("Europe/Berlin", "2026-03-29T01:00:00+00:00", 120),
        ("Europe/Berlin", "2026-10-25T00:59:59+00:00", 120),
        ("Europe/Berlin", "2026-10-25T01:00:00+00:00", 60),
        ("Asia/Kathmandu", "2026-07-15T12:00+00:00", 345),
        ("America/St_Johns", "2026-01-15T12:00+00:00", -210),
        ("Pacific/Kiritimati", "2026-01-15T12:00+00:00", 840),
        ("UTC", "2026-07-15T12:00+00:00", 0),
        (None, "2026-07-15T12:00+00:00", 0),
    ],
)
def test_the_offset_is_the_one_in_force_at_apply(zone: str | None, wall: str, minutes: int) -> None:
    assert utc_offset_minutes(zone, ms(wall)) == minutes
    compiled = output_of(replace(infusion(), timezone=zone), formulary(), ms(wall))
    assert compiled.utc_offset_min == minutes


@given(st.integers(0, 2_000_000_000))
def test_the_offset_puts_the_pumps_day_on_the_clock_on_the_wall(second: int) -> None:
    offset = utc_offset_minutes("Europe/Berlin", Milliseconds(second * 1_000))
    local = datetime.fromtimestamp(second, ZoneInfo("Europe/Berlin"))
    assert (second // 60 + offset) % 1_440 == local.hour * 60 + local.minute


@pytest.mark.requirement("SR-30")
@pytest.mark.parametrize(
    ("drugs", "policy"),
    [
        (("ziconotide",), "may-stop"),
        (("morphine",), "hold-basal"),
        (("baclofen",), "never-stop"),
        (("ziconotide", "morphine"), "hold-basal"),
        (("morphine", "baclofen"), "never-stop"),
        (("ziconotide", "somebody's own"), "never-stop"),
    ],
)
def test_a_mixture_follows_the_strictest_stop_policy(drugs: tuple[str, ...], policy: str) -> None:
    therapy = infusion()
    mixture = tuple(replace(therapy.drugs[0], name=name) for name in drugs)
    program = output_of(replace(therapy, drugs=mixture), formulary(), Milliseconds(0))
    assert program.stop_policy == policy


# --- round trips ---------------------------------------------------------------------------------

U32 = st.integers(0, 0xFFFF_FFFF)
PRINTED = st.characters(exclude_categories=["Cc", "Cf", "Cn", "Cs", "Zl", "Zp"])
NAME = st.text(PRINTED, min_size=1, max_size=32)
ELECTRODE = st.builds(ElectrodeShare, st.integers(0, 32), st.integers(-100, 100).map(Percent))
AREA = st.builds(
    AreaOutput,
    st.lists(ELECTRODE, min_size=2, max_size=6).map(tuple),
    U32.map(MicroAmps),
    U32.map(MicroAmps),
    st.integers(0, 0xFFFF).map(Microseconds),
    st.sampled_from(get_args(Recharge)),
)
STIMULATOR_PROGRAM = st.builds(
    StimulatorProgram,
    slot=st.integers(0, 3),
    name=NAME,
    waveform=st.sampled_from(get_args(Waveform)),
    rate=U32.map(MilliHertz),
    burst_pulses=st.integers(1, 255),
    intra_rate=U32.map(MilliHertz),
    areas=st.lists(AREA, min_size=1, max_size=4).map(tuple),
    ramp=U32.map(Milliseconds),
    stimulate=U32.map(Milliseconds),
    pause=U32.map(Milliseconds),
)
DRUGS = st.lists(
    st.builds(DrugInPump, NAME, st.integers(0, 2**64 - 1).map(NanogramsPerMillilitre)),
    min_size=1,
    max_size=4,
).map(tuple)
BASAL = st.lists(
    st.builds(FlowStep, st.integers(0, 1_439).map(MinuteOfDay), U32.map(NanoLitresPerDay)),
    min_size=1,
    max_size=13,
).map(tuple)
PUMP_PROGRAMS = st.builds(
    PumpProgram,
    drugs=DRUGS,
    basal=BASAL,
    utc_offset_min=st.integers(-1_440, 1_440),
    patient_bolus=st.none()
    | st.builds(
        PatientBolusOutput,
        U32.map(NanoLitres),
        U32.map(Milliseconds),
        U32.map(Milliseconds),
        st.integers(1, 255),
    ),
    fill_volume=U32.map(NanoLitres),
    fill_at_ms=st.integers(0, 2**64 - 1).map(Milliseconds),
    low_reservoir=U32.map(NanoLitres),
    catheter=U32.map(NanoLitres),
    primed=st.booleans(),
    stop_policy=st.sampled_from(get_args(StopPolicy)),
    bridge=st.none() | st.builds(Bridge, DRUGS, BASAL, U32.map(NanoLitres)),
)
calm = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@calm
@given(STIMULATOR_PROGRAM)
def test_a_stimulators_program_comes_back_from_its_bytes(program: StimulatorProgram) -> None:
    blob = scs.blob_of(program)
    assert STIMULATOR.program_of(program.slot, blob) == program
    assert scs.blob_of(STIMULATOR.program_of(program.slot, blob)) == blob


@calm
@given(PUMP_PROGRAMS)
def test_a_pumps_program_comes_back_from_its_bytes(program: PumpProgram) -> None:
    blob = itp.blob_of(program)
    assert PUMP.program_of(0, blob) == program
    assert itp.blob_of(PUMP.program_of(0, blob)) == blob


@calm
@given(PUMP_PROGRAMS, st.data())
def test_no_byte_of_a_program_can_change_unseen(program: PumpProgram, data: st.DataObject) -> None:
    blob = itp.blob_of(program)
    place = data.draw(st.integers(0, len(blob) - 1))
    flipped = bytearray(blob)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        other = PUMP.program_of(0, bytes(flipped))
    except MessageError:
        return
    assert other != program


def test_a_bridge_is_in_the_bytes_as_the_judge_saw_it() -> None:
    wire = decode_program(WirePumpProgram, itp.blob_of(BRIDGED_PROGRAM))
    assert wire.bridge is not None
    assert [(drug.name, drug.concentration) for drug in wire.bridge.drugs] == [
        ("morphine", 5_000_000)
    ]
    assert [(step.start, step.flow) for step in wire.bridge.basal] == [(0, 480_000)]
    assert wire.bridge.volume == 485_000
    assert PUMP.program_of(0, itp.blob_of(BRIDGED_PROGRAM)).bridge == BRIDGE


# --- procedures ----------------------------------------------------------------------------------


def intended(command: CommandKind, *outputs: Output) -> Intended:
    return Intended(AT, 77, command, outputs, "BENCH-007")


def procedure_of(command: CommandKind, *outputs: Output) -> Procedure:
    procedure: Procedure = driver_of(outputs[0]).procedure(intended(command, *outputs))
    return procedure


def test_programs_are_staged_one_by_one_and_made_active_by_one_frame() -> None:
    steps = procedure_of("program-stimulator", WALKING, NIGHT).steps
    assert [type(step.request) for step in steps] == [Stage, Stage, Commit]
    assert [(step.prepares, step.shows) for step in steps] == [(0, 0), (1, 0), (None, 2)]
    assert [type(step.proof) for step in steps] == [Staged, Staged, Done]
    steps = procedure_of("program-pump", PUMP_PROGRAM).steps
    assert [(step.prepares, step.shows) for step in steps] == [(0, 0), (None, 1)]


@pytest.mark.parametrize(
    ("command", "output", "kind"),
    [
        ("start-stimulation", RUNNING, Start),
        ("change-amplitude", RUNNING, SetAmplitude),
        ("measure-impedance", PULSES, Measure),
        ("give-bolus", BOLUS, Bolus),
        ("prime", PRIME, Prime),
    ],
)
def test_every_other_command_is_one_live_frame_with_its_id(
    command: CommandKind, output: Output, kind: type[TherapyRequest]
) -> None:
    (step,) = procedure_of(command, output).steps
    assert type(step.request) is kind
    assert getattr(step.request, "id", None) == 77
    assert (step.prepares, step.shows, step.proof) == (None, 1, Done(77))


def test_a_prime_carries_its_volume_its_time_and_the_fill_it_belongs_to() -> None:
    (step,) = procedure_of("prime", PRIME).steps
    assert step.request == Prime(77, 485_000, 3_600_000, PUMP_PROGRAM.fill_at_ms)


def test_a_family_is_not_made_to_show_what_it_cannot() -> None:
    with pytest.raises(TypeError):
        PUMP.procedure(intended("measure-impedance", PULSES))
    with pytest.raises(TypeError):
        STIMULATOR.procedure(intended("give-bolus", BOLUS))
    for driver in (PUMP, STIMULATOR):
        with pytest.raises(DeviceFault):
            driver.sample(Stopped("ITP-0001"))


# --- the last look: every single change shows ----------------------------------------------------


def leaves(value: Any, where: str = "") -> list[tuple[str, Callable[[Any], Any]]]:
    """Each field somewhere in a record, with a function that makes the record with another."""
    found: list[tuple[str, Callable[[Any], Any]]] = []
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            for path, change in leaves(item, f"{where}[{index}]"):
                found.append((path, _in_tuple(index, change)))
        found.append((f"{where} without its last", lambda old: old[:-1]))
        found.append((f"{where} with one twice", lambda old: (*old, old[-1])))
        return found
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            for path, change in leaves(getattr(value, field.name), f"{where}.{field.name}"):
                if field.name != "kind":
                    found.append((path, _in_field(field.name, change)))
        return found
    return [(where, _another)]


def _in_tuple(index: int, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda old: (*old[:index], change(old[index]), *old[index + 1 :])


def _in_field(name: str, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda old: replace(old, **{name: change(getattr(old, name))})


CHOICES: dict[str, str] = {
    "active": "passive", "passive": "active", "tonic": "burst", "burst": "tonic",
    "hold-basal": "may-stop",
}  # fmt: skip


def _another(old: Any) -> Any:
    match old:
        case bool():
            return not old
        case int():
            return old + 1
        case str():
            return CHOICES.get(old, old + "x")
        case None:  # the only field of the examples that may be absent and is: the bridge
            return BRIDGE
    raise AssertionError(old)


JUDGED: dict[str, tuple[CommandKind, Output]] = {
    "stimulator's program": ("program-stimulator", WALKING),
    "burst program": ("program-stimulator", replace(NIGHT, slot=0)),
    "start": ("start-stimulation", RUNNING),
    "amplitude": ("change-amplitude", RUNNING),
    "impedance": ("measure-impedance", PULSES),
    "pump's program": ("program-pump", PUMP_PROGRAM),
    "bridged program": ("program-pump", BRIDGED_PROGRAM),
    "bolus": ("give-bolus", BOLUS),
    "prime": ("prime", PRIME),
}
UNSENT = [("impedance", ".contacts")]
"""Not in the bytes: a device always measures all its contacts, and the controller counts them."""


def driver_of(output: Output) -> Any:
    return PUMP if isinstance(output, PumpProgram | BolusOutput | PrimeOutput) else STIMULATOR


@pytest.mark.requirement("SR-58")
@pytest.mark.parametrize(
    ("what", "path"),
    [
        (what, path)
        for what, (_, output) in JUDGED.items()
        for path, _ in leaves(output)
        if (what, path) not in UNSENT
    ],
)
def test_any_change_of_a_judged_output_shows_in_the_last_look(what: str, path: str) -> None:
    command, output = JUDGED[what]
    driver = driver_of(output)
    steps = procedure_of(command, output).steps
    assert all(driver.matches(step.request, (output,)) for step in steps)
    other = dict(leaves(output))[path](output)
    assert other != output
    assert not all(_seen(driver, step.request, other) for step in steps)


def _seen(driver: Any, request: TherapyRequest, output: Output) -> bool:
    """Whether the last look would let a request pass as this Output."""
    try:
        return bool(driver.matches(request, (output,)))
    except (ValueError, MessageError):
        return False


@pytest.mark.requirement("SR-58")
@pytest.mark.parametrize("what", JUDGED)
def test_any_change_of_a_request_but_its_id_shows_in_the_last_look(what: str) -> None:
    command, output = JUDGED[what]
    driver = driver_of(output)
    for step in procedure_of(command, output).steps:
        for field in dataclasses.fields(step.request):
            if field.name == "id":
                continue  # compared by the session, which knows the intent
            for value in _others(getattr(step.request, field.name)):
                changed = replace(step.request, **{field.name: value})
                assert not _seen(driver, changed, output), (what, changed)


def _others(old: Any) -> list[Any]:
    match old:
        case int():
            return [old + 1, old - 1] if old > 1 else [old + 1]
        case bytes() if len(old) == 16:
            return [bytes(16), old[::-1]]
        case bytes():
            return [b"", old[:-1], old + b"\x00", bytes([old[0] ^ 1]) + old[1:]]
        case list():
            return [[old[0] + 100, *old[1:]], [max(0, old[0] - 100), *old[1:]], [*old, 0]]
    raise AssertionError(old)


@pytest.mark.requirement("SR-58")
@pytest.mark.parametrize("what", JUDGED)
@pytest.mark.parametrize("shown", JUDGED)
def test_a_request_passes_as_no_other_kind_of_output(what: str, shown: str) -> None:
    command, output = JUDGED[what]
    other = JUDGED[shown][1]
    if other == output:
        return
    for step in procedure_of(command, output).steps:
        assert not _seen(driver_of(output), step.request, other)


def test_a_request_that_no_driver_makes_never_matches() -> None:
    for driver, output in ((STIMULATOR, WALKING), (PUMP, PUMP_PROGRAM)):
        assert not driver.matches(TherapyRequest(), (output,))


def test_concentration_is_read_as_written() -> None:
    assert PUMP_PROGRAM.drugs == (DrugInPump("morphine", parse_concentration("10 mg/mL")),)


# --- samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "bolus_id", "flow", "safe"),
    [
        ("held", 0, 480_000, True),
        ("held", 9, 480_000, False),
        ("halted", 0, 0, True),
        ("running", 0, 480_000, False),
        ("empty-program", 0, 0, True),
    ],
)
def test_a_bridge_may_go_on_in_a_safe_state_and_a_prime_may_not(
    state: Any, bolus_id: int, flow: int, safe: bool
) -> None:
    status = PumpStatus(
        serial="ITP-0001",
        clock=1,
        boot=1,
        state=state,
        flow=flow,
        delivered=2,
        reservoir=3,
        bolus_id=bolus_id,
        line_left=400_000,
        settling=58_000,
        patient_boluses=0,
        fill_at=5,
        alarms=[],
    )
    sample = PUMP.sample(status)
    assert sample.safe is safe
    assert sample.values["line_left_nL"] == 400_000
