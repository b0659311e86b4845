"""What a device must show before it counts as out of a magnetic field (SR-34), at every border."""

from dataclasses import replace
from typing import Any

import pytest
from kernel_bench import IDENTITY, MINUTE, Story, bolus_nl, instant, programmed, pump_case, rules

from device_profiles.profile import MriProcedure
from device_profiles.quantities import Milliseconds, NanoLitres, PartsPerMillion
from safety.commands import GiveBolus, ProgramPump
from safety.events import BeforeField, MriEntered, MriLeft
from safety.rules_mri import AfterField, judge_leave, missed

BEFORE = BeforeField(IDENTITY, 1, 7, Milliseconds(0), NanoLitres(0), halted=False)
AFTER = AfterField(IDENTITY, 1, True, (), Milliseconds(0))
BOTH = pytest.mark.parametrize("procedure", ["output-off", "rotor-stalls"])


def found(
    procedure: MriProcedure, before: BeforeField | None = BEFORE, **after: Any
) -> list[tuple[str, str]]:
    return [
        (one.rule, one.severity) for one in judge_leave(before, replace(AFTER, **after), procedure)
    ]


@pytest.mark.requirement("SR-34")
@BOTH
def test_a_device_that_is_itself_again_may_leave(procedure: MriProcedure) -> None:
    assert found(procedure) == found(procedure, before=None) == []


@pytest.mark.requirement("SR-34")
@pytest.mark.requirement("SR-25")
@BOTH
@pytest.mark.parametrize("field", ["serial", "model", "family", "firmware", "calibration"])
def test_any_other_device_stays_in(procedure: MriProcedure, field: str) -> None:
    change: dict[str, Any] = {field: "another"}
    other = replace(IDENTITY, **change)
    assert found(procedure, identity=other) == [("SR-25", "hard")]


@pytest.mark.requirement("SR-34")
@BOTH
@pytest.mark.parametrize("name", ["motor-stall", "mri-mode", "low-battery-reset", "pump-stopped"])
def test_what_the_field_does_to_a_device_has_to_be_over(procedure: MriProcedure, name: str) -> None:
    assert found(procedure, alarms=(name,)) == [("SR-34", "hard")]
    assert found(procedure, before=None, alarms=(name,)) == [("SR-34", "hard")]


@pytest.mark.requirement("SR-34")
@BOTH
@pytest.mark.parametrize(
    "name", ["magnet", "lease-ended", "out-of-compliance", "open-contact", "low-reservoir"]
)
def test_an_alarm_that_only_a_start_or_a_refill_ends_locks_nobody_in(
    procedure: MriProcedure, name: str
) -> None:
    assert found(procedure, alarms=(name,)) == []


@pytest.mark.requirement("SR-34")
def test_a_pump_that_was_halted_before_may_leave_halted() -> None:
    halted = replace(BEFORE, halted=True)
    assert found("rotor-stalls", halted, alarms=("pump-stopped",)) == []
    assert found("rotor-stalls", halted, alarms=("motor-stall",)) == [("SR-34", "hard")]


@pytest.mark.requirement("SR-34")
@pytest.mark.requirement("SR-22")
@pytest.mark.parametrize(
    ("procedure", "severity"), [("output-off", "soft"), ("rotor-stalls", "hard")]
)
@pytest.mark.parametrize("after", [{"verified": False}, {"programs": 0}])
def test_a_program_that_is_gone_or_another_one_is_told(
    procedure: MriProcedure, severity: str, after: dict[str, Any]
) -> None:
    """A pump gets its basal back first; a stimulator starts nothing anyway."""
    assert found(procedure, **after) == [("SR-22", severity)]
    assert found(procedure, before=None, **after) == []


@pytest.mark.requirement("SR-34")
@pytest.mark.requirement("SR-59")
@BOTH
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("off", "asks"), [(59_999, False), (60_000, False), (60_001, True)])
def test_a_clock_is_right_to_a_minute(
    procedure: MriProcedure, sign: int, off: int, asks: bool
) -> None:
    expected = [("SR-59", "soft")] if asks else []
    assert found(procedure, clock_ahead=Milliseconds(sign * off)) == expected


@pytest.mark.requirement("SR-34")
def test_a_clock_that_is_not_ours_is_not_judged() -> None:
    assert found("rotor-stalls", clock_ahead=None) == []


@pytest.mark.requirement("SR-34")
@pytest.mark.parametrize(
    ("delivered", "expected"), [(854, 1), (855, 0), (856, 0), (2_000, 0), (0, 855)]
)
def test_what_is_missing_is_counted_from_the_least_that_the_accuracy_allows(
    delivered: int, expected: int
) -> None:
    """1,000 nL were due; at 14.5 % less they are 855."""
    due = 1_000 * 86_400_000
    assert missed(due, NanoLitres(delivered), PartsPerMillion(145_000)) == expected


# --- the kernel meanwhile -----------------------------------------------------------------------


def prepared() -> Story:
    story = programmed()
    story.now = 10 * MINUTE
    story.tell(MriEntered(instant(story.now), "tester", "come back", BEFORE))
    return story


@pytest.mark.requirement("SR-34")
@pytest.mark.parametrize("restarted", [False, True])
def test_boluses_and_changes_are_refused_until_it_is_out_and_the_plan_is_kept(
    restarted: bool,
) -> None:
    story = prepared()
    if restarted:
        story.restart()
    assert story.state.mri is not None
    assert (story.state.mri.restore, story.state.mri.before) == ("come back", BEFORE)
    assert "SR-34" in rules(story.ask(bolus_nl(1)))
    assert "SR-34" in rules(story.ask(pump_case(basal=((0, 7 * 24_000),)).command))
    story.tell(MriLeft(instant(story.now), "tester", "itself again"))
    assert story.state.mri is None
    assert rules(story.ask(bolus_nl(1))) == []


@pytest.mark.requirement("SR-34")
@pytest.mark.requirement("SR-62")
def test_the_verified_basal_is_never_refused_for_a_field() -> None:
    story = prepared()
    again: ProgramPump | GiveBolus = pump_case().command
    assert rules(story.ask(again)) == []
