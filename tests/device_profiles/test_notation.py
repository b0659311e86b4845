"""Quantities as people write them (design §4, SR-01 to SR-03, golden vector 8.10)."""

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles import notation
from device_profiles.notation import NotationError
from device_profiles.quantities import (
    Femtograms,
    FemtogramsPerDay,
    MicroAmps,
    MilliHertz,
    Milliseconds,
    NanogramsPerMillilitre,
    flow_for,
)

PARSERS: dict[str, Callable[[str], int]] = {
    "current": notation.parse_current,
    "width": notation.parse_width,
    "duration": notation.parse_duration,
    "frequency": notation.parse_frequency,
    "volume": notation.parse_volume,
    "mass": notation.parse_mass,
    "concentration": notation.parse_concentration,
    "mass_rate": notation.parse_mass_rate,
    "flow": notation.parse_flow,
    "voltage": notation.parse_voltage,
    "impedance": notation.parse_impedance,
    "area": notation.parse_area,
    "slope": notation.parse_slope,
    "charge_density": notation.parse_charge_density,
    "charge_rate": notation.parse_charge_rate,
    "tolerance": notation.parse_tolerance,
    "portion": notation.parse_portion,
    "count": notation.parse_count,
    "share": notation.parse_share,
    "minute_of_day": notation.parse_minute_of_day,
    "hundredths": notation.parse_hundredths,
}
ONLY_READ = {"area", "tolerance"}
"""Quantities of a profile that no message writes back."""
LARGEST = {"share": 999, "minute_of_day": 1_439, "hundredths": 9_999}


def refused(kind: str, text: str) -> NotationError:
    with pytest.raises(NotationError) as caught:
        PARSERS[kind](text)
    return caught.value


@pytest.mark.requirement("SR-02")
@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("current", "4.2 mA", 4_200),
        ("current", "0 mA", 0),
        ("width", "210 us", 210),
        ("width", "0.21 ms", 210),
        ("duration", "3 s", 3_000),
        ("duration", "10 min", 600_000),
        ("duration", "4 h", 14_400_000),
        ("duration", "250 ms", 250),
        ("frequency", "50 Hz", 50_000),
        ("frequency", "10 kHz", 10_000_000),
        ("volume", "18 mL", 18_000_000),
        ("volume", "0.286 mL", 286_000),
        ("mass", "0.15 mg", 150_000_000_000),
        ("mass", "60 mcg", 60_000_000_000),
        ("concentration", "10 mg/mL", 10_000_000),
        ("concentration", "500 mcg/mL", 500_000),
        ("mass_rate", "2.4 mg/day", 2_400_000_000_000),
        ("mass_rate", "0.1 mg/h", 2_400_000_000_000),
        ("mass_rate", "60 mcg/h", 1_440_000_000_000),
        ("share", "-100 %", -100),
        ("share", "+60 %", 60),
        ("count", "5", 5),
        ("minute_of_day", "07:00", 420),
        ("minute_of_day", "23:59", 1_439),
        ("tolerance", "14.5 %", 145_000),
        ("portion", "40 %", 400_000),
        ("hundredths", "1.85", 185),
    ],
)
def test_a_quantity_is_read_exactly_in_base_units(kind: str, text: str, value: int) -> None:
    assert PARSERS[kind](text) == value


@pytest.mark.requirement("SR-02")
@pytest.mark.vector("V8.10")
def test_golden_vector_8_10_units_are_exact() -> None:
    assert notation.parse_flow("0.048 mL/day") == 48_000
    assert notation.parse_flow("28.8 mL/day") == 28_800_000
    rate = notation.parse_mass_rate("2.5 mg/day")
    strength = notation.parse_concentration("10 mg/mL")
    assert flow_for(rate, strength) == 250_000
    assert flow_for(rate, strength) * strength == rate
    assert notation.parse_mass("1 mg") == 1_000_000 * 1_000_000  # 1,000,000 ng in fg
    assert notation.parse_mass_rate("2.4 mcg/day") == notation.parse_mass_rate("0.1 mcg/h")


@pytest.mark.vector("V8.1")
def test_accident_a1_sixty_mcg_an_hour_is_no_sixty_mcg_a_day() -> None:
    assert notation.parse_mass_rate("60 mcg/h") == notation.parse_mass_rate("1440 mcg/day")


