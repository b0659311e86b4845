"""Rules about what lies between the reservoir and the tip, with its history: bridges, moves."""

from collections.abc import Sequence
from dataclasses import replace

from device_profiles.diagnostics import Finding
from device_profiles.formulary import Formulary
from device_profiles.notation import (
    mass_unit_for,
    write_duration,
    write_mass_rate,
    write_volume,
)
from device_profiles.profile import PumpProfile
from device_profiles.quantities import (
    DAY_MS,
    MILLION,
    MINUTE_MS,
    FemtogramsPerDay,
    Milliseconds,
    NanoLitres,
    divide_up,
)
from safety.commands import NOTHING, Instant, ProgramPump
from safety.dose import flow_at, largest_basal
from safety.outputs import Bridge, PumpProgram
from safety.rules_bridge import (
    basal_in,
    bridge_words,
    concentration_in,
    hours_words,
    is_same_mix,
    line_volume,
    mix_words,
)
from safety.rules_prime import judge_unprimed
from safety.state import LineMove


def _refuse(rule: str, path: str, message: str, hint: str) -> Finding:
    return Finding(rule=rule, severity="hard", path=path, message=message, source="rule", hint=hint)


def _ask_two(rule: str, path: str, message: str, hint: str) -> Finding:
    return Finding(rule=rule, severity="soft", path=path, message=message, source="rule", hint=hint)


# --- what moves in the line ----------------------------------------------------------------------


def bridge_end(
    program: PumpProgram,
    profile: PumpProfile,
    begun: Milliseconds,
    left: NanoLitres | None = None,
) -> Milliseconds | None:
    """The slow time by which a program's bridge has ended if nothing holds it up.

    At the smallest flow, with what a pump at the lower edge of its accuracy leaves behind; ``None``
    without a bridge. ``left`` is what a bridge that has begun already still has to move, by the
    pump's own count.
    """
    if program.bridge is None or left == 0:
        return None
    volume = program.bridge.volume if left is None else left
    flows = [step.flow for step in (*program.bridge.basal, *program.basal)]
    slowest = max(1, min(flows) * (MILLION - profile.accuracy))
    return Milliseconds(begun + divide_up(volume * DAY_MS * MILLION, slowest))


def flush_end(program: PumpProgram, profile: PumpProfile, begun: Milliseconds) -> Milliseconds:
    """The slow time by which a program without a bridge has pushed out all that the line held."""
    slowest = max(1, min(step.flow for step in program.basal) * (MILLION - profile.accuracy))
    volume = line_volume(program.catheter, profile)
    return Milliseconds(begun + divide_up(volume * DAY_MS * MILLION, slowest))


def is_line_still(moves: Sequence[LineMove], now: Instant) -> bool:
    """Whether every bridge and every prime has ended: a bridge by the pump's own word."""
    return all(move.has_ended(now) for move in moves)


def judge_line_is_still(
    moves: Sequence[LineMove], now: Instant, left: NanoLitres = NOTHING
) -> list[Finding]:
    """SR-12, SR-13: no bolus and no prime while a bridge or a prime may be under way.

    ``left`` is what the pump itself says that it still has to move. Protects from a bolus counted
    in the new concentration while the old one leaves the tip, and from one pushed out by a prime.
    Harm: a bolus is denied, the basal goes on. Longest denial: until the pump has told that the
    move is over. Way out: wait; `neuraxis status` shows what is left to move.
    """
    return _under_way(moves, now, left, "bolus")


def _under_way(
    moves: Sequence[LineMove], now: Instant, left: NanoLitres, path: str
) -> list[Finding]:
    last = max(
        (move for move in moves if not move.has_ended(now)),
        key=lambda move: move.latest_end,
        default=None,
    )
    if last is None and left <= 0:
        return []
    what = last.what if last else "bridge"
    text = f"a {what} may be under way"
    if left > 0:
        text += f": by the pump's count {write_volume(left)} are left to move"
    hint = "wait; `neuraxis status` shows what is left to move"
    if last is not None and last.latest_end > now.slow:
        wait = divide_up(last.latest_end - now.slow, MINUTE_MS) * MINUTE_MS
        hint = f"wait about {write_duration(Milliseconds(wait))}; {hint[6:]}"
    return [_refuse("SR-13" if what == "prime" else "SR-12", path, text, hint)]


