"""The judgement of a stimulator's storm: no current above what was granted, and none on its own."""

from collections.abc import Iterator
from typing import Any

from firmware_bridge.families.scs.physics import TEST_RATE_MHZ
from hil.storm import stage
from hil.storm.record import Record

RAMP_MS = 1_000
"""Every fall ends within a second."""
SLACK_MS = 50
CALM_MS = 12_000
"""How long nothing must have been amiss for an end of the lease to be the host's fault."""
PEOPLE = ("apply", "start", "amplitude", "switch", "measure", "stop", "look")


def judge_stimulator(record: Record) -> list[str]:
    """What only a stimulator can do wrong."""
    return [
        *_ceilings(record),
        *_balanced(record),
        *_wishes(record),
        *_lease(record),
        *_kept(record),
        *_stopped(record),
    ]


def _ceilings(record: Record) -> Iterator[str]:
    """No contact ever carries more than the ceiling that its program, or a measurement, has."""
    lines: list[dict[str, Any]] = list(record.witness.lines)
    for line in lines:
        if line["contact"] == "case":
            continue
        contact, current = int(line["contact"][1:]), abs(line["amplitude_uA"])
        if current > stage.ceiling_of(contact):
            yield (
                f"at {line['t_ms']} ms {current} uA flowed through E{contact}, and its ceiling is "
                f"{stage.ceiling_of(contact)} uA"
            )


def _balanced(record: Record) -> Iterator[str]:
    """No pulse leaves charge behind at any contact."""
    lines: list[dict[str, Any]] = list(record.witness.lines)
    for line in lines:
        if net := line.get("net_charge_pC", 0):
            yield f"at {line['t_ms']} ms {line['contact']} keeps {net} pC of each pulse"


def _wishes(record: Record) -> Iterator[str]:
    """The body is told to go where a person asked it to go, and nowhere else."""
    asked = {own: one for one in record.asked for own in one.ids}
    for deed in record.witness.deeds:
        one = asked.get(deed.id)
        if one is None:
            continue
        if deed.what == "set_targets" and one.what == "amplitude" and deed.value[0] != one.amount:
            yield f"id {deed.id}: {one.amount} uA were asked for, the target is {deed.value[0]} uA"
        if deed.what == "start" and one.what not in ("start", "switch"):
            yield f"id {deed.id}: the output was started for a request to {one.what}"
        if deed.what == "start" and deed.value[1][0] > stage.programs_amplitude(deed.value[0].name):
            yield f"id {deed.id}: started at {deed.value[1][0]} uA"


def _lease(record: Record) -> Iterator[str]:
    """Without a renewal the output is at zero once the lease and its ramp are over."""
    lease = stage.stimulator_profile().lease
    renewed = sorted(record.renewed)
    for begin, end in _flows(record):
        last = begin
        for at in (*(at for at in renewed if begin <= at <= end), end):
            if at - last > lease + RAMP_MS + SLACK_MS:
                yield f"the output flowed from {last} to {at} ms without a renewal of its lease"
            last = at


def _flows(record: Record) -> Iterator[tuple[int, int]]:
    """From each start of an output to the moment at which it is at zero for good."""
    live: set[str] = set()
    begun = -1
    starts = [deed.at for deed in record.witness.deeds if deed.what == "start"]
    lines: list[dict[str, Any]] = list(record.witness.lines)
    for line in lines:
        was = bool(live)
        flows = line["amplitude_uA"] and line["rate_mHz"] != TEST_RATE_MHZ
        (live.add if flows else live.discard)(line["contact"])
        if live and not was:
            begun = max((at for at in starts if at <= line["t_ms"]), default=line["t_ms"])
        elif was and not live and begun >= 0:
            yield begun, line["t_ms"]
    if live:
        yield begun, record.end


def _kept(record: Record) -> Iterator[str]:
    """While a host is in charge of a calm line, no output ends because its lease does."""
    rough = _rough(record)
    for deed in record.witness.deeds:
        if deed.what != "lease ended":
            continue
        begin = deed.at - CALM_MS
        in_charge = any(since <= begin and deed.at <= until for since, until in record.charges)
        if in_charge and not any(begin <= at <= deed.at for at in rough):
            yield f"at {deed.at} ms the lease ended, and its host was in charge of a calm line"


def _rough(record: Record) -> list[int]:
    """Every second in which something kept the host from renewing."""
    rough = {at for at, do, _ in record.events if do not in PEOPLE}
    weather: dict[str, tuple[int, int]] = {}
    # Each act has its event, which says when it came in the world: a host that slept is behind.
    for act, (at, _, _) in zip(record.plan.acts, record.events, strict=False):
        if act.do == "weather":
            begun, strength = weather.get(act.where, (0, 0))
            if strength:
                rough.update(range(begun, at, 1_000))
            weather[act.where] = (at, act.amount)
        elif act.do in ("cut", "unplug", "swap", "slow", "full", "sync"):
            rough.update(range(at, at + act.amount + 10_000, 1_000))
    for begun, strength in weather.values():
        if strength:
            rough.update(range(begun, record.end + 1_000, 1_000))
    return sorted(rough)


def _stopped(record: Record) -> Iterator[str]:
    """Who hears that a stop is confirmed has an output at zero, until somebody starts it again."""
    flows = list(_flows(record))
    for one in record.asked:
        if one.what != "stop" or one.told != "done":
            continue
        for begin, end in flows:
            if begin <= one.begun_at and end > one.told_at + SLACK_MS:
                yield f"request {one.number}: the stop was confirmed, and it flowed until {end} ms"