@pytest.mark.requirement("SR-01")
@pytest.mark.requirement("SR-02")
@pytest.mark.requirement("SR-03")
@pytest.mark.fault("F2")
@pytest.mark.fault("F5")
@pytest.mark.fault("F7")
@pytest.mark.fault("F9")
@pytest.mark.fault("F10")
@pytest.mark.parametrize(
    ("kind", "text", "rule"),
    [
        ("current", "4.2", "SR-01"),
        ("current", "", "SR-01"),
        ("current", "mA", "SR-01"),
        ("current", "4.2mA", "SR-01"),
        ("current", "4.2  mA", "SR-01"),
        ("current", " 4.2 mA", "SR-01"),
        ("current", "4.2 mA\n", "SR-01"),
        ("current", "4.2 MA", "SR-01"),
        ("current", "4.2 A", "SR-01"),
        ("current", "4.2 mg", "SR-01"),
        ("mass", "60 ug", "SR-01"),
        ("mass", "60 µg", "SR-01"),
        ("mass", "60 μg", "SR-01"),
        ("mass_rate", "60 mcg", "SR-01"),
        ("mass", "60 mcg/day", "SR-01"),
        ("count", "5 pulses", "SR-01"),
        ("current", "4.0001 mA", "SR-02"),
        ("width", "0.5 us", "SR-02"),
        ("share", "+33.3 %", "SR-02"),
        ("current", "nan mA", "SR-03"),
        ("current", ".nan", "SR-03"),
        ("current", "-inf mA", "SR-03"),
        ("current", "infinity mA", "SR-03"),
        ("current", "4,2 mA", "SR-03"),
        ("mass", "1,000 mcg", "SR-03"),
        ("mass", "1 000 mcg", "SR-03"),
        ("mass", "1_000 mcg", "SR-03"),
        ("mass", "1'000 mcg", "SR-03"),
        ("current", "1e3 mA", "SR-03"),
        ("current", "1E3 mA", "SR-03"),
        ("current", ".5 mA", "SR-03"),
        ("current", "5. mA", "SR-03"),
        ("current", "04 mA", "SR-03"),
        ("current", "00.5 mA", "SR-03"),
        ("current", "-4 mA", "SR-03"),
        ("current", "+4 mA", "SR-03"),
        ("current", "4.2.1 mA", "SR-03"),
        ("current", "４ mA", "SR-03"),
        ("current", "٤ mA", "SR-03"),
        ("current", "4.2\u00a0mA", "SR-03"),
        ("current", "4.2 m\u0410", "SR-03"),
        ("current", "1000000000 mA", "SR-03"),
        ("share", "60 %", "SR-03"),
        ("share", "\u2212100 %", "SR-03"),
        ("share", "+1000 %", "SR-03"),
        ("count", "5.0", "SR-03"),
        ("count", "-1", "SR-03"),
        ("count", "05", "SR-03"),
        ("count", "1e3", "SR-03"),
        ("count", "٤", "SR-03"),
        ("minute_of_day", "7:00", "SR-03"),
        ("minute_of_day", "24:00", "SR-03"),
        ("minute_of_day", "07:60", "SR-03"),
    ],
)
def test_what_the_grammar_refuses_names_its_rule(kind: str, text: str, rule: str) -> None:
    error = refused(kind, text)
    assert error.rule == rule
    assert error.message


@pytest.mark.requirement("SR-01")
@pytest.mark.fault("F9")
@pytest.mark.parametrize(
    ("kind", "text", "hint"),
    [
        ("mass", "60 ug", "write 60 mcg"),
        ("mass", "60 µg", "write 60 mcg"),
        ("mass", "60 MCG", "write 60 mcg"),
        ("current", "4.2 MA", "write 4.2 mA"),
        ("current", "4.2mA", "write 4.2 mA"),
        ("frequency", "50 hz", "write 50 Hz"),
        ("volume", "18 ML", "write 18 mL"),
        ("width", "210 µs", "write 210 us"),
        ("mass_rate", "60 mcg/hr", "write 60 mcg/h"),
        ("mass_rate", "2.4 mg/d", "write 2.4 mg/day"),
        ("share", "-100%", "write -100 %"),
    ],
)
def test_a_misspelt_unit_is_refused_with_the_line_to_write(kind: str, text: str, hint: str) -> None:
    assert refused(kind, text).hint == hint


@pytest.mark.requirement("SR-01")
@pytest.mark.fault("F9")
@pytest.mark.parametrize(
    ("kind", "text"),
    [("current", "4.2 A"), ("mass", "60 g"), ("frequency", "1 MHz"), ("duration", "5 m")],
)
def test_a_unit_of_another_magnitude_is_never_replaced_by_a_guess(kind: str, text: str) -> None:
    hint = refused(kind, text).hint or ""
    assert hint.startswith("its unit is")
    assert not re.search(r"[0-9]", hint)