def keeps_the_line(
    command: ProgramPump, old: PumpProgram, moves: Sequence[LineMove], now: Instant
) -> bool:
    """Whether a program asks nothing of the line that the one before did not.

    Another fill asks for a bridge or a prime of its own; the same fill may go on with its bridge,
    at the same flows or less of them, and may do without one that is over.
    """
    new = command.program
    still = is_line_still(moves, now) and _left(command) <= 0
    if new.catheter != old.catheter:
        return False
    if new.fill_at_ms == old.fill_at_ms and new.fill_volume != old.fill_volume:
        return False
    if new.fill_at_ms != old.fill_at_ms:
        return new.primed and new.bridge is None and still
    if old.primed and not new.primed:
        return False
    if new.bridge is None:
        return old.bridge is None or still
    return old.bridge is not None and _is_less_of(new.bridge, old.bridge)


def _left(command: ProgramPump) -> NanoLitres:
    return command.evidence.line_left if command.evidence else NOTHING


def _is_less_of(new: Bridge, old: Bridge) -> bool:
    borders = {step.start for step in (*new.basal, *old.basal)}
    return (
        new.drugs == old.drugs
        and new.volume == old.volume
        and all(flow_at(new.basal, minute) <= flow_at(old.basal, minute) for minute in borders)
    )


_SAME_FILE = "the file of this fill, with its bridge, goes on at any time"
_TWO_WAIVE = (
    "wait if the pump can; else two persons waive it, who know what its line holds: --override "
    "RULE --reason TEXT --second USER"
)


# --- bridges -------------------------------------------------------------------------------------


def judge_bridge(
    current: PumpProgram | None,
    command: ProgramPump,
    moves: Sequence[LineMove],
    now: Instant,
) -> list[Finding]:
    """SR-12, SR-13: another mix only over a bridge that is right, or a waiver of two persons.

    The bridge is computed anew from what the pump was last known to deliver, ``current``, and from
    the therapy; the file's must equal it. Protects from the old concentration at the new flow (up
    to the ratio of the two, for hours or days), and from a prime of a line that holds drug. Harm:
    a program waits while a bridge or a prime is under way. Longest denial: until the pump has told
    that it is over; a new fill never waits, since the pump may be empty. Way out: a bridge; the
    line flushed, and two persons' waiver; going on with what the pump delivers, or with less of it,
    is never asked.
    """
    new = command.program
    waiting = _under_way(moves, now, _left(command), "basal")
    if waiting and current is not None and new.fill_at_ms <= current.fill_at_ms:
        return [replace(one, hint=f"{one.hint}; {_SAME_FILE}") for one in waiting]
    findings = [replace(one, severity="soft", hint=_TWO_WAIVE) for one in waiting]
    findings += judge_unprimed(current, command)
    if current is None:
        if new.bridge is not None:
            message = (
                f"the file says that the line holds {mix_words(new.bridge.drugs)}; nobody here "
                "knows what this pump delivered before"
            )
            findings.append(_ask_two("SR-12", "bridge.from", message, "two persons look it up"))
        elif command.evidence is not None and command.evidence.fill_at_ms not in (
            0,
            new.fill_at_ms,
        ):
            message = "the pump was filled before, with what nobody here knows: it is in the line"
            findings.append(_ask_two("SR-12", "drugs", message, "two persons look it up"))
        return findings
    findings += _judge_same_volumes(current, new)
    if is_same_mix(current.drugs, new.drugs):
        if new.bridge is not None:
            message = f"the pump delivers {mix_words(current.drugs)} already: nothing to bridge"
            hint = "the bridge is over: take bridge: out of the file"
            findings.append(_refuse("SR-12", "bridge", message, hint))
        return findings
    if new.bridge is None:
        return [*findings, _without_bridge(current, command)]
    return [*findings, *_judge_right(current, new.bridge, command)]


def _judge_same_volumes(current: PumpProgram, new: PumpProgram) -> list[Finding]:
    """SR-13: what a prime and a bridge are measured by does not change with an edit of the file."""
    findings = []
    if new.catheter != current.catheter and new.bridge is None:
        message = (
            f"the catheter was {write_volume(current.catheter)} and is now "
            f"{write_volume(new.catheter)}: a prime and a bridge would move another volume"
        )
        findings.append(_ask_two("SR-13", "catheter.volume", message, "two persons look it up"))
    if new.fill_at_ms == current.fill_at_ms and new.fill_volume != current.fill_volume:
        message = (
            f"the fill of this very date was {write_volume(current.fill_volume)} and is now "
            f"{write_volume(new.fill_volume)}"
        )
        findings.append(_ask_two("SR-13", "fill.volume", message, "two persons look it up"))
    return findings


