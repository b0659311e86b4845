"""The formulary: the decisions of domain.md §3.1, and a lab's own file."""

from importlib.resources import files
from pathlib import Path

import pytest

from device_profiles.data_file import DataFileError
from device_profiles.formulary import StartLimits
from device_profiles.formulary_file import load_formulary
from device_profiles.notation import (
    parse_concentration,
    parse_mass,
    parse_mass_rate,
)

SHIPPED = files("device_profiles").joinpath("data", "formulary.yaml").read_text(encoding="utf-8")
MANUAL = Path(__file__).parents[2] / "docs" / "formulary.md"


def refused(tmp_path: Path, text: str) -> DataFileError:
    file = tmp_path / "lab.yaml"
    file.write_text(text)
    with pytest.raises(DataFileError) as caught:
        load_formulary(file)
    return caught.value


def test_only_drugs_with_an_intrathecal_infusion_label_ship() -> None:
    assert [entry.name for entry in load_formulary().entries] == [
        "morphine",
        "baclofen",
        "ziconotide",
    ]
    assert load_formulary().find("clonidine") is None


def test_morphine_has_the_limits_of_the_domain_page() -> None:
    morphine = load_formulary().find("morphine")
    assert morphine is not None
    assert morphine.needs_history
    assert morphine.per_day_soft == parse_mass("10 mg")
    assert morphine.per_day_hard == parse_mass("20 mg")
    assert morphine.stop_policy == "hold-basal"
    assert morphine.start == (
        StartLimits("opioid-naive", parse_mass_rate("0.2 mg/day"), parse_mass_rate("1 mg/day")),
        StartLimits("opioid-tolerant", parse_mass_rate("10 mg/day"), None),
    )


def test_ten_mg_per_ml_of_morphine_passes_and_the_next_lower_strength_does_not() -> None:
    morphine = load_formulary().find("morphine")
    assert morphine is not None
    assert parse_concentration("10 mg/mL") > morphine.concentration_above
    assert parse_concentration("9.999999 mg/mL") <= morphine.concentration_above


def test_baclofen_for_screening_is_refused_in_a_pump_and_its_stop_is_never_automatic() -> None:
    baclofen = load_formulary().find("baclofen")
    assert baclofen is not None
    assert baclofen.concentration_above == parse_concentration("50 mcg/mL")
    assert baclofen.concentration_max == parse_concentration("2000 mcg/mL")
    assert baclofen.per_day_soft == parse_mass("1000 mcg")
    assert baclofen.per_day_hard == parse_mass("2000 mcg")
    assert baclofen.stop_policy == "never-stop"
    assert "death" in baclofen.withdrawal


def test_ziconotide_has_the_limits_of_its_label() -> None:
    ziconotide = load_formulary().find("ziconotide")
    assert ziconotide is not None
    assert ziconotide.per_day_hard == parse_mass("19.2 mcg")
    assert ziconotide.start == (StartLimits(None, None, parse_mass_rate("2.4 mcg/day")),)
    assert ziconotide.concentration_max == parse_concentration("100 mcg/mL")
    assert ziconotide.stop_policy == "may-stop"


def test_no_label_limits_a_bolus_so_no_entry_does() -> None:
    assert all(entry.per_bolus_hard is None for entry in load_formulary().entries)


@pytest.mark.requirement("SR-11")
def test_an_entry_without_a_source_is_refused_with_line_and_column(tmp_path: Path) -> None:
    text = SHIPPED.replace('hard: {value: 20 mg, source: "', 'hard: {value: 20 mg, because: "')
    error = refused(tmp_path, text)
    finding = next(f for f in error.findings if f.rule == "FILE-06")
    line = text[: text.index("because")].count("\n") + 1
    assert (finding.path, finding.line) == ("drugs[0].per_day.hard.source", line)
    assert f"lab.yaml:{line}:7" in str(error)


@pytest.mark.requirement("SR-09")
@pytest.mark.fault("F23")
@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("soft: {value: 10 mg,", "soft: {value: 30 mg,", "drugs[0].per_day.soft.value"),
        ("soft: {value: 0.2 mg/day,", "soft: {value: 2 mg/day,", "drugs[0].start[0].soft.value"),
        ("hard: {value: 1 mg/day,", "hard: {value: 21 mg/day,", "drugs[0].start[0].hard.value"),
        ("soft: {value: 10 mg,", "soft: {value: 0 mg,", "drugs[0].per_day.soft.value"),
        ("soft: {value: 0.2 mg/day,", "soft: {value: 0 mg/day,", "drugs[0].start[0].soft.value"),
        ("hard: {value: 2.4 mcg/day,", "hard: {value: 0 mg/day,", "drugs[2].start[0].hard.value"),
        (
            "above: {value: 50 mcg/mL,",
            "above: {value: 3 mg/mL,",
            "drugs[1].concentration.up_to.value",
        ),
        ("history: opioid-tolerant", "history: opioid-naive", "drugs[0].start[1]"),
        ("name: ziconotide", "name: morphine", "drugs[2].name"),
    ],
)
def test_limits_that_contradict_each_other_are_refused_at_load(
    tmp_path: Path, old: str, new: str, path: str
) -> None:
    assert old in SHIPPED
    error = refused(tmp_path, SHIPPED.replace(old, new, 1))
    assert [(f.rule, f.path) for f in error.findings] == [("SR-09", path)]


@pytest.mark.requirement("SR-09")
def test_the_lowest_concentration_is_given_exactly_once(tmp_path: Path) -> None:
    lines = [line for line in SHIPPED.splitlines() if "from: {value: 10 mg/mL" not in line]
    error = refused(tmp_path, "\n".join(lines) + "\n")
    assert [(f.rule, f.path) for f in error.findings] == [("SR-09", "drugs[0].concentration")]


def test_a_formulary_that_is_not_there_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="there is no file"):
        load_formulary(tmp_path / "none.yaml")


def test_the_example_in_the_manual_is_a_formulary(tmp_path: Path) -> None:
    example = MANUAL.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    file = tmp_path / "lab.yaml"
    file.write_text(example)
    formulary = load_formulary(file)
    assert formulary.entries
    assert formulary.entries[0].per_bolus_hard is not None
