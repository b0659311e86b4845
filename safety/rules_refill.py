"""Rules about a pump's fill: what the last one left, and how long this one lasts (SR-18, SR-19)."""

from device_profiles.diagnostics import Finding
from device_profiles.formulary import Stability
from device_profiles.notation import write_volume
from device_profiles.quantities import DAY_MS, MILLION, Milliseconds, NanoLitres
from safety.commands import ProgramPump, PumpEvidence
from safety.dose import can_be_bounded, days_to_alarm
from safety.outputs import PumpProgram
from safety.rules_bridge import hours_words

READING = NanoLitres(500_000)
"""How far a withdrawn volume may be misread (dead volume of needle and syringe, the scale of a
20 mL syringe): 0.5 mL; own decision."""
FRESH_DAYS = 7
"""A fresh fill that lasts no longer is no ordinary one [domain 4.5: 7 days left are an alarm]."""
LAST_DAYS = 1
"""A program that empties what is left of a fill sooner is no ordinary one; own decision."""

# --- the refill ----------------------------------------------------------------------------------


def is_new_fill(command: ProgramPump) -> bool:
    """Whether a file's fill is one that the pump has not counted yet, after one that it has."""
    evidence = command.evidence
    return evidence is not None and 0 < evidence.fill_at_ms < command.program.fill_at_ms


def refill_tolerance(
    current: PumpProgram | None, command: ProgramPump, evidence: PumpEvidence
) -> NanoLitres:
    """How far a withdrawn volume may part from what the pump counts as left.

    The accuracy of what the pump counts as delivered of the old fill, and `READING`. Of a fill
    that this host does not know, up to a whole reservoir may have been delivered.
    """
    known = current is not None and current.fill_at_ms == evidence.fill_at_ms
    filled = current.fill_volume if known and current else command.profile.reservoir
    delivered = max(0, filled - evidence.reservoir)
    return NanoLitres(delivered * command.profile.accuracy // MILLION + READING)


def judge_refill(current: PumpProgram | None, command: ProgramPump) -> list[Finding]:
    """SR-12, SR-19: at a refill, what was withdrawn is compared with what the pump counts as left.

    Protects from a pump that gave more or less than it counted (accident B3), from a fill that
    nobody counted, and from one of which nobody knows the mix. Harm: a refill takes a reason.
    Longest denial: none; the pump goes on with its basal, and a reason lets the refill pass. Way
    out: the volume in the syringe goes into `fill.withdrawn`; a difference is looked into.
    """
    program, evidence = command.program, command.evidence

    def ask(path: str, message: str, hint: str, value: str | None = None) -> list[Finding]:
        return [Finding("SR-19", "soft", path, message, value, None, "rule", hint)]

    if evidence is not None and program.fill_at_ms < evidence.fill_at_ms:
        message = "the file's fill is older than the one that the pump counts from"
        if current is not None and current.fill_at_ms >= evidence.fill_at_ms:
            return ask("fill.at", message, "check the date; or a reason, if the old file is meant")
        message += ", and no verified program says what that fill brought into it"
        hint = "apply the file of that fill; or two persons look up what is in the pump"
        return [Finding("SR-12", "soft", "fill.at", message, None, None, "rule", hint)]
    if evidence is None or not is_new_fill(command):
        return []
    expected, withdrawn = evidence.reservoir, command.therapy.fill.withdrawn
    if withdrawn is None:
        message = (
            "the file does not say what was withdrawn before this refill; the pump counts "
            f"{write_volume(expected)} as left"
        )
        hint = "add withdrawn: under fill, as read on the syringe"
        return ask("fill.withdrawn", message, hint)
    tolerance = refill_tolerance(current, command, evidence)
    difference = withdrawn - expected
    if abs(difference) <= tolerance:
        return []
    less = difference < 0
    what = "it gave more than it counted" if less else "it gave less than it counted"
    danger = "over-infusion" if less else "under-infusion"
    message = (
        f"{write_volume(withdrawn)} were withdrawn, and the pump counts {write_volume(expected)} "
        f"as left; within its accuracy they agree to {write_volume(tolerance)}. Either the syringe "
        f"was misread, or {what}: {danger}"
    )
    hint = "look at the person and the pump; then a reason: --override SR-19 --reason TEXT"
    return ask("fill.withdrawn", message, hint, write_volume(withdrawn))


# --- the days left -------------------------------------------------------------------------------


def stability_of(command: ProgramPump) -> tuple[str, Milliseconds] | None:
    """The drug of the mix that keeps its strength for the shortest time in a fresh fill."""
    first = command.evidence is not None and command.evidence.fill_at_ms == 0
    found = (command.formulary.find(drug.name) for drug in command.program.drugs)
    times = [(one.name, _kept(one.stability, first)) for one in found if one and one.stability]
    return min(times, key=lambda one: one[1], default=None)


def _kept(stability: Stability, first: bool) -> Milliseconds:
    return stability.first_fill if first else stability.later_fill


def volume_left(command: ProgramPump) -> NanoLitres | None:
    """What is in the reservoir, by the pump's own count; ``None``: the file's fill is fresh."""
    evidence = command.evidence
    if evidence is None or evidence.fill_at_ms != command.program.fill_at_ms:
        return None
    return evidence.reservoir


def judge_days(command: ProgramPump) -> list[Finding]:
    """SR-18: the next refill is not due sooner than people plan for.

    In the worst case: all boluses, the top of the pump's accuracy, and no longer than a drug keeps
    its strength. Protects from a pump that runs dry unnoticed, and from a flow that empties it at
    once (accident A2). Harm: a fill that is meant to be short takes a reason. Longest denial: none;
    a reason lets it pass. Way out: a larger fill, a higher concentration, or the reason.
    """
    program = command.program
    if command.evidence is None or not can_be_bounded(program):
        return []
    left = volume_left(command)
    worst = days_to_alarm(program, command.profile.accuracy, left).worst_centi
    least = FRESH_DAYS if left is None else LAST_DAYS
    kept = stability_of(command) if left is None else None
    if kept is not None and kept[1] < least * DAY_MS:
        message = f"{kept[0]} keeps its strength for {hours_words(kept[1])} in this fill"
        hint = "plan the refill; then a reason: --override SR-18 --reason TEXT"
        return [Finding("SR-18", "soft", "fill.at", message, None, None, "formulary", hint)]
    if worst is None or worst >= least * 100:
        return []
    days = days_words(worst)
    message = (
        f"at the worst the pump comes to its low reservoir alarm in {days}, "
        f"{'a fresh fill' if left is None else f'with {write_volume(left)} left'}; less than "
        f"{least} d is no ordinary plan"
    )
    hint = "check unit and period of the rate; then plan the refill and give a reason"
    return [
        Finding("SR-18", "soft", "fill.volume", message, days, f"{least} d", "rule", hint),
    ]


def days_words(centi_days: int) -> str:
    """Hundredths of days as people write them."""
    return f"{centi_days // 100}.{centi_days % 100:02} d"
