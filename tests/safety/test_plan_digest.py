"""A confirmation is for exactly what was shown, and for ten minutes."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from clinical_examples import FORMULARY, ITP, MORPHINE_DAY, NIGHT, SCS, WALKING, compiled
from hypothesis import given
from hypothesis import strategies as st
from kernel_bench import IDENTITY

from device_profiles.errors import Refused
from device_profiles.quantities import Milliseconds
from safety.limits import pump_limits
from safety.plan import PLAN_LIFE, PlanContent, confirm, plan_digest

MADE = Milliseconds(1_767_225_600_000)
LIMITS, _ = pump_limits(MORPHINE_DAY, FORMULARY)
PUMP = PlanContent((compiled(MORPHINE_DAY),), IDENTITY, (), LIMITS, ITP, "BENCH-012", 3, 0)
STIMULATOR = PlanContent((WALKING, NIGHT), IDENTITY, (b"walking",), None, SCS, "BENCH-007", 0, 0)


def at(offset: int) -> Milliseconds:
    return Milliseconds(MADE + offset)


# --- what it is a digest of ----------------------------------------------------------------------


def variants(value: Any) -> list[Any]:
    """Values that differ from one in a single leaf, each leaf once or twice."""
    if is_dataclass(value) and not isinstance(value, type):
        return [
            replace(value, **{one.name: changed})
            for one in fields(value)
            for changed in variants(getattr(value, one.name))
        ]
    if isinstance(value, tuple):
        changed = [
            (*value[:place], other, *value[place + 1 :])
            for place, one in enumerate(value)
            for other in variants(one)
        ]
        swapped = [value[::-1]] if value[::-1] != value else []
        return [*changed, *swapped, value[:-1] if value else (WALKING,)]
    if isinstance(value, bytes):
        return [value + b"x", b""]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, -value - 1]
    if isinstance(value, str):
        return [value + "x", ""] if value else ["x"]
    assert value is None, value
    return [0]


@pytest.mark.requirement("SR-58")
@pytest.mark.fault("F83")
@pytest.mark.parametrize("content", [PUMP, STIMULATOR], ids=["pump", "stimulator"])
def test_every_leaf_of_a_plan_changes_its_digest(content: PlanContent) -> None:
    digest = plan_digest(content, MADE)
    others = variants(content)
    assert len(others) > 100
    digests = {plan_digest(other, MADE) for other in others}
    assert digest not in digests
    assert len(digests) == len(set(map(repr, others)))
    for other in others[::7]:
        with pytest.raises(Refused, match="not of this plan"):
            confirm(digest, other, MADE)


def test_the_same_plan_has_the_same_digest() -> None:
    assert plan_digest(PUMP, MADE) == plan_digest(replace(PUMP), at(999))


# --- its life ------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-58")
@pytest.mark.fault("F38")
@pytest.mark.fault("F66")
@pytest.mark.parametrize(
    ("offset", "good"),
    [
        (0, True),
        (1, True),
        (PLAN_LIFE - 1_000, True),
        (PLAN_LIFE - 1, True),
        (PLAN_LIFE, True),
        (PLAN_LIFE + 1, False),
        (PLAN_LIFE + 1_000, False),
        (86_400_000, False),
        (-1, True),
        (-1_000, True),
        (-1_001, False),
        (-86_400_000, False),
    ],
)
def test_a_plan_is_good_for_ten_minutes_and_never_from_the_future(offset: int, good: bool) -> None:
    assert PLAN_LIFE == 600_000
    digest = plan_digest(PUMP, MADE)
    if good:
        confirm(digest, PUMP, at(offset))
    else:
        with pytest.raises(Refused, match="good for 10"):
            confirm(digest, PUMP, at(offset))


@pytest.mark.requirement("SR-58")
@pytest.mark.fault("F38")
@pytest.mark.fault("F66")
@pytest.mark.parametrize("later", [-1, 1, 599, 600, 10**6])
def test_the_time_of_a_digest_cannot_be_moved(later: int) -> None:
    code, _, seconds = plan_digest(PUMP, MADE).partition("-")
    moved = f"{code}-{int(seconds) + later}"
    with pytest.raises(Refused, match="not of this plan"):
        confirm(moved, PUMP, at(later * 1_000))


# --- garbage -------------------------------------------------------------------------------------

GOOD = plan_digest(PUMP, MADE)


@pytest.mark.requirement("SR-58")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: "",
        lambda one: "-",
        lambda one: one.upper(),
        lambda one: f" {one}",
        lambda one: f"{one}\n",
        lambda one: f"{one} ",
        lambda one: one[1:],
        lambda one: one.replace("-", ""),
        lambda one: one.replace("-", "--"),
        lambda one: one.replace("-", "-+"),
        lambda one: one.replace("-", "-0"),
        lambda one: one.partition("-")[0],
        lambda one: one.replace("1", "١"),
        lambda one: f"{one}0000",
        lambda one: f"0{one}",
    ],
)
def test_what_is_no_digest_is_refused_in_a_sentence(spoil: Callable[[str], str]) -> None:
    bad = spoil(GOOD)
    assert bad != GOOD
    with pytest.raises(Refused):
        confirm(bad, PUMP, MADE)


@given(st.one_of(st.text(), st.from_regex(r"[0-9a-f]{24}-[0-9]{1,12}")))
def test_nothing_but_the_digest_itself_is_accepted(text: str) -> None:
    if text == GOOD:
        return
    with pytest.raises(Refused):
        confirm(text, PUMP, MADE)


@pytest.mark.requirement("SR-58")
def test_every_changed_character_is_found() -> None:
    for place, old in enumerate(GOOD):
        for new in "0123456789abcdef-":
            if new != old:
                with pytest.raises(Refused):
                    confirm(GOOD[:place] + new + GOOD[place + 1 :], PUMP, MADE)
