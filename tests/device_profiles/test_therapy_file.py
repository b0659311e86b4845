"""Therapy files: what is read, what is refused and where, and what is still judged."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.diagnostics import Finding
from device_profiles.document import parse_document
from device_profiles.therapy import InfusionTherapy, StimulationTherapy
from device_profiles.therapy_file import TherapyReading, read_therapy, reading_of

EXAMPLES = Path(__file__).parents[2] / "examples"
STIMULATION = (EXAMPLES / "stimulation.yaml").read_text()
INFUSION = (EXAMPLES / "infusion.yaml").read_text()


def read(text: str) -> TherapyReading:
    return reading_of(parse_document("therapy.yaml", text.encode()))


def changed(text: str, old: str, new: str) -> TherapyReading:
    assert old in text
    return read(text.replace(old, new, 1))


def found(reading: TherapyReading) -> list[tuple[str, str]]:
    return [(finding.rule, finding.path) for finding in reading.findings]


def only(reading: TherapyReading) -> Finding:
    assert len(reading.findings) == 1, reading.findings
    return reading.findings[0]


def test_the_stimulation_example_is_read_in_base_units() -> None:
    reading = read_therapy(EXAMPLES / "stimulation.yaml")
    therapy = reading.therapy
    assert reading.findings == ()
    assert isinstance(therapy, StimulationTherapy)
    assert therapy is reading.therapy_to_judge
    walking, night = therapy.programs
    assert (walking.rate, walking.ramp, therapy.start_with) == (50_000, 3_000, "walking")
    area = walking.areas[0]
    assert (area.amplitude, area.max_amplitude, area.pulse_width) == (4_200, 6_000, 210)
    assert [(e.contact, e.share) for e in area.electrodes] == [(3, -100), (4, 60), (5, 40)]
    assert walking.cycle is not None
    assert (walking.cycle.stimulate, walking.cycle.pause) == (30_000, 90_000)
    assert night.burst is not None
    assert (night.burst.pulses, night.burst.intra_rate) == (5, 500_000)


def test_the_infusion_example_is_read_in_base_units() -> None:
    therapy = read_therapy(EXAMPLES / "infusion.yaml").therapy
    assert isinstance(therapy, InfusionTherapy)
    assert therapy.timezone == "Europe/Berlin"
    assert therapy.fill.at_ms == 1_793_608_200_000
    assert [(step.start, step.rate) for step in therapy.basal] == [
        (420, 2_400_000_000_000),
        (1_320, 1_800_000_000_000),
    ]
    assert therapy.patient_bolus is not None
    assert therapy.patient_bolus.lockout == 14_400_000
    assert therapy.catheter.primed is True
    assert therapy.drugs[0].limits.per_4_hours == 1_000_000_000_000


def test_the_dangerous_example_is_sound_in_form_so_that_safety_must_refuse_it() -> None:
    assert read_therapy(EXAMPLES / "dangerous.yaml").therapy is not None


def test_contacts_are_ordered_and_the_case_comes_first() -> None:
    reading = changed(
        STIMULATION, "{E3: -100 %, E4: +60 %, E5: +40 %}", "{E5: -100 %, case: +100 %}"
    )
    assert isinstance(reading.therapy, StimulationTherapy)
    assert [e.contact for e in reading.therapy.programs[0].areas[0].electrodes] == [0, 5]


@pytest.mark.requirement("SR-01")
@pytest.mark.requirement("SR-03")
@pytest.mark.fault("F4")
@pytest.mark.fault("F9")
@pytest.mark.fault("F17")
@pytest.mark.parametrize(
    ("old", "new", "rule", "path", "line", "column"),
    [
        ("amplitude: 4.2 mA", "amplitude: 4.2", "SR-01", "programs[0].areas[0].amplitude", 10, 20),
        (
            "amplitude: 4.2 mA",
            "amplitude: 4,2 mA",
            "SR-03",
            "programs[0].areas[0].amplitude",
            10,
            20,
        ),
        ("amplitude: 4.2 mA", "amplitude:", "SR-01", "programs[0].areas[0].amplitude", 10, 9),
        (
            "amplitude: 4.2 mA",
            "amplitude: [4.2 mA]",
            "FILE-07",
            "programs[0].areas[0].amplitude",
            10,
            20,
        ),
        ("E4: +60 %", "E17: +60 %", "FILE-08", "programs[0].areas[0].electrodes.E17", 9, 34),
        ("E4: +60 %", "e4: +60 %", "FILE-08", "programs[0].areas[0].electrodes.e4", 9, 34),
        ("E4: +60 %", "E4: 60 %", "SR-03", "programs[0].areas[0].electrodes.E4", 9, 38),
        ("waveform: tonic", "waveform: Tonic", "FILE-07", "programs[0].waveform", 6, 15),
        ("rate: 50 Hz", "rate: 0 Hz", "SR-49", "programs[0].rate", 7, 11),
        ("pulses: 5", "pulses: 5.0", "SR-03", "programs[1].burst.pulses", 18, 21),
        ("start_with: walking", "start_with: nap", "FILE-08", "start_with", 27, 13),
        ("patient: BENCH-007", "patient: John-Smith", "FILE-07", "patient", 3, 10),
        ("patient: BENCH-007", "patient: BENCH", "FILE-07", "patient", 3, 10),
        ("device: scs-16", "device: scs-17", "FILE-08", "device", 2, 9),
        ("device: scs-16", "device: itp-20", "FILE-08", "device", 2, 9),
        ("name: night", "name: Night", "FILE-07", "programs[1].name", 16, 11),
        ("name: night", "name: walking", "FILE-07", "programs[1].name", 16, 11),
        ("    burst: {pulses: 5, intra_rate: 500 Hz}\n", "", "FILE-06", "programs[1].burst", 16, 5),
        ("waveform: burst", "waveform: tonic", "FILE-05", "programs[1].burst", 18, 5),
        (
            "cycle: {stimulate: 30 s, pause: 90 s}",
            "cycle: 30 s",
            "FILE-07",
            "programs[0].cycle",
            15,
            12,
        ),
        ("therapy: stimulation", "therapy: surgery", "FILE-07", "therapy", 1, 10),
        ("therapy: stimulation\n", "", "FILE-06", "therapy", 1, 1),
    ],
)
def test_a_slip_in_a_stimulation_file_is_refused_at_its_place(
    old: str, new: str, rule: str, path: str, line: int, column: int
) -> None:
    reading = changed(STIMULATION, old, new)
    finding = only(reading)
    assert (finding.rule, finding.path) == (rule, path)
    assert (finding.line, finding.column) == (line, column)
    assert reading.therapy is None


@pytest.mark.requirement("SR-01")
@pytest.mark.requirement("SR-03")
@pytest.mark.requirement("SR-08")
@pytest.mark.requirement("SR-16")
@pytest.mark.fault("F9")
@pytest.mark.fault("F22")
@pytest.mark.parametrize(
    ("old", "new", "rule", "path"),
    [
        ("timezone: Europe/Berlin", "timezone: Europe/Nowhere", "FILE-08", "timezone"),
        ("timezone: Europe/Berlin", "timezone: ../../etc/passwd", "FILE-08", "timezone"),
        ("timezone: Europe/Berlin", "timezone: europe/berlin", "FILE-08", "timezone"),
        ("timezone: Europe/Berlin\n", "", "FILE-06", "timezone"),
        ("history: opioid-tolerant", "history: tolerant", "FILE-07", "drugs[0].history"),
        ("per_hour: 0.4 mg", "per_hour: 0.4 mg/h", "SR-01", "drugs[0].limits.per_hour"),
        ("{morphine: 10 mg/mL}", "{}", "SR-08", "fill.vials.morphine"),
        ("{morphine: 10 mg/mL}", "{morphine: 0 mg/mL}", "SR-08", "fill.vials.morphine"),
        ("+01:00", "", "FILE-07", "fill.at"),
        ("2026-11-02", "2026-11-31", "FILE-07", "fill.at"),
        ("primed: true", "primed: yes", "FILE-07", "catheter.primed"),
        ("primed: true", "primed: True", "FILE-07", "catheter.primed"),
        ('from: "22:00"', 'from: "07:00"', "FILE-07", "basal[1].from"),
        ('from: "22:00"', 'from: "06:00"', "FILE-07", "basal[1].from"),
        ('from: "22:00"', 'from: "24:00"', "SR-03", "basal[1].from"),
        ('from: "22:00", ', "", "FILE-06", "basal[1].from"),
        ("rate: 2.4 mg/day", "rate: 2.4 mg", "SR-01", "basal[0].rate"),
        ("over: 10 min", "over: 0 s", "SR-16", "patient_bolus.over"),
        ("max_per_24h: 4", "max_per_24h: -4", "SR-03", "patient_bolus.max_per_24h"),
        ("    concentration: 10 mg/mL\n", "", "SR-08", "drugs[0].concentration"),
        ("name: morphine", "name: Morphine", "FILE-07", "drugs[0].name"),
    ],
)
def test_a_slip_in_an_infusion_file_is_refused(old: str, new: str, rule: str, path: str) -> None:
    reading = changed(INFUSION, old, new)
    assert (rule, path) in found(reading)
    assert reading.therapy is None


def test_an_unquoted_time_of_day_is_the_same_time() -> None:
    assert changed(INFUSION, '"07:00"', "07:00").findings == ()


def test_a_lone_basal_step_needs_neither_time_nor_time_zone() -> None:
    text = INFUSION.replace("timezone: Europe/Berlin\n", "").replace(
        '  - {from: "22:00", rate: 1.8 mg/day}\n', ""
    )
    reading = read(text.replace('from: "07:00", ', ""))
    assert isinstance(reading.therapy, InfusionTherapy)
    assert reading.therapy.basal[0].start == 0


def test_limits_history_and_patient_bolus_may_be_absent_for_safety_to_judge() -> None:
    lines = [
        line
        for line in INFUSION.splitlines()
        if not line.strip().startswith(("limits:", "history:", "patient_bolus:"))
    ]
    therapy = read("\n".join(lines) + "\n").therapy
    assert isinstance(therapy, InfusionTherapy)
    assert therapy.drugs[0].history is None
    assert therapy.drugs[0].limits.per_day is None
    assert therapy.patient_bolus is None


def test_zero_is_zero_and_is_left_to_safety() -> None:
    therapy = changed(INFUSION, "lockout: 4 h", "lockout: 0 s").therapy
    assert isinstance(therapy, InfusionTherapy)
    assert therapy.patient_bolus is not None
    assert therapy.patient_bolus.lockout == 0


@pytest.mark.requirement("SR-40")
@pytest.mark.fault("F20")
def test_a_missing_ceiling_is_a_matter_of_safety_and_points_at_its_area() -> None:
    lines = [line for line in STIMULATION.splitlines() if "max_amplitude: 6 mA" not in line]
    reading = read("\n".join(lines))
    finding = only(reading)
    assert (finding.rule, finding.severity, finding.source) == ("SR-40", "hard", "patient")
    assert finding.path == "programs[0].areas[0].max_amplitude"
    assert (finding.line, finding.column) == (9, 9)


def test_a_vial_of_a_drug_that_is_not_listed_refers_to_nothing() -> None:
    reading = changed(INFUSION, "{morphine: 10 mg/mL}", "{morphine: 10 mg/mL, baclofen: 1 mg/mL}")
    assert found(reading) == [("FILE-08", "fill.vials.baclofen")]


@pytest.mark.fault("F26")
def test_an_unknown_key_is_refused_at_itself_with_the_key_that_was_meant() -> None:
    reading = changed(STIMULATION, "cycle:", "cylce:")
    finding = only(reading)
    assert (finding.rule, finding.line, finding.column) == ("FILE-05", 15, 5)
    assert finding.hint == "did you mean cycle?"


def test_a_misspelt_drug_or_program_is_never_guessed() -> None:
    for finding in changed(INFUSION, "name: morphine", "name: morphin").findings:
        assert "morphine" not in str(finding.hint)
    hint = only(changed(STIMULATION, "start_with: walking", "start_with: wlking")).hint
    assert hint == "the programs are walking, night"


def test_all_findings_come_at_once_in_the_order_of_the_file() -> None:
    text = (
        STIMULATION.replace("4.2 mA", "4.2 MA")
        .replace("rate: 40 Hz", "rate: 40")
        .replace("start_with: walking", "start_with: nap")
        .replace("BENCH-007", "nobody")
    )
    reading = read(text + "extra: 1\n")
    assert found(reading) == [
        ("FILE-07", "patient"),
        ("SR-01", "programs[0].areas[0].amplitude"),
        ("SR-01", "programs[1].rate"),
        ("FILE-08", "start_with"),
        ("FILE-05", "extra"),
    ]


def test_what_can_still_be_read_is_handed_on_for_judging() -> None:
    reading = changed(STIMULATION, "name: walking", "name: Walking!")
    judged = reading.therapy_to_judge
    assert reading.therapy is None
    assert isinstance(judged, StimulationTherapy)
    assert [program.name for program in judged.programs] == ["night"]
    assert judged.start_with == "night"
    assert "programs[0]" in reading.left_out


def test_a_wrong_value_of_a_program_hides_no_judgement_of_its_other_values() -> None:
    reading = changed(STIMULATION, "rate: 50 Hz", "rate: 50")
    judged = reading.therapy_to_judge
    assert reading.therapy is None
    assert isinstance(judged, StimulationTherapy)
    assert [program.name for program in judged.programs] == ["walking", "night"]
    assert reading.left_out == ("programs[0].rate",)


def test_a_finding_of_safety_on_the_rest_points_at_the_original_line() -> None:
    reading = changed(STIMULATION, "name: walking", "name: Walking!")
    place = reading.place("programs[0].areas[0].amplitude")
    assert place == ("programs[1].areas[0].amplitude", 22, 20)
    judged = Finding("SR-41", "soft", "programs[0].areas[0].amplitude", "too much")
    assert found(reading)[0] == ("FILE-07", "programs[0].name")
    assert [f.path for f in reading.with_judgement([judged])] == [
        "programs[0].name",
        "programs[1].areas[0].amplitude",
        "start_with",
    ]


def test_what_safety_says_of_a_node_left_out_is_not_said_of_the_file() -> None:
    reading = changed(INFUSION, "per_hour: 0.4 mg", "per_hour: 0.4")
    absent = Finding("SR-05", "hard", "drugs[0].limits.per_hour", "no limit")
    other = Finding("SR-05", "hard", "drugs[0].limits.per_day", "too wide")
    rules = [(f.rule, f.path) for f in reading.with_judgement([absent, other])]
    assert rules == [("SR-01", "drugs[0].limits.per_hour"), ("SR-05", "drugs[0].limits.per_day")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("BENCH-012", "Jane Doe"),
        ("09:30+01:00", "09:30"),
        ("primed: true", "primed: yes"),
        ("timezone: Europe/Berlin", "timezone: Mars"),
        ("history: opioid-tolerant", "history: who-knows"),
        ("over: 10 min", "over: 10"),
        ("per_day: 4 mg", "per_day: 4mg"),
        ("  vials: {morphine: 10 mg/mL}", "  vials: {morphine: 10}"),
        ("catheter:", "colour: red\ncatheter:"),
    ],
)
def test_a_slip_beside_the_doses_hides_no_judgement_on_them(old: str, new: str) -> None:
    judged = changed(INFUSION, old, new).therapy_to_judge
    assert isinstance(judged, InfusionTherapy)
    assert len(judged.basal) == 2


def test_without_the_first_drug_there_is_nothing_to_judge() -> None:
    text = INFUSION.replace(
        "fill:", "  - {name: baclofen, concentration: 1 mg/mL}\nfill:", 1
    ).replace("10 mg/mL\n", "10\n", 1)
    assert read(text).therapy_to_judge is None


@pytest.mark.fault("F25")
@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n", "a: 1\n", "therapy:\n  - x\n"])
def test_a_file_of_another_shape_is_refused_and_nothing_is_judged(text: str) -> None:
    reading = read(text)
    assert reading.findings
    assert reading.therapy is None
    assert reading.therapy_to_judge is None


def test_a_file_that_is_not_there_is_told_apart_from_one_that_is_wrong(tmp_path: Path) -> None:
    assert not read_therapy(tmp_path / "none.yaml").readable
    assert changed(STIMULATION, "rate: 50 Hz", "rate: 50").readable


def test_an_alias_is_refused_once_and_not_as_a_missing_key_too() -> None:
    reading = read(
        STIMULATION.replace("ramp: 3 s", "ramp: &slow 3 s").replace("ramp: 5 s", "ramp: *slow")
    )
    assert [finding.rule for finding in reading.findings] == ["FILE-04", "FILE-04"]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), text=st.sampled_from([STIMULATION, INFUSION]))
def test_a_mutated_file_is_read_or_refused_and_never_crashes(
    data: st.DataObject, text: str
) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        insert = data.draw(st.text(alphabet="0123456789.,:-{}[]'\"& %mAgLus/h\nE", max_size=4))
        text = text[:start] + insert + text[end:]
    reading = read(text)
    assert (reading.therapy is None) == bool(reading.findings)
    lines = len(reading.document.lines)
    assert all(1 <= finding.line <= lines for finding in reading.findings)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), text=st.sampled_from([STIMULATION, INFUSION]))
def test_a_file_without_some_of_its_lines_is_read_or_refused(
    data: st.DataObject, text: str
) -> None:
    lines = text.splitlines()
    gone = data.draw(st.sets(st.integers(0, len(lines) - 1), min_size=1, max_size=4))
    reading = read("\n".join(line for i, line in enumerate(lines) if i not in gone) + "\n")
    assert (reading.therapy is None) == bool(reading.findings)
