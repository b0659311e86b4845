"""How far a dose may go at once and how long a drug lasts, as a formulary says it."""

from importlib.resources import files
from pathlib import Path

import pytest

from device_profiles.data_file import DataFileError
from device_profiles.formulary import Stability, Titration
from device_profiles.formulary_file import load_formulary
from device_profiles.notation import parse_duration, parse_mass_rate, parse_portion, write_portion

SHIPPED = files("device_profiles").joinpath("data", "formulary.yaml").read_text(encoding="utf-8")
MANUAL = Path(__file__).parents[2] / "docs" / "formulary.md"
UP = "up_share: {value: 40 %,"
FIRST = "first_fill: {value: 336 h,"


def refused(tmp_path: Path, old: str, new: str) -> DataFileError:
    """Why the shipped formulary with one change is refused."""
    assert old in SHIPPED
    file = tmp_path / "lab.yaml"
    file.write_text(SHIPPED.replace(old, new, 1))
    with pytest.raises(DataFileError) as caught:
        load_formulary(file)
    return caught.value


@pytest.mark.requirement("SR-06")
def test_only_sourced_steps_ship() -> None:
    steps = {entry.name: entry.titration for entry in load_formulary().entries}
    assert steps == {
        "morphine": Titration(),
        "baclofen": Titration(
            up_share=parse_portion("40 %"), down_share=parse_portion("20 %"), up_step=None
        ),
        "ziconotide": Titration(up_step=parse_mass_rate("2.4 mcg/day")),
    }


@pytest.mark.requirement("SR-18")
def test_only_times_without_a_conflict_of_sources_ship() -> None:
    times = {entry.name: entry.stability for entry in load_formulary().entries}
    assert times == {
        "morphine": None,
        "baclofen": None,
        "ziconotide": Stability(parse_duration("336 h"), parse_duration("960 h")),
    }


def test_the_manuals_own_file_has_steps_and_times(tmp_path: Path) -> None:
    block = MANUAL.read_text("utf-8").split("```yaml\n")[1].split("```")[0]
    file = tmp_path / "lab.yaml"
    file.write_text(block)
    (entry,) = load_formulary(file).entries
    assert entry.titration == Titration(
        parse_portion("30 %"), parse_mass_rate("0.5 mg/day"), parse_portion("20 %")
    )
    assert entry.stability == Stability(parse_duration("336 h"), parse_duration("720 h"))


@pytest.mark.requirement("SR-09")
@pytest.mark.requirement("SR-11")
@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (UP, "up_share: {value: 40,", "SR-01"),
        (UP, "up_share: {value: 0.4,", "SR-01"),
        (UP, "up_share: {value: -40 %,", "SR-03"),
        (UP, "up_share: {value: 40 mcg/day,", "SR-01"),
        (UP, "upshare: {value: 40 %,", "FILE-05"),
        ("down_share: {value: 20 %,", "down_share: {value: 100.0001 %,", "SR-09"),
        ("up_step: {value: 2.4 mcg/day,", "up_step: {value: 2.4 mcg,", "SR-01"),
        (FIRST, "first_fill: {value: 14,", "SR-01"),
        (FIRST, "first_fill: {value: 14 day,", "SR-01"),
        ("      first_fill:", "      second_fill:", "FILE-06"),
        ('source: "Prialt label: 14 days for the first fill of a pump; domain.md 2.5"}', "}", ""),
    ],
)
def test_a_step_or_a_time_that_is_not_written_right_or_has_no_source_is_refused(
    tmp_path: Path, old: str, new: str, rule: str
) -> None:
    findings = refused(tmp_path, old, new).findings
    assert findings
    assert not rule or rule in {finding.rule for finding in findings}
    assert all(finding.line > 0 for finding in findings)


def test_a_fall_by_all_of_a_dose_is_the_largest_there_is(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(SHIPPED.replace("down_share: {value: 20 %,", "down_share: {value: 100 %,"))
    baclofen = load_formulary(file).find("baclofen")
    assert baclofen is not None
    assert baclofen.titration.down_share == 1_000_000
    assert write_portion(baclofen.titration.down_share) == "100 %"
