"""Rules about a change of a pump's program: how large a step, which fill, whose clock."""

from collections.abc import Sequence

from device_profiles.diagnostics import Finding, Severity
from device_profiles.formulary import FormularyEntry
from device_profiles.notation import (
    mass_unit_for,
    write_duration,
    write_mass,
    write_mass_rate,
    write_portion,
)
from device_profiles.quantities import (
    DAY_MS,
    MILLION,
    MINUTE_MS,
    Femtograms,
    Milliseconds,
    divide_up,
)
from safety.commands import ProgramPump
from safety.dose import (
    basal_mass,
    can_be_bounded,
    is_a_day,
    largest_basal,
    largest_flow,
    worst_case_mass,
)
from safety.outputs import PumpProgram
from safety.rules_bridge import concentration_in
from safety.rules_refill import judge_days, judge_refill

CLOCK_TOLERANCE = Milliseconds(60_000)
"""How far a pump's clock may part from the host's: the finest step of a schedule, one minute."""


def judge_change(
    current: PumpProgram | None, known: Sequence[PumpProgram], command: ProgramPump
) -> list[Finding]:
    """The step in dose, the refill, the days left, the pump's clock (SR-06, SR-18, SR-19, SR-59).

    ``current`` is what the pump was last known to deliver, ``known`` are all programs that the last
    day may hold.
    """
    return [
        *judge_rise((*_of(current), *known), command),
        *judge_fall(current, command),
        *judge_refill(current, command),
        *judge_days(command),
        *judge_clock(command),
    ]


def judge_kept(current: PumpProgram | None, command: ProgramPump) -> list[Finding]:
    """What is asked even of a program that only goes on, all of it soft (SR-06, SR-19, SR-62)."""
    return [*judge_fall(current, command), *judge_refill(current, command)]


# --- the step in dose ----------------------------------------------------------------------------


def judge_rise(known: Sequence[PumpProgram], command: ProgramPump) -> list[Finding]:
    """SR-06: the most of a day of each drug rises by no more than the drug's step.

    Bridge and button included, and the basal alone, against the smallest such of all programs of
    the last day, so that many small steps are no large one. Beyond the step a reason, beyond twice
    the step nothing helps. A drug's first program is SR-63's. Protects from a slip of the unit, the
    period or a key (accidents A1, A6). Harm: a rise that is meant takes a reason, or a way in
    between. Longest denial: a day, until the smaller program has left it. Way out: smaller steps.
    """
    new = command.program
    if not can_be_bounded(new):
        return []  # SR-16 has refused it
    entries = (command.formulary.find(drug.name) for drug in new.drugs)
    pairs = [
        (smallest_day, most_of_a_day, "the most of {} in a day"),
        (smallest_basal_day, basal_of_a_day, "a day's basal of {}"),
    ]
    judged = (
        _judge_up(entry, smallest(entry.name, known), most(entry.name, new), what, new)
        for entry in entries
        if entry is not None  # SR-11 has refused it
        for smallest, most, what in pairs
    )
    return [finding for finding in judged if finding is not None][:1]


def judge_fall(current: PumpProgram | None, command: ProgramPump) -> list[Finding]:
    """SR-06: a day's basal of each drug falls by no more than the drug's step, or with a reason.

    Against what runs now, and the basal alone: that is what the person surely misses. Never hard:
    only boluses and increases are denied, and an overdose is answered at once (design 3.11).
    Protects from withdrawal by a slip. Harm: a fall that is meant takes a reason. Longest denial:
    none. Way out: smaller steps, or the reason; `neuraxis stop --flow` asks for neither.
    """
    if current is None or not is_a_day(current.basal) or not is_a_day(command.program.basal):
        return []
    entries = (command.formulary.find(drug.name) for drug in current.drugs)
    judged = (_judge_down(entry, current, command.program) for entry in entries if entry)
    return [finding for finding in judged if finding is not None]


def _of(program: PumpProgram | None) -> tuple[PumpProgram, ...]:
    return () if program is None else (program,)


def most_of_a_day(name: str, program: PumpProgram) -> Femtograms:
    """The most of a drug that a program, its bridge included, gives in any 24 h."""
    phases = (program, *_of(program.while_bridging()))
    return max(
        worst_case_mass(phase, concentration_in(phase.drugs, name), DAY_MS)
        for phase in phases
        if can_be_bounded(phase)
    )


def smallest_day(name: str, programs: Sequence[PumpProgram]) -> Femtograms | None:
    """The smallest of the most of a day over programs that hold a drug; ``None`` if none does."""
    days = (
        worst_case_mass(program, concentration, DAY_MS)
        for program in programs
        if (concentration := concentration_in(program.drugs, name)) and can_be_bounded(program)
    )
    return min(days, default=None)


def basal_of_a_day(name: str, program: PumpProgram) -> Femtograms:
    """A drug's basal of 24 h, without bridge and button."""
    return basal_mass(program, concentration_in(program.drugs, name), DAY_MS)


