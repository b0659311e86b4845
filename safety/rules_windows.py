"""Rules of a pump that need its history: windows, lockout, stops, what nobody knows."""

from collections.abc import Sequence

from device_profiles.diagnostics import Finding
from device_profiles.notation import mass_unit_for, write_duration, write_mass
from device_profiles.profile import PumpProfile
from device_profiles.quantities import (
    Femtograms,
    Milliseconds,
    NanogramsPerMillilitre,
    mass_of,
)
from safety.commands import Instant
from safety.dose import can_be_bounded, flow_at, is_a_day, utc_day, worst_case_over
from safety.doubt import Reservation
from safety.limits import DOSE_WINDOWS, DrugLimits, PumpLimits, missing_limits
from safety.outputs import BolusOutput, PumpProgram
from safety.rules_infusion import judge_bolus
from safety.window_account import WindowAccount, write_wait


def _hard(rule: str, path: str, message: str, hint: str | None = None) -> Finding:
    return Finding(rule=rule, severity="hard", path=path, message=message, hint=hint)


WATER = NanogramsPerMillilitre(1)
"""With it a mass is a volume."""


def judge_pump_windows(
    current: PumpProgram | None,
    known: Sequence[PumpProgram],
    new: PumpProgram,
    limits: PumpLimits,
    held: Sequence[Reservation],
    now: Instant,
) -> list[Finding]:
    """SR-14: a new program leaves room for doses already given and for the programs around it.

    Protects from a basal that refills a window after a bolus or follows the peak of another
    program. ``known`` are all programs that a window may hold: the one in the pump, those before
    it, those on their way. Harm: a new program waits until what was given has left its window,
    unless it is nowhere more than the one in the pump. Longest denial: a day and the bolus. Way
    out: wait; lower the basal.
    """
    nothing_before = not known and not held
    if nothing_before or (current is not None and is_no_more_than(new, current)):
        return []
    findings: list[Finding] = []
    for drug in limits.drugs:
        findings += _judge_windows((new, *known), drug, Femtograms(0), held, now, "basal")
    return findings


def judge_unknown_past(full_until: Milliseconds, now: Instant, path: str) -> list[Finding]:
    """SR-14: no bolus and no increase while a window may hold what nobody knows of.

    Protects from a dose on top of doses that nobody recorded. Harm: boluses and increases are
    denied; the first program after it and the verified basal are not. Longest denial: a day of
    the device's time. Way out: wait.
    """
    if now.slow >= full_until:
        return []
    left = write_duration(Milliseconds(full_until - now.slow))
    text = f"nobody knows all that the pump has delivered: its windows count as full for {left}"
    return [_hard("SR-14", path, text, "wait; the basal goes on")]


def judge_held(held: bool) -> list[Finding]:
    """SR-32: no bolus after a stop, until a person applies a program again.

    Protects from a bolus into a pump that somebody stopped for a reason. Harm: none to the
    basal, which goes on. Longest denial: until a program is applied. Way out: apply the file.
    """
    if not held:
        return []
    text = "the pump was stopped: boluses are closed"
    return [_hard("SR-32", "bolus", text, "apply the therapy file again to open them")]


def judge_lockout(
    held: Sequence[Reservation],
    bolus: BolusOutput,
    profile: PumpProfile,
    slack: Milliseconds,
    now: Instant,
) -> list[Finding]:
    """SR-15, SR-16, SR-05: host boluses keep the device's shortest lockout and its count of a day.

    From the latest start of the one before to the earliest of this one, and never before that
    one has surely ended; counted from the intent, whatever became of it. Protects from a stutter
    of single doses. Harm: a bolus is denied. Longest denial: the lockout, or the time of the last
    bolus; for the count a day. Way out: wait.
    """
    boluses = [one for one in held if one.what == "bolus"]
    findings: list[Finding] = []
    free = (max(one.begun + slack + profile.lockout_min, one.latest_end) for one in boluses)
    wait = max(free, default=now.slow) - now.slow
    if wait > 0:
        text = f"the last bolus was a moment ago: {write_duration(Milliseconds(wait))} to wait"
        findings.append(_hard("SR-15", "bolus", text, "wait"))
    most = profile.boluses_per_day_max
    if len(boluses) >= most:
        findings.append(
            Finding(
                rule="SR-05",
                severity="hard",
                path="bolus",
                message=f"{len(boluses)} boluses within a day, and the device's limit is {most}",
                value=f"{len(boluses) + 1}",
                limit=f"{most}",
                source="device",
                hint="wait until the earliest has left the day",
            )
        )
    return findings


