"""What a plan says beside old and new: the step in dose, the refill, the days left.

For people to read; no judgement uses it. The figures are those that the rules compare.
"""

from collections.abc import Sequence

from device_profiles.notation import mass_unit_for, write_mass, write_volume
from device_profiles.quantities import MILLION, Femtograms, divide_up
from safety.commands import ProgramPump
from safety.dose import can_be_bounded, days_to_alarm
from safety.outputs import PumpProgram
from safety.rules_bridge import hours_words
from safety.rules_change import most_of_a_day, smallest_day, step_words
from safety.rules_refill import (
    days_words,
    is_new_fill,
    refill_tolerance,
    stability_of,
    volume_left,
)


def change_notes(
    current: PumpProgram | None, known: Sequence[PumpProgram], command: ProgramPump
) -> tuple[str, ...]:
    """Sentences about a pump's new program; ``current`` and ``known`` as in `judge_change`."""
    if not can_be_bounded(command.program):
        return ()
    before = (*((current,) if current else ()), *known)
    return (*_steps(before, command), *_refill(current, command), *_days(command))


def _steps(before: Sequence[PumpProgram], command: ProgramPump) -> list[str]:
    names = [drug.name for program in (command.program, *before) for drug in program.drugs]
    notes = []
    for name in dict.fromkeys(names if before else ()):
        old, new = smallest_day(name, before), most_of_a_day(name, command.program)
        if old is None:
            notes.append(f"{name}: at most {_mass(new, new)} in any 24 h, none in the day before")
            continue
        least = min(old, new) or max(old, new)
        notes.append(
            f"{name}: at most {_mass(new, least)} in any 24 h; the least of the last day's "
            f"programs gave {_mass(old, least)}: {step_words(old, new)}"
        )
    return notes


def _mass(mass: Femtograms, beside: Femtograms) -> str:
    """A mass in whole ng, rounded up, in the unit of the one that it stands beside."""
    return write_mass(Femtograms(divide_up(mass, MILLION) * MILLION), mass_unit_for(beside))


def _refill(current: PumpProgram | None, command: ProgramPump) -> list[str]:
    evidence, withdrawn = command.evidence, command.therapy.fill.withdrawn
    if evidence is None or not is_new_fill(command):
        return []
    expected = f"the pump counts {write_volume(evidence.reservoir)} as left of the fill before"
    if withdrawn is None:
        return [f"refill: {expected}, and the file does not say what was withdrawn"]
    tolerance = refill_tolerance(current, command, evidence)
    agrees = "agrees" if abs(withdrawn - evidence.reservoir) <= tolerance else "does NOT agree"
    return [
        f"refill: {write_volume(withdrawn)} withdrawn, {expected}: {agrees} within "
        f"{write_volume(tolerance)}"
    ]


def _days(command: ProgramPump) -> list[str]:
    left = volume_left(command)
    days = days_to_alarm(command.program, command.profile.accuracy, left)
    if days.nominal_centi is None or days.worst_centi is None:
        return []
    note = (
        f"low-reservoir alarm in {days_words(days.nominal_centi)}, at the worst in "
        f"{days_words(days.worst_centi)}"
    )
    kept = stability_of(command) if left is None else None
    return [f"{note}; {kept[0]} keeps its strength for {hours_words(kept[1])}" if kept else note]
