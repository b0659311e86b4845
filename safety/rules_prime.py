"""Rules about the one prime of a fill: once, what the line surely takes, into an empty one."""

from collections.abc import Sequence

from device_profiles.diagnostics import Finding
from device_profiles.notation import (
    mass_unit_for,
    write_duration,
    write_flow,
    write_mass,
    write_volume,
)
from device_profiles.profile import PumpProfile
from device_profiles.quantities import (
    DAY_MS,
    MILLION,
    MINUTE_MS,
    Femtograms,
    Milliseconds,
    NanoLitres,
    NanoLitresPerDay,
    divide_up,
    flow_of_bolus,
    mass_of,
    widened,
)
from safety.commands import Instant, Prime, ProgramPump
from safety.dose import largest_flow
from safety.doubt import Reservation
from safety.limits import PumpLimits, missing_limit
from safety.outputs import PumpProgram
from safety.rules_bridge import line_volume
from safety.rules_windows import window_accounts
from safety.window_account import WindowAccount


def _refuse(rule: str, path: str, message: str, hint: str) -> Finding:
    return Finding(rule=rule, severity="hard", path=path, message=message, source="rule", hint=hint)


def prime_volume(catheter: NanoLitres, profile: PumpProfile) -> NanoLitres:
    """What a prime moves: the line, less what a pump at the top of its accuracy adds to it.

    More would leave the tip at once; what is missing the basal brings.
    """
    line = line_volume(catheter, profile)
    return NanoLitres(line * MILLION // (MILLION + profile.accuracy))


def pushed_out(current: PumpProgram, command: Prime) -> NanoLitres:
    """The most that a prime moves out of the tip: what the basal has put into the line before."""
    assert command.evidence is not None, "a prime without evidence is never granted"
    gone = max(0, current.fill_volume - command.evidence.reservoir)
    return NanoLitres(widened(gone, command.profile.accuracy))


def judge_unprimed(current: PumpProgram | None, command: ProgramPump) -> list[Finding]:
    """SR-13: a pump that has delivered is not said to have an empty line without two persons."""
    new, evidence = command.program, command.evidence
    if new.primed:
        return []
    delivered = current is not None and (current.primed or current.fill_at_ms != new.fill_at_ms)
    of_this_fill = new.fill_at_ms if current is not None else 0
    filled = evidence is not None and evidence.fill_at_ms not in (0, of_this_fill)
    if not (delivered or filled):
        return []
    volume = line_volume(new.catheter, command.profile)
    masses = " and ".join(
        f"{write_mass(mass_of(volume, drug.concentration))} of {drug.name}" for drug in new.drugs
    )
    message = (
        "the pump has delivered before, so its line holds drug, and the file says primed: false: "
        f"a prime would push {masses} out of the tip"
    )
    hint = (
        "write primed: true; after another catheter two persons let it pass: --override SR-13 "
        "--reason TEXT --second USER"
    )
    return [Finding("SR-13", "soft", "catheter.primed", message, source="rule", hint=hint)]


def judge_prime(
    current: PumpProgram | None,
    limits: PumpLimits | None,
    primed_fills: Sequence[Milliseconds],
    command: Prime,
) -> list[Finding]:
    """SR-13: the line is filled once for each fill, by exactly what it takes, while it is empty.

    Protects from a second prime, which is an overdose of the line's whole volume (accident B2), and
    from one that pushes out at once what the basal has put into the line. Harm: the first drug
    comes late, as the basal alone fills the line. Longest denial: until the next fill. Way out:
    wait; the basal fills the line by itself.
    """
    prime, profile = command.prime, command.profile
    path = "prime"
    if current is None or limits is None:
        text = "no program has been verified in this pump: a prime has nothing to be judged by"
        return [_refuse("SR-22", path, text, "apply the therapy file first")]
    wanted = prime_volume(current.catheter, profile)
    findings: list[Finding] = []
    if current.primed:
        line = line_volume(current.catheter, profile)
        doses = " and ".join(
            f"{write_mass(mass_of(line, drug.concentration))} of {drug.name}"
            for drug in current.drugs
        )
        text = f"by the program the line holds drug up to its tip: a prime would give {doses}"
        findings.append(_refuse("SR-13", path, text, "no prime is needed"))
    if prime.fill_at_ms != current.fill_at_ms:
        text = "the prime is for another fill than the program's"
        findings.append(_refuse("SR-13", path, text, "ask for it again"))
    if current.fill_at_ms in primed_fills:
        text = "this fill has had its one prime, whatever became of it"
        findings.append(_refuse("SR-13", path, text, "the basal fills the rest of the line"))
    if prime.volume != wanted:
        text = (
            f"a prime of {write_volume(prime.volume)}; tubing and catheter hold "
            f"{write_volume(line_volume(current.catheter, profile))}, which is "
            f"{write_volume(wanted)} by a pump at the top of its accuracy"
        )
        findings.append(_refuse("SR-13", path, text, "ask for exactly that volume"))
    findings += _judge_prime_flow(current, command)
    return findings


def _judge_prime_flow(current: PumpProgram, command: Prime) -> list[Finding]:
    """SR-13, SR-17: on top of the basal a prime stays within the device's largest flow."""
    prime, profile = command.prime, command.profile
    if prime.over <= 0:
        text = f"a prime takes time, not {write_duration(prime.over)}"
        return [_refuse("SR-13", "prime.over", text, "write how long it shall take")]
    flow = largest_flow(current) + flow_of_bolus(prime.volume, prime.over)
    if flow <= profile.flow_max:
        return []
    room = max(1, profile.flow_max - largest_flow(current))
    shortest = divide_up(divide_up(prime.volume * DAY_MS, room), MINUTE_MS) * MINUTE_MS
    limit = write_flow(profile.flow_max)
    text = (
        f"{write_volume(prime.volume)} over {write_duration(prime.over)} on top of the largest "
        f"basal is {write_flow(NanoLitresPerDay(flow))}; the device delivers at most {limit}"
    )
    hint = f"give it {write_duration(Milliseconds(shortest))} or longer"
    value = write_duration(prime.over)
    return [Finding("SR-13", "hard", "prime.over", text, value, limit, "device", hint)]


def judge_line_is_empty(
    current: PumpProgram,
    known: Sequence[PumpProgram],
    limits: PumpLimits,
    held: Sequence[Reservation],
    command: Prime,
    now: Instant,
) -> list[Finding]:
    """SR-13, SR-14: what the basal has put into the line leaves at once and fits every window.

    Protects from a prime that comes late, when the line holds drug already. Harm: as that of
    `judge_prime`. Longest denial: until the next fill. Way out: wait; the basal fills the line.
    """
    evidence = command.evidence
    if evidence is None or evidence.fill_at_ms != current.fill_at_ms:
        text = "the pump does not say how much of this fill has gone into the line already"
        return [_refuse("SR-13", "prime", text, "ask the pump again; apply the file first")]
    gone = pushed_out(current, command)
    findings = []
    for drug in limits.drugs:
        if drug.per_hour is None:
            findings.append(missing_limit("prime", drug.name, "per_hour"))
        mass = mass_of(gone, drug.concentration)
        for account in window_accounts(known, drug, mass, held, now):
            if account.is_over:
                findings.append(_too_late(account))
    return findings


def _too_late(account: WindowAccount) -> Finding:
    limit = account.limit
    unit = mass_unit_for(Femtograms(limit.value))
    value, most = write_mass(account.asked, unit), write_mass(Femtograms(limit.value), unit)
    text = (
        f"up to {value} of {account.drug} have gone into the line since the fill and would leave "
        f"the tip at once; with {write_mass(account.standing, unit)} of the basal and the button "
        f"and {write_mass(account.earlier, unit)} of {account.earlier_doses} the limit of "
        f"{account.window.words} is {most} (layer: {limit.source})"
    )
    hint = "it is too late for a prime: the basal fills the rest of the line"
    return Finding("SR-13", "hard", "prime", text, value, most, limit.source, hint)
