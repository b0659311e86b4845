"""Rules about what lies open: doubt, the journal, people's reasons, a device not looked at."""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from device_profiles.diagnostics import Finding
from device_profiles.notation import write_duration
from device_profiles.quantities import DAY_MS, MINUTE_MS, Milliseconds
from safety.commands import Command, Instant, MeasureImpedance, Override
from safety.events import Intended
from safety.state import Alert, PassedRule, StandingWaiver

TWO_PERSONS = ("SR-12", "SR-13", "SR-25")
"""Rules that one person's reason does not pass (domain 2.6: a concentration without a bridge, a
prime into a line that may hold drug)."""
OVERRIDES_ALONE = 2
"""How often in a day one rule may be passed by one person; the third time needs a second."""
OVERRIDE_MAX = Milliseconds(7 * DAY_MS)
"""The longest that a person's reason may stand before somebody looks again; own decision."""
ALERTS_MAX = 3
ALERTS_WITHIN = Milliseconds(10 * MINUTE_MS)
"""Alert, stop, start three times in ten minutes [Open PCA R6.5.0(18)]."""
LIMIT_RULES = ("SR-04", "SR-05", "SR-06", "SR-08", "SR-11", "SR-61", "SR-63")
"""Rules against too much: they may ask for a reason before a verified basal, never refuse it."""


def _hard(rule: str, path: str, message: str, hint: str | None = None) -> Finding:
    return Finding(rule=rule, severity="hard", path=path, message=message, hint=hint)


def judge_latch(latched: str | None) -> list[Finding]:
    """SR-56: no therapy while the journal cannot be trusted or written.

    Protects from doses that nobody remembers. Harm: boluses and changes are denied; the verified
    basal is not. Longest denial: until a person has looked. Way out: the reason says what to look
    at; stopping still works.
    """
    if latched is None:
        return []
    hint = (
        "stop still works. Look at it with `neuraxis journal verify`; once a person has understood "
        "it, keep that file and start another with --journal PATH: its windows count as full for "
        "a day"
    )
    return [_hard("SR-56", "journal", latched, hint)]


def judge_unsettled(unsettled: Sequence[Intended]) -> list[Finding]:
    """SR-23: no therapy while it is not known whether an earlier command was carried out.

    Protects from giving a dose twice. Harm: boluses and changes are denied; the verified basal is
    not. Longest denial: until the device answers. Way out: connect again; the device is asked what
    became of the id before anything else.
    """
    return [
        _hard(
            "SR-23",
            "journal",
            f"UNCERTAIN: it is not known whether {intent.command} (id {intent.id:#x}) was carried "
            "out; it counts as delivered",
            "connect again: the device is asked first, and a repeat is blocked until it answers",
        )
        for intent in unsettled
    ]


def judge_mri(*, in_mri: bool) -> list[Finding]:
    """SR-34: no therapy while the device is prepared for a magnetic field.

    Protects from programming a device that the field has stopped or upset. Harm: boluses and
    changes are denied until a person has looked; a pump's verified basal may be applied again.
    Longest denial: until then. Way out: `neuraxis mri leave`.
    """
    if not in_mri:
        return []
    text = "the device was prepared for a magnetic field and nobody has looked at it since"
    return [_hard("SR-34", "device", text, "run `neuraxis mri leave` once it is out of the field")]


def judge_patient(known: str | None, patient: str) -> list[Finding]:
    """SR-25: a pump's next program is for the patient of the one before, or two persons say why.

    Protects from another patient's file, and from totals that begin anew while windows hold doses.
    Harm: a pump that changes its patient takes two persons. Longest denial: until they are there.
    Way out: take the right file; name a second person.
    """
    if known is None or known == patient:
        return []
    text = f"the pump delivers for {known}, and the file is for {patient}"
    hint = "take the right file, or --override SR-25 --reason TEXT --second USER"
    return [Finding("SR-25", "soft", "patient", text, patient, known, hint=hint)]


def judge_id(ids: Sequence[int], intent_id: int) -> list[Finding]:
    """SR-20: an id stands for one intent; the same request again is not a second one.

    Protects from a double click and a program that repeats itself. Harm: none. Longest denial:
    none. Way out: ask anew, which makes a new id and is judged anew.
    """
    if intent_id not in ids:
        return []
    text = f"the id {intent_id:#x} was used before"
    return [_hard("SR-20", "id", text, "ask anew")]


def judge_approval(approved: int | None, epoch: int) -> list[Finding]:
    """SR-58: what was approved is void once anything has changed what the device shows.

    Protects from a dose that is right for what a person saw and wrong for what is (two operators).
    Harm: it has to be approved again. Longest denial: until then. Way out: plan again.
    """
    if approved is None or approved == epoch:
        return []
    text = "the device's state has changed since this was approved"
    return [_hard("SR-58", "plan", text, "make a new plan and read it again")]


def judge_attention(attention: str | None) -> list[Finding]:
    """SR-23: no bolus after a stall or an occlusion until a person has looked.

    Protects from a bolus on top of what has gathered behind an occlusion [TPLC T3(2)]. Harm: a
    bolus is denied; the basal goes on. Longest denial: until a person has looked. Way out:
    `neuraxis acknowledge`.
    """
    if attention is None:
        return []
    text = f"there was an alarm {attention}, and no person has looked at the pump since"
    return [_hard("SR-23", "bolus", text, "look at it, then run `neuraxis acknowledge`")]