def smallest_basal_day(name: str, programs: Sequence[PumpProgram]) -> Femtograms | None:
    """The smallest day's basal over programs that hold a drug; ``None`` if none does."""
    days = (
        basal_of_a_day(name, program)
        for program in programs
        if concentration_in(program.drugs, name) and is_a_day(program.basal)
    )
    return min(days, default=None)


def step_words(old: int, new: int) -> str:
    """A change in per cent of the old amount, away from zero at one decimal: ``+2,300 %``."""
    if old <= 0:
        return "from none"
    whole, tenth = divmod(divide_up(abs(new - old) * 1_000, old), 10)
    sign = "-" if new < old else "+"
    return f"{sign}{whole:,}{f'.{tenth}' if tenth else ''} %"


def _judge_up(
    entry: FormularyEntry, old: Femtograms | None, dose: Femtograms, what: str, new: PumpProgram
) -> Finding | None:
    if old is None:
        return None
    share, step = entry.titration.up_share, entry.titration.up_step
    rise = dose - old
    times = max(
        _times(rise * MILLION, share * old) if share is not None else 0,
        _times(rise, step) if step is not None else 0,
    )
    if times <= 1:
        return None
    limits = [f"+{write_portion(share)}"] if share is not None else []
    limits += [f"+{write_mass_rate(step)}"] if step is not None else []
    limit = " and ".join(limits)
    severity: Severity = "soft" if times == 2 else "hard"
    return _step_finding(what.format(entry.name), old, dose, limit, severity, _path_of_most(new))


def _judge_down(entry: FormularyEntry, current: PumpProgram, new: PumpProgram) -> Finding | None:
    share = entry.titration.down_share
    if share is None:
        return None
    old = largest_basal(current.basal, DAY_MS) * concentration_in(current.drugs, entry.name)
    dose = largest_basal(new.basal, DAY_MS) * concentration_in(new.drugs, entry.name)
    times = _times((old - dose) * MILLION, share * old)
    if times <= 1:
        return None
    what, limit = f"a day's basal of {entry.name}", f"-{write_portion(share)}"
    before, after = Femtograms(old // DAY_MS), Femtograms(dose // DAY_MS)
    path = _path_of_most(new) if dose else "drugs"
    return _step_finding(what, before, after, limit, "soft", path, f"{entry.withdrawal} ")


def _times(change: int, step: int) -> int:
    """How many steps a change begins: 0 or 1 within one step, 2 within two, 3 beyond."""
    if change <= 0:
        return 0
    return 3 if change > 2 * step else 2 if change > step else 1


def _step_finding(
    what: str,
    old: Femtograms,
    new: Femtograms,
    limit: str,
    severity: Severity,
    path: str,
    also: str = "",
) -> Finding:
    unit = mass_unit_for(min(old, new) or max(old, new))
    value = step_words(old, new)
    message = (
        f"{what} goes from {write_mass(_whole_nanograms(old), unit)} to "
        f"{write_mass(_whole_nanograms(new), unit)}, {value}. {also}One step is at most {limit}"
    )
    if severity == "hard":
        message += ", and this is more than two"
        hint = "check unit and period of the rate; if it is meant, go there in smaller steps"
    else:
        hint = "check unit and period of the rate; or a reason: --override SR-06 --reason TEXT"
    return Finding("SR-06", severity, path, message, value, limit, "formulary", hint)


def _whole_nanograms(mass: Femtograms) -> Femtograms:
    return Femtograms(divide_up(mass, MILLION) * MILLION)


def _path_of_most(program: PumpProgram) -> str:
    most = largest_flow(program)
    return f"basal[{next(i for i, step in enumerate(program.basal) if step.flow == most)}].rate"


# --- the clock -----------------------------------------------------------------------------------


def judge_clock(command: ProgramPump) -> list[Finding]:
    """SR-59: the clock of a pump whose program follows the hours of the day is right.

    Protects from a schedule that runs at other hours than the file says. Harm: such a program takes
    a reason; one flow for the whole day and no button asks nothing. Never hard, however far off: a
    host cannot set the pump's clock, so no way out would be left. Longest denial: none. Way out: a
    reason; a basal of one step.
    """
    program, evidence = command.program, command.evidence
    if evidence is None or abs(evidence.clock_ahead) <= CLOCK_TOLERANCE:
        return []
    if len(program.basal) <= 1 and program.patient_bolus is None:
        return []
    off = Milliseconds(divide_up(abs(evidence.clock_ahead), MINUTE_MS) * MINUTE_MS)
    ahead = evidence.clock_ahead > 0
    message = f"the pump's clock is {write_duration(off)} {'ahead' if ahead else 'behind'}"
    if off > DAY_MS:
        message += ": it is not set, and nobody knows at which hours its schedule would run"
    else:
        message += f": every step would come that much too {'early' if ahead else 'late'}"
    hint = "a basal of one step; or have the pump's clock set; or a reason: --override SR-59"
    return [Finding("SR-59", "soft", "basal", message, write_duration(off), "1 min", "rule", hint)]
