"""Into a magnetic field and out of it again, by the procedure of the device (SR-34).

What is done beforehand differs by device (`profile.mri`) and is said in sentences, since half of it
is for a person. What is asked afterwards is the same for all: is it the same device, has it
recovered, what does its log say, does it hold what it held, what time does it think it is. Nothing
of it hangs on one client: the plan to come back is in the journal, and a host with another journal
asks the device alone.
"""

from dataclasses import dataclass

from device_profiles.errors import Refused
from device_profiles.notation import write_current, write_duration, write_flow, write_volume
from device_profiles.quantities import DAY_MS, Milliseconds, NanoLitres, PartsPerMillion
from firmware_bridge.driver import Sample
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.table import AnyController
from firmware_bridge.protocol.messages import AskEvent, LoggedEvent
from safety.alarm_table import BY_DRUG
from safety.alarms import Alarm
from safety.commands import Override
from safety.events import BeforeField, MriEntered, MriLeft
from safety.outputs import PumpProgram, StimulatorProgram
from safety.rules_mri import HALTED, AfterField, judge_leave, missed
from safety.rules_open import judge_override, judge_unsettled
from safety.schedule import scheduled

NEWEST = 0xFFFF_FFFF
"""Asked for what comes after it, a device tells the number of its newest entry."""
READING_SLACK = NanoLitres(2)
"""What two readings of an odometer, each rounded once, may differ by."""
EVIDENCE_MAX = 4_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was done and what a person has to do, in sentences, and how to come back."""

    checklist: tuple[str, ...]
    restore: str


@dataclass(frozen=True, slots=True)
class Left:
    """The device's own log since it went in, and what a person should know of its way back."""

    log: tuple[str, ...]
    notes: tuple[str, ...]


# --- into the field ------------------------------------------------------------------------------


async def prepare(controller: AnyController, user: str) -> Prepared:
    """SR-34: brings a device into the state in which it may go into a magnetic field.

    From the first moment on the judge refuses therapy, a pump's verified basal excepted; so nothing
    starts between the stop and its record. Done again, it stops and confirms again and keeps the
    first plan to come back. Protects from a field that finds an output on or a bolus under way.
    Harm: a device with an unverified program is not prepared. Longest denial: until its file is
    applied. Way out: apply it. Raises Refused, LinkError, DeviceFault; Uncertain where the safe
    state is not seen.
    """
    serial = controller.identity.serial
    held = controller.programs_in(await controller.read_back())
    if held != controller.verified_outputs():
        raise Refused(
            f"{serial} holds another program than the one that this host has verified: after the "
            "field nobody could tell what it has changed. Apply the therapy file first (SR-22)"
        )
    doubts = tuple(judge_unsettled(controller.state.unsettled))
    if doubts:
        raise Refused(f"{serial} is not prepared: {doubts[0].message}", doubts)
    sample = await controller.sample()
    known = controller.state.mri
    restore = known.restore if known is not None else _restore(controller)
    if known is None:
        before = BeforeField(
            controller.identity,
            len(held),
            (await controller.session.query(AskEvent(NEWEST), LoggedEvent)).latest,
            sample.clock,
            NanoLitres(sample.values.get("delivered_nL", 0)),
            HALTED in sample.alarms,
        )
        await controller.gate.tell(MriEntered(controller.now(), user, restore, before))
        await controller.gate.settle()
    seen = await controller.make_safe("hold")
    if controller.profile.mri == "output-off":
        controller.stopped.set()  # a run that still watches has nothing left to run
    return Prepared(_checklist(controller, seen), restore)


def _restore(controller: AnyController) -> str:
    """How to come back, for a person who reads the journal."""
    state = controller.state
    patient = f"patient {state.patient or 'none'}"
    if isinstance(controller, PumpController):
        program = state.pump_program
        basal = _basal(program) if program is not None else "no program"
        return (
            f"{patient}; {basal}. Come back with `neuraxis mri leave`, then apply the same file "
            "again: boluses and button are closed until then"
        )
    names = ", ".join(program.name for program in state.programs) or "none"
    running = state.running
    flowed = "nothing flowed"
    if running is not None:
        levels = ", ".join(write_current(level) for level in running.amplitudes)
        flowed = f"{running.program.name!r} flowed at {levels}"
    return (
        f"{patient}; programs {names}; {flowed}. Come back with `neuraxis mri leave`, then "
        "`neuraxis run FILE --from-zero`"
    )


def _basal(program: PumpProgram) -> str:
    drugs = " and ".join(drug.name for drug in program.drugs)
    flows = ", ".join(write_flow(step.flow) for step in program.basal)
    return f"{drugs} at {flows}"


