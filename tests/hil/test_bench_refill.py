"""Refill and prime in a bench test's hands, watched by the monitor and witnessed by the truth."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_bench import BRIDGE, INFUSION, variant

from device_profiles.errors import Refused, UsageError
from hil.bench import Pump
from hil.witness import Truth

SEVEN_WEEKS = "1176 h"


@pytest.fixture
def quiet(pump: Pump) -> Iterator[Pump]:
    """A pump that raises no alarm."""
    yield pump
    assert [alarm.code for alarm in pump.alarms] == []


@pytest.mark.requirement("SR-12")
@pytest.mark.requirement("SR-54")
def test_a_bridge_is_watched_without_an_alarm_and_no_day_holds_more_than_the_dose(
    quiet: Pump, truth: Truth, tmp_path: Path
) -> None:
    quiet.apply("examples/infusion.yaml")
    quiet.wait(SEVEN_WEEKS)
    quiet.apply("examples/bridge.yaml")
    for _ in range(8):
        quiet.wait("12 h")
    assert truth.most_in("24 h", "morphine") <= "2.17501 mg"
    later = tmp_path / "later.yaml"
    later.write_text(variant(BRIDGE, ("2026-12-21", "2027-02-01"), ("7.3 mL", "17.6 mL")), "utf-8")
    with pytest.raises(Refused, match="nothing to bridge"):
        quiet.apply(later)


@pytest.mark.requirement("SR-13")
@pytest.mark.requirement("SR-54")
def test_a_prime_is_watched_without_an_alarm_and_given_once(
    quiet: Pump, truth: Truth, tmp_path: Path
) -> None:
    path = tmp_path / "unprimed.yaml"
    path.write_text(variant(INFUSION, ("primed: true", "primed: false")), "utf-8")
    quiet.apply(path)
    quiet.prime(over="1 h")
    quiet.wait("30 min")
    assert truth.mass("morphine") == "0 mg"
    quiet.wait("31 min")
    assert truth.mass("morphine") <= "0.11 mg"
    with pytest.raises(Refused, match="one prime"):
        quiet.prime(over="1 h")


@pytest.mark.requirement("SR-57")
def test_a_second_person_is_named_in_the_call(pump: Pump, tmp_path: Path) -> None:
    path = tmp_path / "unprimed.yaml"
    path.write_text(
        variant(INFUSION, ("primed: true", "primed: false"), ("2026-11-02", "2026-11-03")), "utf-8"
    )
    pump.apply("examples/infusion.yaml")
    rules = ("SR-13", "SR-19")
    with pytest.raises(Refused, match="one person's reason"):
        pump.apply(path, override=rules, reason="a new catheter")
    with pytest.raises(UsageError, match="reason"):
        pump.apply(path, override=rules, second="pharmacist")
    result = pump.apply(path, override=rules, reason="a new catheter", second="pharmacist")
    assert result.outcome == "delivered"