def judge_cycle(alerts: Sequence[Alert], command: Command, now: Instant) -> list[Finding]:
    """SR-35: no start and no program after the same alarm came three times in ten minutes.

    Protects from starting again and again into a fault. Harm: therapy is denied, a pump's
    verified basal is not. Longest denial: ten minutes. Way out: look, then acknowledge.
    """
    if isinstance(command, MeasureImpedance):
        return []
    lately = [alert.code for alert in alerts if alert.at >= now.slow - ALERTS_WITHIN]
    return [
        _hard(
            "SR-35",
            "device",
            f"the alarm {code} came {lately.count(code)} times within ten minutes, each time after "
            "a new start",
            "look at the device, then run `neuraxis acknowledge`; or wait",
        )
        for code in dict.fromkeys(lately)
        if lately.count(code) >= ALERTS_MAX
    ]


def judge_fresh(
    seen: Milliseconds | None, now: Instant, stale_after: Milliseconds
) -> list[Finding]:
    """SR-52: no increase on the strength of an old state.

    Protects from deciding on what the device showed long ago. Harm: a command is denied until
    the device has answered. Longest denial: one poll. Way out: ask the device.
    """
    if seen is not None and 0 <= now.fast - seen <= stale_after:
        return []
    age = "was never seen" if seen is None else f"was seen {now.fast - seen} ms ago"
    return [_hard("SR-52", "device", f"the device's state {age}: it is stale", "ask it again")]


def judge_waivers(waivers: Sequence[StandingWaiver], now: Instant) -> list[Finding]:
    """SR-57: what a reason let pass ends with its time; until then a person looks again.

    Protects from an exception that nobody remembers. Harm: boluses and raises are denied, the
    basal goes on. Longest denial: until the file is applied again. Way out: apply it with a reason.
    """
    return [
        _hard(
            "SR-57",
            "device",
            f"the reason that let {waiver.rule} pass was good until "
            f"{write_duration(Milliseconds(now.slow - waiver.until))} ago",
            "apply the file again, with a reason",
        )
        for waiver in waivers
        if now.slow > waiver.until
    ]


def judge_override(
    findings: Sequence[Finding],
    override: Override | None,
    passed: Sequence[PassedRule] = (),
    now: Instant | None = None,
) -> tuple[Finding, ...]:
    """SR-57: the findings that stand against a command once a person's reason is counted.

    A hard finding always stands. A soft one stands unless a user names its rule, with a reason
    and a time until which it holds. A second person is needed where one is not enough: for
    `TWO_PERSONS`, and for the third override of one rule in a day. Protects from warnings that are
    clicked away. Harm: a right exception waits for a second person. Longest denial: until one is
    there. Way out: name one; correct the file.
    """
    if not _is_spoken(override):
        return tuple(findings)
    assert override is not None
    standing = [f for f in findings if f.severity != "soft" or f.rule not in override.rules]
    rules = dict.fromkeys(
        f.rule for f in findings if f.severity == "soft" and f.rule in override.rules
    )
    for rule in rules:
        day = now.slow - DAY_MS if now is not None else 0
        before = sum(one.rule == rule and one.at >= day for one in passed)
        standing += _judge_second(rule, before, override)
    return tuple(standing)


def _is_spoken(override: Override | None) -> bool:
    return override is not None and bool(override.reason.strip() and override.user.strip())


def _judge_second(rule: str, before: int, override: Override) -> list[Finding]:
    findings = []
    if not 0 < override.valid_for <= OVERRIDE_MAX:
        text = (
            f"a reason holds for more than nothing and at most {write_duration(OVERRIDE_MAX)}, "
            f"not {write_duration(override.valid_for)}"
        )
        findings.append(_hard("SR-57", "override", text))
    if _person(override.second or "") not in ("", _person(override.user)):
        return findings
    if rule in TWO_PERSONS:
        text = f"one person's reason does not pass {rule}"
        findings.append(_hard("SR-57", "override", text, "name a second person: --second USER"))
    elif before >= OVERRIDES_ALONE:
        text = f"{rule} was passed {before} times within a day: once more needs a second person"
        findings.append(_hard("SR-57", "override", text, "name a second person: --second USER"))
    return findings


def _person(name: str) -> str:
    """A name without what does not tell two people apart: case, spaces, marks, invisible signs."""
    return "".join(
        sign for sign in unicodedata.normalize("NFKC", name).casefold() if sign.isalnum()
    )


def passed_rules(findings: Sequence[Finding]) -> tuple[str, ...]:
    """The rules whose soft findings an admitted command was let pass."""
    return tuple(dict.fromkeys(f.rule for f in findings if f.severity == "soft"))


def softened(findings: Sequence[Finding]) -> list[Finding]:
    """SR-62: what a review says of a continuation: limits ask for a reason, they do not refuse.

    Protects a verified basal from a limit that was narrowed after it was verified. Harm: a dose
    above the new limit goes on, with a reason that is recorded. Longest denial: none; a reason will
    do. Way out: a lower program.
    """
    return [
        replace(one, severity="soft", hint="it is what the pump delivers already: a reason will do")
        if one.rule in LIMIT_RULES and one.severity == "hard"
        else one
        for one in findings
    ]