def judge_bolus_in_state(
    current: PumpProgram | None,
    known: Sequence[PumpProgram],
    limits: PumpLimits | None,
    held: Sequence[Reservation],
    bolus: BolusOutput,
    profile: PumpProfile,
    now: Instant,
) -> list[Finding]:
    """SR-05, SR-14, SR-22: one bolus against its own limit and every full window around it.

    Protects from stacked doses: a window counts a whole window of basal, all patient boluses,
    and every earlier bolus by its latest possible end. ``known`` are all programs that a window
    may hold. Harm: a bolus is denied. Longest denial: a day and the time of the last bolus. Way
    out: wait; the finding says which window is full.
    """
    if current is None or limits is None:
        text = "no program has been verified in this pump: a bolus has nothing to be judged by"
        return [_hard("SR-22", "bolus", text, "apply the therapy file first")]
    findings = [*judge_bolus(bolus, current, limits, profile)]
    findings += missing_limits(limits, bolus_asked=True)
    for drug in limits.drugs:
        mass = mass_of(bolus.volume, drug.concentration)
        findings += _judge_windows(known, drug, mass, held, now, "bolus")
    return findings


def _judge_windows(
    programs: Sequence[PumpProgram],
    drug: DrugLimits,
    asked: Femtograms,
    held: Sequence[Reservation],
    now: Instant,
    path: str,
) -> list[Finding]:
    return [
        _overfull(account, now, path)
        for account in window_accounts(programs, drug, asked, held, now)
        if account.is_over
    ]


def window_accounts(
    programs: Sequence[PumpProgram],
    drug: DrugLimits,
    asked: Femtograms,
    held: Sequence[Reservation],
    now: Instant,
) -> list[WindowAccount]:
    """What fills each window of a drug that has a limit, once what was asked for is in it."""
    phases = phases_of(programs)
    if not all(can_be_bounded(phase) for phase in phases):
        return []  # SR-16 has refused it: there is no worst case to compare
    mixes = tuple((phase, _concentration(phase, drug.name)) for phase in phases)
    accounts = []
    for window in DOSE_WINDOWS:
        limit = drug.of(window.quantity)
        if limit is None:
            continue
        worst = worst_case_over(mixes, window.length)
        inside = tuple(one for one in held if one.reaches_into(window.length, now))
        accounts.append(WindowAccount(drug.name, window, limit, worst, inside, asked))
    return accounts


def _overfull(account: WindowAccount, now: Instant, path: str) -> Finding:
    limit, asked = account.limit, account.asked
    # One unit for all figures: milligrams beside micrograms are misread (accident A7).
    unit = mass_unit_for(min(Femtograms(limit.value), asked or account.standing))
    total, ceiling = write_mass(account.total, unit), write_mass(Femtograms(limit.value), unit)
    room_at = account.room_at()
    return Finding(
        rule="SR-14",
        severity="hard",
        path=path,
        message=(
            f"{account.drug}: within one window of {account.window.words} there could be "
            f"{total}: {write_mass(account.standing, unit)} of the basal and the button, "
            f"{write_mass(account.earlier, unit)} of {account.earlier_doses}, "
            f"{write_mass(asked, unit)} asked for; the {limit.source}'s limit is {ceiling}"
        ),
        value=total,
        limit=ceiling,
        source=limit.source,
        hint=(
            f"no {account.earlier_doses} make room by leaving: lower the dose; a program that was "
            "replaced counts for a day"
            if room_at is None
            else f"there is room in {write_wait(Milliseconds(room_at - now.slow))}, if nothing "
            "else is given until then"
        ),
    )


def phases_of(programs: Sequence[PumpProgram]) -> tuple[PumpProgram, ...]:
    """Each program, and before it the bridge that it begins with, as a program of its own."""
    bridges = (program.while_bridging() for program in programs)
    return (*programs, *(bridge for bridge in bridges if bridge is not None))


def _concentration(program: PumpProgram, name: str) -> NanogramsPerMillilitre:
    """The concentration of a drug while a program ran; 0 if it was not in the pump."""
    held = (drug.concentration for drug in program.drugs if drug.name == name)
    return next(held, NanogramsPerMillilitre(0))


def is_no_more_than(new: PumpProgram, old: PumpProgram) -> bool:
    """Whether a program delivers nowhere more than the one before: continuation.

    Compared on the UTC clock, step by step at every border of either; boluses field by field.
    """
    if new.drugs != old.drugs or not (is_a_day(new.basal) and is_a_day(old.basal)):
        return False
    wanted, before = utc_day(new, WATER), utc_day(old, WATER)
    borders = {step.start for step in (*wanted, *before)}
    if any(flow_at(wanted, minute) > flow_at(before, minute) for minute in borders):
        return False
    return new.patient_bolus is None or new.patient_bolus == old.patient_bolus