@given(
    kind=st.sampled_from([kind for kind in PARSERS if kind not in LARGEST and kind != "count"]),
    number=st.from_regex(r"(0|[1-9][0-9]{0,4})(\.[0-9]{1,3})?", fullmatch=True),
    unit=st.text(max_size=8),
)
def test_a_hint_never_proposes_another_number(kind: str, number: str, unit: str) -> None:
    try:
        PARSERS[kind](f"{number} {unit}")
    except NotationError as error:
        if error.rule == "SR-01" and error.hint and error.hint.startswith("write "):
            written = re.fullmatch(r"write (\S+) (\S+)", error.hint)
            assert written is None or written[1] == number


@pytest.mark.requirement("SR-03")
@pytest.mark.fault("F6")
def test_a_number_of_absurd_length_is_refused_at_once() -> None:
    began = time.perf_counter()
    for kind in PARSERS:
        refused(kind, "9" * 10**6 + " mA")
        refused(kind, "0." + "0" * 10**6 + "1 mA")
    assert time.perf_counter() - began < 2


@pytest.mark.requirement("SR-03")
@given(kind=st.sampled_from(sorted(PARSERS)), text=st.text(max_size=80))
def test_any_text_is_a_quantity_or_a_refusal(kind: str, text: str) -> None:
    try:
        outcome: object = PARSERS[kind](text)
    except NotationError as error:
        outcome = error.rule
    assert isinstance(outcome, int) or outcome in ("SR-01", "SR-02", "SR-03")


@pytest.mark.requirement("SR-03")
@given(
    kind=st.sampled_from(sorted(PARSERS)),
    text=st.text(alphabet="0123456789.,eE+-_ mcgMAHzkhL/dayus%", max_size=14),
)
def test_any_near_miss_is_a_quantity_or_a_refusal(kind: str, text: str) -> None:
    try:
        value = PARSERS[kind](text)
    except NotationError:
        return
    assert value >= 0 or kind == "share"


@pytest.mark.requirement("SR-02")
@given(kind=st.sampled_from(sorted(PARSERS.keys() - ONLY_READ)), data=st.data())
def test_what_is_written_is_read_back_as_the_same_integer(kind: str, data: st.DataObject) -> None:
    largest = LARGEST.get(kind, 999_999_999)
    value = data.draw(st.integers(0, largest))
    if kind == "share":
        value *= data.draw(st.sampled_from([1, -1]))
    written: str = getattr(notation, f"write_{kind}")(value)
    assert PARSERS[kind](written) == value


@pytest.mark.requirement("SR-02")
@given(st.integers(0, 10**21 - 1))
def test_a_mass_of_any_size_is_written_and_read_back(value: int) -> None:
    assert notation.parse_mass(notation.write_mass(Femtograms(value))) == value
    rate = FemtogramsPerDay(value)
    assert notation.parse_mass_rate(notation.write_mass_rate(rate)) == value
    by_hour = notation.write_mass_rate_by_hour(rate)
    if not by_hour.startswith("about "):
        assert notation.parse_mass_rate(by_hour) == value


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (notation.write_current(MicroAmps(4_200)), "4.2 mA"),
        (notation.write_current(MicroAmps(0)), "0 mA"),
        (notation.write_frequency(MilliHertz(1_200_000)), "1200 Hz"),
        (notation.write_frequency(MilliHertz(10_000_000)), "10 kHz"),
        (notation.write_duration(Milliseconds(90_000)), "90 s"),
        (notation.write_duration(Milliseconds(14_400_000)), "4 h"),
        (notation.write_duration(Milliseconds(1_500)), "1.5 s"),
        (notation.write_mass(Femtograms(60_000_000_000)), "60 mcg"),
        (notation.write_mass(Femtograms(150_000_000_000), "mg"), "0.15 mg"),
        (notation.write_mass_rate(FemtogramsPerDay(2_400_000_000_000)), "2.4 mg/day"),
        (notation.write_mass_rate_by_hour(FemtogramsPerDay(2_400_000_000_000)), "0.1 mg/h"),
        (notation.write_mass_rate_by_hour(FemtogramsPerDay(10**12), "mg"), "about 0.042 mg/h"),
        (notation.write_concentration(NanogramsPerMillilitre(10_000_000)), "10 mg/mL"),
        (notation.write_concentration(NanogramsPerMillilitre(500_000)), "500 mcg/mL"),
    ],
)
def test_a_quantity_is_written_as_a_person_would(written: str, text: str) -> None:
    assert written == text
