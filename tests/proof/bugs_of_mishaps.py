"""Planted bugs of what happens around a pump: alarms, looks, stops, strangers, approvals, drugs."""

from dataclasses import replace
from typing import Any

from safety import fold, judgement, kernel, rules_open, state
from safety.commands import Ask, Instant
from safety.events import Cleared, Looked, Settled, Stopped
from safety.kernel import Record
from safety.state import State

from .bugs_of_guards import the_basal_too
from .planting import COUNTING, DIFFERENTIAL, NUMBERING, REPLACING, Bug, nothing, put, together

_settled, _stopped, _looked, _cleared = fold.settled, fold.stopped, fold.looked, fold.cleared
_answer, _review = kernel._answer, judgement._review
_intent, _starting = kernel._intent, judgement._starting


def nothing_was_overtaken(before: State, event: Stopped) -> State:
    return replace(_stopped(before, event), overtaken=())


def replaced_is_forgotten(before: State, event: Settled) -> State:
    return replace(_settled(before, event), full_until=before.full_until)


def a_look_is_enough(before: State, event: Looked) -> State:
    return replace(_looked(before, event), attention=None)


def over_is_forgotten(before: State, event: Cleared) -> State:
    return replace(_cleared(before, event), full_until=before.full_until)


def full_from_its_alarm(now_state: State, now: Instant) -> Any:
    return now_state.full_until


def drugs_add_up(before: State, event: Settled) -> State:
    after = _settled(before, event)
    return replace(after, known_drugs=(*before.known_drugs, *after.known_drugs))


def never_a_first(command: Any, starting: tuple[str, ...]) -> Any:
    return _review(command, ())


def any_patient_is_used_to_it(before: State, patient: str, command: Any) -> tuple[str, ...]:
    return _starting(before, before.patient or patient, command)


def going_on_takes_over(before: State, ask: Ask, passed: tuple[str, ...]) -> Any:
    return replace(_intent(before, ask, passed), patient=ask.patient)


def going_on_is_counted(before: State, ask: Ask) -> Any:
    findings = judgement.judge(before, ask)
    objections = rules_open.judge_override(findings, ask.override, before.passed, ask.at)
    if objections:
        return (Record(kernel._rejected(ask, objections), durable=False),)
    return _answer(before, ask)


MISHAP_BUGS = (
    Bug("an id may be used twice", put(judgement, "judge_id", nothing), world=NUMBERING),
    Bug(
        "a stop forgets what is on its way",
        put(fold, "stopped", nothing_was_overtaken),
        world=COUNTING,
    ),
    Bug(
        "an unknown program is forgotten once it is replaced",
        put(fold, "settled", replaced_is_forgotten),
        world=REPLACING,
    ),
    Bug("another patient goes unnoticed", put(judgement, "judge_patient", nothing), DIFFERENTIAL),
    Bug(
        "what was approved never grows old", put(judgement, "judge_approval", nothing), DIFFERENTIAL
    ),
    Bug("no alarm asks for a look", put(judgement, "judge_attention", nothing), DIFFERENTIAL),
    Bug(
        "a look opens boluses though its alarm stands",
        put(fold, "looked", a_look_is_enough),
        DIFFERENTIAL,
    ),
    Bug(
        "unasked delivery is ignored",
        together(put(fold, "UNPLANNED_DELIVERY", ()), put(state, "UNPLANNED_DELIVERY", ())),
        DIFFERENTIAL,
    ),
    Bug(
        "unasked delivery counts from its alarm, not from its end",
        together(
            put(fold, "cleared", over_is_forgotten),
            put(judgement, "windows_full_until", full_from_its_alarm),
        ),
        DIFFERENTIAL,
    ),
    Bug(
        "windows are open while unasked delivery lasts",
        put(judgement, "windows_full_until", full_from_its_alarm),
        DIFFERENTIAL,
    ),
    Bug("the magnetic field is ignored", put(judgement, "judge_mri", nothing), DIFFERENTIAL),
    Bug(
        "a magnetic field takes the basal away",
        the_basal_too(lambda s: rules_open.judge_mri(in_mri=s.in_mri)),
        DIFFERENTIAL,
    ),
    Bug(
        "start after alarm after start is let pass",
        put(judgement, "judge_cycle", nothing),
        DIFFERENTIAL,
    ),
    Bug(
        "every drug that was ever given stays known",
        put(fold, "settled", drugs_add_up),
        DIFFERENTIAL,
    ),
    Bug(
        "what one patient is used to, another is",
        put(judgement, "_starting", any_patient_is_used_to_it),
        DIFFERENTIAL,
    ),
    Bug(
        "to go on makes it another patient's pump",
        put(kernel, "_intent", going_on_takes_over),
        DIFFERENTIAL,
    ),
    Bug(
        "who the patient is has to be said again every day",
        put(fold, "ONE_TIME", tuple(rule for rule in fold.ONE_TIME if rule != "SR-25")),
        DIFFERENTIAL,
    ),
    Bug(
        "no program is the first of a drug", put(judgement, "_review", never_a_first), DIFFERENTIAL
    ),
    Bug(
        "a narrower library takes the basal away",
        put(
            rules_open,
            "LIMIT_RULES",
            tuple(one for one in rules_open.LIMIT_RULES if one not in ("SR-08", "SR-11")),
        ),
        DIFFERENTIAL,
    ),
    Bug(
        "asking often takes the basal away",
        put(kernel, "_answer", going_on_is_counted),
        DIFFERENTIAL,
    ),
    Bug(
        "a name in other letters is a second person",
        put(rules_open, "_person", str),
        DIFFERENTIAL,
    ),
)