def _judge_right(current: PumpProgram, bridge: Bridge, command: ProgramPump) -> list[Finding]:
    """SR-12: a bridge that equals the one computed here."""
    new = command.program
    if new.fill_at_ms <= current.fill_at_ms:
        message = "a bridge belongs to a fill, and the file's is no newer than the pump's"
        hint = "write the date of the refill that brought the other mix into fill.at"
        return [_refuse("SR-12", "fill.at", message, hint)]
    if new.catheter != current.catheter:
        message = (
            f"the pump's program has a catheter of {write_volume(current.catheter)}, the file one "
            f"of {write_volume(new.catheter)}: what the bridge has to move is not certain"
        )
        hint = "correct the volume; for another catheter flush the line and take bridge: out"
        return [_refuse("SR-12", "catheter.volume", message, hint)]
    if not is_same_mix(bridge.drugs, current.drugs):
        message = (
            f"the file says that the line holds {mix_words(bridge.drugs)}; by the pump's program "
            f"it holds {mix_words(current.drugs)}"
        )
        return [_refuse("SR-12", "bridge.from", message, "look up what was in the pump before")]
    wanted = Bridge(
        current.drugs,
        basal_in(current.drugs, command.therapy),
        line_volume(current.catheter, command.profile),
    )
    if (bridge.basal, bridge.volume) == (wanted.basal, wanted.volume):
        return []
    message = f"the bridge is {bridge_words(bridge)}; it must be {bridge_words(wanted)}"
    return [_refuse("SR-12", "bridge", message, "compile the file again")]


def _without_bridge(current: PumpProgram, command: ProgramPump) -> Finding:
    message = "line and reservoir do not hold the same"
    if told := _unbridged(current, command.program, command.profile, command.formulary):
        message += f"; without a bridge {told}"
    if command.program.fill_at_ms == current.fill_at_ms:
        message += "; and the file names no newer fill that could have changed it"
    hint = (
        f"write bridge: {{from: {{{_as_written(current)}}}}} with the new fill; or flush the line, "
        "then two persons waive this: --override SR-12 --reason TEXT --second USER"
    )
    return _ask_two("SR-12", "drugs", message, hint)


def _as_written(program: PumpProgram) -> str:
    return ", ".join(f"{mix_words((drug,)).replace(' ', ': ', 1)}" for drug in program.drugs)


def _unbridged(
    current: PumpProgram, new: PumpProgram, profile: PumpProfile, formulary: Formulary
) -> str:
    """What would leave the tip, and for how long, if the new program met the old line."""
    daily = largest_basal(new.basal, DAY_MS) if new.basal else 0
    if daily <= 0:
        return ""
    line = line_volume(current.catheter, profile)
    time = hours_words(Milliseconds(divide_up(line * DAY_MS * DAY_MS, daily)))
    names = dict.fromkeys(drug.name for drug in (*new.drugs, *current.drugs))
    told = []
    for name in names:
        before, after = (concentration_in(mix, name) for mix in (current.drugs, new.drugs))
        given, wanted = (_whole_nanograms(daily * one) for one in (before, after))
        if before == after:
            continue
        unit = mass_unit_for(min(one for one in (given, wanted) if one > 0))
        dose = write_mass_rate(given, unit)
        if not wanted:
            told.append(f"{dose} of {name} for {time}, although it is none of the drugs")
            continue
        entry = formulary.find(name)
        harmless = entry is not None and entry.stop_policy == "may-stop"
        harm = "overdose" if given > wanted else "too little" if harmless else "withdrawal"
        percent = divide_up(before * 100, after) if given > wanted else before * 100 // after
        told.append(f"{dose} of {name} ({percent} %) for {time}: {harm}")
    return "; ".join(told)


def _whole_nanograms(mass: int) -> FemtogramsPerDay:
    """An integral over a day in fg/day x ms, as whole ng/day."""
    return FemtogramsPerDay(divide_up(mass, DAY_MS * MILLION) * MILLION)