def _checklist(controller: AnyController, seen: Sample) -> tuple[str, ...]:
    names = [p.name for p in controller.verified_outputs() if isinstance(p, StimulatorProgram)]
    match controller.profile.mri:
        case "output-off":
            held = f"programs {', '.join(names)}" if names else "no program"
            return (
                f"done: the output is at zero, confirmed by the device ({seen.state})",
                f"done: it holds {held}, as verified",
                "to do: if the device has an MRI mode of its own, enter it by its own procedure; "
                "no host can, so none can leave it either",
                "afterwards it begins at 0 mA",
            )
        case "rotor-stalls":
            halted = (
                ("mind: the pump is halted, so a stall in the field will not show",)
                if seen.state == "halted"
                else ()
            )
            return (
                f"done: no bolus runs, boluses and button are closed ({seen.state})",
                "done: it holds its program as verified, and the basal goes on: a stop would only "
                "delay the detection of a stall",
                *halted,
                "to do: watch the person for withdrawal. The rotor stops in the field and may take "
                "2 to 24 h to turn again; `neuraxis mri leave` tells when it has",
            )


# --- out of the field ----------------------------------------------------------------------------


async def leave(controller: AnyController, user: str, override: Override | None = None) -> Left:
    """SR-34: ends the time in a magnetic field once the device is itself again.

    Needs no host that prepared it. The log is read twice, since a device may write down only at
    the second look what has happened to it (domain 2.7). Raises Refused with everything that is
    missing, and what to do about it; LinkError, DeviceFault.
    """
    before = controller.state.mri.before if controller.state.mri is not None else None
    since = before.log if before is not None else 0
    entries = await _log_since(controller, since)
    sample = await controller.sample()
    entries = (*entries, *await _log_since(controller, entries[-1].number if entries else since))
    held = controller.programs_in(await controller.read_back())
    after = AfterField(
        controller.identity,
        len(held or ()),
        held is not None and held == controller.verified_outputs(),
        sample.alarms,
        _clock_ahead(controller, sample),
    )
    findings = judge_leave(before, after, controller.profile.mri)
    standing = judge_override(findings, override)
    if standing:
        more = f", and {len(standing) - 1} more" if len(standing) > 1 else ""
        raise Refused(
            f"{controller.identity.serial} is not out of the field yet: {standing[0].rule}, "
            f"{standing[0].message}{more}",
            standing,
        )
    log = tuple(f"{entry.number}: {entry.text}" for entry in entries)
    notes = (*_notes(controller, before, sample), *_passed(override))
    short = await _tell_what_is_missing(controller, before, sample)
    notes = (*notes, *short)
    evidence = "; ".join((*notes, *log))[:EVIDENCE_MAX]
    await controller.gate.tell(MriLeft(controller.now(), user, evidence))
    await controller.gate.settle()
    return Left(log, notes)


async def _log_since(controller: AnyController, number: int) -> tuple[LoggedEvent, ...]:
    """The entries of the device's log after a number; all of them where it has begun anew."""
    found: list[LoggedEvent] = []
    while True:
        entry = await controller.session.query(AskEvent(number), LoggedEvent)
        if entry.number == 0 and entry.latest < number:
            number = 0  # the log was lost and starts at 1 again
            continue
        if entry.number <= number:
            return tuple(found)
        found.append(entry)
        number = entry.number


def _clock_ahead(controller: AnyController, sample: Sample) -> Milliseconds | None:
    if controller.identity.speed != 1:
        return None
    return Milliseconds(sample.clock - controller.now().wall)


def _notes(
    controller: AnyController, before: BeforeField | None, sample: Sample
) -> tuple[str, ...]:
    """What held nobody up and a person should know."""
    notes = []
    if before is None:
        notes.append("this journal knows nothing from before the field: its program is as found")
    if sample.alarms:
        notes.append(f"the device reports: {', '.join(sample.alarms)}")
    if isinstance(controller, PumpController):
        if sample.state != "running":
            notes.append(
                f"the pump is {sample.state}: apply the file again, boluses and button are closed "
                "until then"
            )
    else:
        notes.append("the next start begins at 0 mA: `neuraxis run FILE --from-zero`")
    return tuple(notes)


def _passed(override: Override | None) -> tuple[str, ...]:
    if override is None:
        return ()
    return (f"{', '.join(override.rules)} passed by {override.user}: {override.reason}",)


async def _tell_what_is_missing(
    controller: AnyController, before: BeforeField | None, sample: Sample
) -> tuple[str, ...]:
    """SR-34, SR-54: what a stall has withheld, also one that is over and left no alarm behind."""
    state = controller.state
    program = state.pump_program or state.last_verified
    if not isinstance(controller, PumpController) or program is None or before is None:
        return ()
    if before.halted or sample.clock <= before.clock:
        return ()
    due = scheduled(program, before.clock, sample.clock)
    flowed = NanoLitres(sample.values["delivered_nL"] - before.delivered)
    accuracy: PartsPerMillion = controller.profile.accuracy
    short = missed(due, NanoLitres(flowed + READING_SLACK), accuracy)
    if not short:
        return ()
    lasted = Milliseconds((sample.clock - before.clock) // 60_000 * 60_000)
    text = (
        f"{write_volume(flowed)} flowed in {write_duration(lasted)} where "
        f"{write_volume(NanoLitres(due // DAY_MS))} were due: the rotor stood still for a time"
    )
    await controller.raise_alarm(
        Alarm("stall-in-field", BY_DRUG[program.stop_policy], "SR-34", text)
    )
    return (text,)
