"""`neuraxis check` from outside: every refusal with its rule, place, value, limit and exit code."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from cli_bench import DANGEROUS, INFUSION, STIMULATION, Answer, cli, process, variant

FIELDS = ["rule", "severity", "path", "line", "column", "value", "limit", "source"]
FIELDS += ["message", "hint"]

Change = tuple[str, str]

# Pieces of the examples that tests replace.
AMPLITUDE = "amplitude: 4.2 mA "
CEILING = "max_amplitude: 6 mA "
WIDTH = "pulse_width: 210 us"
CONTACTS = "{E3: -100 %, E4: +60 %, E5: +40 %}"
RATE = "rate: 50 Hz"
LIMITS = "limits: {per_bolus: 0.2 mg, per_hour: 0.4 mg, per_4_hours: 1 mg, per_day: 4 mg}"
BUTTON = "patient_bolus: {dose: 0.15 mg, over: 10 min, lockout: 4 h, max_per_24h: 4}"
MORNING = '{from: "07:00", rate: 2.4 mg/day}'
NIGHT = '{from: "22:00", rate: 1.8 mg/day}'


def check(folder: Path, text: str | bytes, *options: object) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of a file, which has the shape of the schema."""
    path = folder / "therapy.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    answer = cli("check", path, "--format", "json", *options)
    assert answer.err == ""
    report = answer.json
    assert list(report) == ["schema", "file", "verdict", "findings", "not_judged", "derived"]
    assert report["schema"] == "neuraxis.check/1"
    assert report["file"] == str(path)
    assert all(list(finding) == FIELDS for finding in report["findings"])
    assert {f["severity"] for f in report["findings"]} <= {"hard", "soft", "file"}
    return answer.code, report


def seen(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(f["rule"], f["severity"], f["path"]) for f in report["findings"]]


def rules(report: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in report["findings"]}


def one_area(amplitude: str, ceiling: str, width: int, ramp: str = "5 s") -> str:
    """The example with a plain pair of contacts in its first program."""
    return variant(
        STIMULATION,
        (CONTACTS, "{E3: -100 %, E4: +100 %}"),
        (AMPLITUDE, f"amplitude: {amplitude} mA "),
        (CEILING, f"max_amplitude: {ceiling} mA "),
        (WIDTH, f"pulse_width: {width} us"),
        ("ramp: 3 s", f"ramp: {ramp}"),
    )


def pump(
    drug: str, concentration: str, rate: str, limits: str, history: str = "", fill: str = "20 mL"
) -> str:
    """A pump's file with one drug and one step."""
    stated = f"    history: {history}\n" if history else ""
    return (
        "therapy: infusion\ndevice: itp-20\npatient: BENCH-012\ndrugs:\n"
        f"  - name: {drug}\n    concentration: {concentration}\n{stated}    limits: {{{limits}}}\n"
        f"fill:\n  volume: {fill}\n  at: 2026-11-02T09:30+01:00\n"
        f"  vials: {{{drug}: {concentration}}}\n  low_reservoir: 2 mL\n"
        f"catheter: {{volume: 0.286 mL, primed: true}}\nbasal:\n  - {{rate: {rate}}}\n"
    )


def baclofen(rate: str, concentration: str = "2000 mcg/mL", per_day: str = "1000 mcg") -> str:
    limits = f"per_hour: {per_day}, per_4_hours: {per_day}, per_day: {per_day}"
    return pump("baclofen", concentration, rate, limits)


def oracle(current_ua: int, width_us: int) -> tuple[int, float, float]:
    """Charge (pC), density (uC/cm2) and k on 12.25 mm2, from the formulas of domain 1.4."""
    charge_uc = current_ua * width_us / 1e6
    density = charge_uc / 0.1225
    return current_ua * width_us, density, math.log10(charge_uc) + math.log10(density)


# --- the examples ----------------------------------------------------------------------------


def test_the_stimulation_example_is_accepted_with_the_charges_of_a_hand_calculation(
    tmp_path: Path,
) -> None:
    code, report = check(tmp_path, STIMULATION.read_bytes())
    assert (code, report["verdict"], report["findings"]) == (0, "accepted", [])
    programs = report["derived"]["programs"]
    assert set(programs) == {"walking", "night"}
    (walking,), (night,) = programs["walking"]["areas"], programs["night"]["areas"]
    expected = {"E3": 4200, "E4": 2520, "E5": 1680}
    assert set(walking) == set(expected)
    for area, width, currents in (
        (walking, 210, expected),
        (night, 1000, {"E3": 600, "E4": 600}),
    ):
        for contact, current in currents.items():
            charge, density, k = oracle(current, width)
            figures = area[contact]
            assert list(figures)[:3] == [
                "charge_per_phase_pC",
                "charge_density_uC_per_cm2",
                "shannon_k",
            ]
            assert ("build_up" in figures) == (area is night)
            assert figures["charge_per_phase_pC"] == charge
            assert figures["charge_density_uC_per_cm2"] == pytest.approx(density, abs=0.0006)
            assert figures["shannon_k"] == pytest.approx(k, abs=0.0006)


def test_the_infusion_example_is_accepted_with_the_doses_of_a_hand_calculation(
    tmp_path: Path,
) -> None:
    code, report = check(tmp_path, INFUSION.read_bytes())
    assert (code, report["verdict"], report["findings"]) == (0, "accepted", [])
    # 15 h at 0.1 mg/h and 9 h at 0.075 mg/h; then four boluses of 0.15 mg in 24 h.
    assert report["derived"] == {
        "drugs": {"morphine": {"daily_dose_ng": 2_175_000, "worst_case_daily_dose_ng": 2_775_000}},
        "daily_volume_nL": 217_500,
        "days_to_alarm_nominal": 73.56,  # 16 mL / 0.2175 mL
        "days_to_alarm_worst": 50.35,  # 16 mL / (0.2775 mL x 1.145)
    }
    assert "SR-22" in report["not_judged"]


@pytest.mark.requirement("SR-41")
def test_the_dangerous_example_is_refused_at_the_line_of_the_slip() -> None:
    answer = cli("check", DANGEROUS)
    assert answer.code == 3
    assert f"{DANGEROUS}:22:20: SR-41 (hard)" in answer.out
    assert "22 |         amplitude: 24 mA" in answer.out
    assert "60 uC/cm2 (device)" in answer.out


def test_check_as_a_process_writes_nothing_but_json_to_standard_output() -> None:
    answer = process("check", DANGEROUS, "--format", "json")
    assert (answer.code, answer.err) == (3, "")
    assert answer.json["verdict"] == "refused"


# --- stimulation: one wrong thing at a time --------------------------------------------------

A = "programs[0].areas[0]."
STIMULATION_REFUSALS: list[tuple[Change, tuple[object, ...]]] = [
    # change, then rule, severity, path, line, column, value, limit, source
    (
        (AMPLITUDE, "amplitude: 6.1 mA "),
        ("SR-40", "hard", A + "amplitude", 10, 20, "6.1 mA", "6 mA", "patient"),
    ),
    (
        (AMPLITUDE, "amplitude: 4.25 mA "),
        ("SR-40", "hard", A + "amplitude", 10, 20, "4.25 mA", "0.1 mA", "device"),
    ),
    (
        (AMPLITUDE, "amplitude: 4.2001 mA "),
        ("SR-02", "hard", A + "amplitude", 10, 20, "4.2001 mA", None, "rule"),
    ),
    (
        (CEILING, "max_amplitude: 12.8 mA "),
        ("SR-46", "hard", A + "max_amplitude", 11, 24, "12.8 mA", "12.7 mA", "device"),
    ),
    (
        (CONTACTS, "{E3: -100 %, E4: +60 %, E5: +39 %}"),
        ("SR-46", "hard", A + "electrodes", 9, 21, "+99 %", "+100 %", "rule"),
    ),
    (
        (CONTACTS, "{E3: -100 %}"),
        ("SR-46", "hard", A + "electrodes", 9, 21, None, "+100 %", "rule"),
    ),
    (
        (CONTACTS, "{case: -100 %, E4: +100 %}"),
        ("SR-46", "hard", A + "electrodes.case", 9, 28, "-100 %", "above 0 %", "rule"),
    ),
    (
        (WIDTH, "pulse_width: 215 us"),
        (
            "SR-48",
            "hard",
            A + "pulse_width",
            12,
            22,
            "215 us",
            "20 us to 1000 us in steps of 10 us",
            "device",
        ),
    ),
    (
        ("stimulate: 30 s", "stimulate: 999 ms"),
        ("SR-48", "hard", "programs[0].cycle.stimulate", 15, 24, "999 ms", "1 s", "device"),
    ),
    (
        ("pulses: 5", "pulses: 1"),
        ("SR-48", "hard", "programs[1].burst.pulses", 18, 21, "1", "2 to 8", "device"),
    ),
    (
        (RATE, "rate: 50.5 Hz"),
        (
            "SR-49",
            "hard",
            "programs[0].rate",
            7,
            11,
            "50.5 Hz",
            "2 Hz to 1200 Hz in steps of 1 Hz",
            "device",
        ),
    ),
    (
        ("ramp: 3 s", "ramp: 61 s"),
        ("SR-50", "hard", "programs[0].ramp", 14, 11, "61 s", "1 s to 1 min", "device"),
    ),
    (
        ("start_with: walking", "start_with: running"),
        ("FILE-08", "file", "start_with", 27, 13, "running", None, "file"),
    ),
    (
        ("device: scs-16", "device: scs-32"),
        ("FILE-08", "file", "device", 2, 9, "scs-32", None, "file"),
    ),
    (
        ("ramp: 3 s", "ramp: 3 s\n    rampe: 4 s"),
        ("FILE-05", "file", "programs[0].rampe", 15, 5, None, None, "file"),
    ),
    (
        ("ramp: 3 s", "ramp: 3 s\n    ramp: 3 s"),
        ("FILE-03", "file", "programs[0].ramp", 15, 5, None, None, "file"),
    ),
    (
        ("name: night", "name: walking"),
        ("FILE-07", "file", "programs[1].name", 16, 11, "walking", None, "file"),
    ),
    (
        ("recharge: passive", "recharge: pasive"),
        ("FILE-07", "file", "programs[1].areas[0].recharge", 25, 19, "pasive", None, "file"),
    ),
]


@pytest.mark.fault("F10")
@pytest.mark.fault("F21")
@pytest.mark.fault("F26")
@pytest.mark.parametrize(("change", "expected"), STIMULATION_REFUSALS)
def test_a_wrong_value_of_a_stimulation_file_is_refused_where_it_stands(
    tmp_path: Path, change: Change, expected: tuple[object, ...]
) -> None:
    code, report = check(tmp_path, variant(STIMULATION, change))
    # Shares that are off leave charge behind, too; that is a finding of its own.
    (finding,) = (one for one in report["findings"] if one["rule"] != "SR-42")
    assert tuple(finding[name] for name in FIELDS[:8]) == expected
    assert finding["message"]
    assert finding["hint"]
    assert code == (2 if expected[1] == "file" else 3)
    assert report["verdict"] == "refused"


SPELLINGS = [
    ("4.2", "SR-01", "its unit is mA"),
    ("4.2 A", "SR-01", "its unit is mA"),
    ("4200 uA", "SR-01", "its unit is mA"),
    ("4.2 MA", "SR-01", "write 4.2 mA"),
    ("4.2mA", "SR-01", "write 4.2 mA"),
    ("4.2  mA", "SR-01", "write 4.2 mA"),
    ("true", "SR-01", None),
    ("0x10 mA", "SR-01", None),
    ("4,2 mA", "SR-03", None),
    (".5 mA", "SR-03", None),
    ("5. mA", "SR-03", None),
    ("1e0 mA", "SR-03", None),
    ("nan mA", "SR-03", None),
    ("inf mA", "SR-03", None),
    ("-1 mA", "SR-03", None),
    ("+1 mA", "SR-03", None),
    ("1_0 mA", "SR-03", None),
    ("04.2 mA", "SR-03", None),
    ("9" * 20 + " mA", "SR-03", None),
    ("\N{ARABIC-INDIC DIGIT FOUR} mA", "SR-03", None),
    ("4.2 m\N{CYRILLIC CAPITAL LETTER A}", "SR-03", None),
    ("4.2\N{NO-BREAK SPACE}mA", "SR-03", None),
]


@pytest.mark.requirement("SR-01")
@pytest.mark.requirement("SR-03")
@pytest.mark.fault("F3")
@pytest.mark.fault("F5")
@pytest.mark.fault("F6")
@pytest.mark.fault("F7")
@pytest.mark.fault("F9")
@pytest.mark.parametrize(("written", "rule", "hint"), SPELLINGS)
def test_a_quantity_that_is_not_a_number_a_space_and_a_unit_is_refused_with_place_and_reason(
    tmp_path: Path, written: str, rule: str, hint: str | None
) -> None:
    code, report = check(tmp_path, variant(STIMULATION, (AMPLITUDE, f"amplitude: {written} ")))
    (finding,) = report["findings"]
    assert (code, finding["rule"], finding["severity"]) == (3, rule, "hard")
    assert (finding["line"], finding["column"]) == (10, 20)
    assert hint is None or finding["hint"] == hint


@pytest.mark.requirement("SR-40")
@pytest.mark.fault("F20")
def test_each_missing_key_points_at_its_parent_and_the_missing_ceiling_is_a_matter_of_safety(
    tmp_path: Path,
) -> None:
    text = variant(STIMULATION, ("ramp: 3 s ", "#"), ("recharge: active ", "#"), (CEILING, "#"))
    code, report = check(tmp_path, text)
    assert code == 3
    assert [(f["rule"], f["path"], f["line"], f["column"]) for f in report["findings"]] == [
        ("FILE-06", "programs[0].ramp", 5, 5),
        ("SR-40", A + "max_amplitude", 9, 9),
        ("FILE-06", A + "recharge", 9, 9),
    ]


LOW_CEILING = (CEILING, "max_amplitude: 5 mA ")
BORDERS = [
    ("at the ceiling of the patient", one_area("6.0", "6.0", 210), 0, None),
    # Shannon k 1.85 on 12.25 mm2 is 2.945 uC
    ("2.94 uC", one_area("9.8", "9.8", 300), 0, None),
    ("2.95 uC", one_area("5.9", "5.9", 500), 3, "soft"),
    ("2.95 uC at the ceiling only", one_area("5.8", "5.9", 500), 3, "soft"),
    # 60 uC/cm2 on 12.25 mm2 is 7.35 uC, which is allowed
    ("7.35 uC", one_area("10.5", "10.5", 700), 3, "soft"),
    ("7.36 uC", one_area("9.2", "9.2", 800), 3, "hard"),
    ("12.7 mA a contact", one_area("12.7", "12.7", 100), 0, None),
    ("12.8 mA a contact", one_area("12.8", "12.8", 100), 3, "hard"),
    ("20 us", one_area("1", "1", 20), 0, None),
    ("10 us", one_area("1", "1", 10), 3, "hard"),
    ("1000 us", one_area("1", "1", 1000), 0, None),
    ("1010 us", one_area("1", "1", 1010), 3, "hard"),
    ("2 Hz", variant(STIMULATION, (RATE, "rate: 2 Hz")), 0, None),
    ("1 Hz", variant(STIMULATION, (RATE, "rate: 1 Hz")), 3, "hard"),
    ("1.2 kHz", variant(STIMULATION, (RATE, "rate: 1.2 kHz"), LOW_CEILING), 0, None),
    ("1201 Hz", variant(STIMULATION, (RATE, "rate: 1201 Hz"), LOW_CEILING), 3, "hard"),
    ("ramp of 1 s", variant(STIMULATION, ("ramp: 3 s", "ramp: 1 s")), 0, None),
    ("ramp of 999 ms", variant(STIMULATION, ("ramp: 3 s", "ramp: 999 ms")), 3, "hard"),
    ("10 mA/s", one_area("12.0", "12.0", 100, "1.2 s"), 0, None),
    ("10.1 mA/s", one_area("12.0", "12.1", 100, "1.2 s"), 3, "hard"),
    ("cycle of 1 s", variant(STIMULATION, ("pause: 90 s", "pause: 1 s")), 0, None),
]


@pytest.mark.requirement("SR-40")
@pytest.mark.requirement("SR-41")
@pytest.mark.requirement("SR-46")
@pytest.mark.fault("F1")
@pytest.mark.fault("F13")
@pytest.mark.parametrize(
    ("text", "code", "severity"), [b[1:] for b in BORDERS], ids=[b[0] for b in BORDERS]
)
def test_a_stimulation_limit_holds_exactly_at_its_border(
    tmp_path: Path, text: str, code: int, severity: str | None
) -> None:
    seen_code, report = check(tmp_path, text)
    assert seen_code == code
    severities = {finding["severity"] for finding in report["findings"]}
    assert severities == ({severity} if severity else set())
    verdicts = {None: "accepted", "soft": "needs-reason", "hard": "refused"}
    assert report["verdict"] == verdicts[severity]


@pytest.mark.fault("F8")
def test_a_milliampere_typed_for_a_microampere_is_refused_by_every_rule_it_breaks(
    tmp_path: Path,
) -> None:
    code, report = check(tmp_path, variant(STIMULATION, (AMPLITUDE, "amplitude: 4200 mA ")))
    assert code == 3
    assert {"SR-40", "SR-41", "SR-46", "SR-50"} <= rules(report)


# --- golden vectors --------------------------------------------------------------------------

CHARGES = [  # mA, us, uC, uC/cm2, k: domain 1.4
    ("3.5", 100, 350_000, 2.86, 0.000),
    ("0.6", 1000, 600_000, 4.90, 0.468),
    ("6", 300, 1_800_000, 14.69, 1.422),
    ("8.5", 500, 4_250_000, 34.69, 2.169),
    ("6", 720, 4_320_000, 35.26, 2.183),
    ("12.7", 450, 5_715_000, 46.65, 2.426),
    ("25.5", 1000, 25_500_000, 208.1, 3.725),
]


@pytest.mark.requirement("SR-41")
@pytest.mark.vector("V8.2")
@pytest.mark.parametrize(("amplitude", "width", "charge", "density", "k"), CHARGES)
def test_golden_vector_8_2_the_charge_table_stands_in_derived(
    tmp_path: Path, amplitude: str, width: int, charge: int, density: float, k: float
) -> None:
    _, report = check(tmp_path, one_area(amplitude, amplitude, width))
    (area,) = report["derived"]["programs"]["walking"]["areas"]
    for contact in ("E3", "E4"):
        assert area[contact]["charge_per_phase_pC"] == charge
        assert area[contact]["charge_density_uC_per_cm2"] == pytest.approx(density, rel=0.002)
        assert area[contact]["shannon_k"] == pytest.approx(k, abs=0.0006)
    soft = {f["severity"] for f in report["findings"] if f["rule"] == "SR-41"}
    assert soft == ({"hard"} if density > 60 else {"soft"} if k >= 1.85 else set())


def test_shannon_k_is_null_where_no_charge_flows(tmp_path: Path) -> None:
    code, report = check(tmp_path, variant(STIMULATION, (AMPLITUDE, "amplitude: 0 mA ")))
    (area,) = report["derived"]["programs"]["walking"]["areas"]
    assert code == 0
    assert area["E3"] == {
        "charge_per_phase_pC": 0,
        "charge_density_uC_per_cm2": 0.0,
        "shannon_k": None,
    }


@pytest.mark.requirement("SR-48")
@pytest.mark.requirement("SR-49")
@pytest.mark.vector("V8.7")
@pytest.mark.fault("F15")
@pytest.mark.parametrize(
    ("waveform", "rate", "width", "accepted"),
    [
        ("tonic", "1200 Hz", 1000, False),
        ("high-frequency", "10 kHz", 30, True),
        ("high-frequency", "10000 Hz", 60, False),
        ("tonic", "5 kHz", 30, False),
        ("high-frequency", "5 kHz", 30, False),
    ],
)
def test_golden_vector_8_7_pulses_must_fit_and_rates_have_a_gap(
    tmp_path: Path, waveform: str, rate: str, width: int, accepted: bool
) -> None:
    text = variant(
        STIMULATION,
        ("waveform: tonic ", f"waveform: {waveform} "),
        (RATE, f"rate: {rate}"),
        (WIDTH, f"pulse_width: {width} us"),
        (AMPLITUDE, "amplitude: 1 mA "),
        LOW_CEILING,
    )
    code, report = check(tmp_path, text)
    assert (code == 0) is accepted
    gap = rate == "5 kHz"
    assert accepted or ("SR-49" if gap else "SR-48") in rules(report)
    assert not gap or "have not been evaluated" in report["findings"][0]["message"]


@pytest.mark.requirement("SR-48")
@pytest.mark.vector("V8.7")
@pytest.mark.fault("F15")
def test_golden_vector_8_7_the_nominal_burst_is_accepted_and_one_that_runs_together_is_not(
    tmp_path: Path,
) -> None:
    assert check(tmp_path, STIMULATION.read_bytes())[0] == 0
    code, report = check(tmp_path, variant(STIMULATION, ("rate: 40 Hz", "rate: 100 Hz")))
    assert (code, rules(report)) == (3, {"SR-48"})


@pytest.mark.requirement("SR-04")
@pytest.mark.vector("V8.1")
def test_golden_vector_8_1_sixty_an_hour_for_sixty_a_day_is_refused_by_the_day(
    tmp_path: Path,
) -> None:
    code, report = check(tmp_path, baclofen("60 mcg/h"))
    (finding,) = [f for f in report["findings"] if f["rule"] == "SR-04"]
    assert (code, finding["severity"], finding["path"]) == (3, "hard", "basal[0].rate")
    assert finding["line"] == 15
    assert report["derived"]["drugs"]["baclofen"]["daily_dose_ng"] == 1_440_000
    code, report = check(tmp_path, baclofen("60 mcg/day", "500 mcg/mL"))
    assert code == 0
    assert report["derived"]["drugs"]["baclofen"]["daily_dose_ng"] == 60_000


@pytest.mark.requirement("SR-18")
@pytest.mark.vector("V8.5")
def test_golden_vector_8_5_days_to_the_alarm_nominal_and_at_the_top_of_accuracy(
    tmp_path: Path,
) -> None:
    code, report = check(tmp_path, baclofen("300 mcg/day"))
    assert code == 0
    assert report["derived"]["days_to_alarm_nominal"] == 120.0
    assert report["derived"]["days_to_alarm_worst"] == 104.80


@pytest.mark.requirement("SR-02")
@pytest.mark.vector("V8.10")
def test_golden_vector_8_10_doses_become_whole_nanolitres_a_day_exactly(tmp_path: Path) -> None:
    limits = "per_hour: 1 mg, per_4_hours: 4 mg, per_day: 10 mg"
    text = pump("morphine", "10 mg/mL", "2.5 mg/day", limits, "opioid-tolerant")
    assert check(tmp_path, text)[1]["derived"]["daily_volume_nL"] == 250_000
    text = pump("morphine", "10 mg/mL", "0.48 mg/day", limits, "opioid-tolerant")
    code, report = check(tmp_path, text)
    assert (code, report["derived"]["daily_volume_nL"]) == (0, 48_000)
    limits = "per_hour: 1 mcg, per_4_hours: 4 mcg, per_day: 19.2 mcg"
    figures = [
        check(tmp_path, pump("ziconotide", "25 mcg/mL", rate, limits))[1]["derived"]
        for rate in ("2.4 mcg/day", "0.1 mcg/h")
    ]
    assert figures[0] == figures[1]
    assert figures[0]["drugs"]["ziconotide"]["daily_dose_ng"] == 2_400


@pytest.mark.requirement("SR-07")
@pytest.mark.vector("V8.11")
def test_golden_vector_8_11_a_dose_below_the_pumps_least_flow_is_refused(tmp_path: Path) -> None:
    source = 'source: "a formulary for this test"'
    formulary = tmp_path / "lab.yaml"
    formulary.write_text(
        "formulary: lab\ndrugs:\n  - name: fentanyl\n    class: opioid\n    concentration:\n"
        f"      above: {{value: 0 mcg/mL, {source}}}\n      up_to: {{value: 10 mg/mL, {source}}}\n"
        f"    per_day:\n      hard: {{value: 1 mg, {source}}}\n"
        f"    on_stop: {{value: hold-basal, {source}}}\n"
        f"    withdrawal:\n      value: Opioid withdrawal.\n      {source}\n    {source}\n",
        "utf-8",
    )
    limits = "per_hour: 0.1 mg, per_4_hours: 0.4 mg, per_day: 1 mg"
    text = pump("fentanyl", "10 mg/mL", "75 mcg/day", limits, "opioid-tolerant")
    code, report = check(tmp_path, text, "--formulary", formulary)
    (finding,) = report["findings"]
    assert (code, finding["rule"], finding["path"]) == (3, "SR-07", "basal[0].rate")
    assert (finding["value"], finding["limit"]) == ("75 mcg/day", "480 mcg/day")
    assert "0.0075 mL/day" in finding["message"]
    assert "SR-11" in rules(check(tmp_path, text)[1]), "the shipped formulary has no fentanyl"


# --- infusion: one wrong thing at a time -----------------------------------------------------

INFUSION_REFUSALS: list[tuple[Change, str, str, int]] = [
    (("rate: 2.4 mg/day", "rate: 2.4 mg/h"), "SR-04", "basal[0].rate", 3),
    (("rate: 2.4 mg/day", "rate: 2.4 mcg/day"), "SR-07", "basal[0].rate", 3),
    (("rate: 2.4 mg/day", "rate: 2.4 mg"), "SR-01", "basal[0].rate", 3),
    (("rate: 2.4 mg/day", "rate: 2.4"), "SR-01", "basal[0].rate", 3),
    (("rate: 2.4 mg/day", "rate: 2400 ug/day"), "SR-01", "basal[0].rate", 3),
    (("rate: 2.4 mg/day", "rate: 0 mg/day"), "SR-07", "basal[0].rate", 3),
    (("dose: 0.15 mg", "dose: 0.201 mg"), "SR-05", "patient_bolus.dose", 3),
    (("dose: 0.15 mg", "dose: 150 mg"), "SR-05", "patient_bolus.dose", 3),
    (("dose: 0.15 mg", "dose: 0 mg"), "SR-07", "patient_bolus.dose", 3),
    (("lockout: 4 h", "lockout: 0 h"), "SR-16", "patient_bolus.lockout", 3),
    (("lockout: 4 h", "lockout: 9 min"), "SR-16", "patient_bolus.lockout", 3),
    (("max_per_24h: 4", "max_per_24h: 0"), "SR-16", "patient_bolus.max_per_24h", 3),
    (("over: 10 min", "over: 0 min"), "SR-16", "patient_bolus.over", 3),
    (("over: 10 min", "over: 30 s"), "SR-07", "patient_bolus.over", 3),
    (("per_day: 4 mg", "per_day: 2.774999 mg"), "SR-04", "patient_bolus.dose", 3),
    (("per_4_hours: 1 mg", "per_4_hours: 0.549 mg"), "SR-05", "patient_bolus.dose", 3),
    (("per_hour: 0.4 mg", "per_hour: 0.249 mg"), "SR-05", "patient_bolus.dose", 3),
    (("per_day: 4 mg", "per_day: 20.1 mg"), "SR-61", "drugs[0].limits.per_day", 3),
    (("per_hour: 0.4 mg, ", ""), "SR-05", "drugs[0].limits.per_hour", 3),
    (("per_bolus: 0.2 mg, ", ""), "SR-05", "drugs[0].limits.per_bolus", 3),
    (("per_bolus: 0.2 mg", "per_bolus: 200 mg"), "SR-05", "drugs[0].limits.per_bolus", 3),
    (("    history: opioid-tolerant ", "    #"), "SR-63", "drugs[0].history", 3),
    (("    concentration: 10 mg/mL", "    #"), "SR-08", "drugs[0].concentration", 3),
    (("concentration: 10 mg/mL", "concentration: 26 mg/mL"), "SR-08", "drugs[0].concentration", 3),
    (("{morphine: 10 mg/mL}", "{morphine: 25 mg/mL}"), "SR-08", "fill.vials.morphine", 3),
    (("name: morphine", "name: morphin"), "SR-11", "drugs[0].name", 3),
    (("volume: 18 mL", "volume: 20.000001 mL"), "SR-18", "fill.volume", 3),
    (("low_reservoir: 2 mL", "low_reservoir: 1.3 mL"), "SR-18", "fill.low_reservoir", 3),
    (("timezone: Europe/Berlin\n", ""), "FILE-06", "timezone", 2),
    (("Europe/Berlin", "Europe/Berln"), "FILE-08", "timezone", 2),
    (('"22:00"', '"06:00"'), "FILE-07", "basal[1].from", 2),
    (("2026-11-02T09:30+01:00", "2026-02-30T09:30+01:00"), "FILE-07", "fill.at", 2),
    (("primed: true", "primed: yes"), "FILE-07", "catheter.primed", 2),
    (("per_day: 4 mg", "per_dya: 4 mg"), "FILE-05", "drugs[0].limits.per_dya", 2),
    (("BENCH-012", "John Smith"), "FILE-07", "patient", 2),
    (("device: itp-20", "device: scs-16"), "FILE-08", "device", 2),
]


@pytest.mark.requirement("SR-04")
@pytest.mark.requirement("SR-05")
@pytest.mark.requirement("SR-07")
@pytest.mark.requirement("SR-08")
@pytest.mark.requirement("SR-11")
@pytest.mark.requirement("SR-16")
@pytest.mark.requirement("SR-18")
@pytest.mark.requirement("SR-61")
@pytest.mark.requirement("SR-63")
@pytest.mark.fault("F2")
@pytest.mark.fault("F8")
@pytest.mark.fault("F9")
@pytest.mark.fault("F20")
@pytest.mark.fault("F22")
@pytest.mark.fault("F23")
@pytest.mark.fault("F26")
@pytest.mark.fault("F27")
@pytest.mark.parametrize(("change", "rule", "path", "code"), INFUSION_REFUSALS)
def test_a_wrong_value_of_an_infusion_file_is_refused_where_it_stands(
    tmp_path: Path, change: Change, rule: str, path: str, code: int
) -> None:
    seen_code, report = check(tmp_path, variant(INFUSION, change))
    found = [f for f in report["findings"] if (f["rule"], f["path"]) == (rule, path)]
    assert found, seen(report)
    assert seen_code == code
    assert found[0]["line"] > 0
    assert found[0]["column"] > 0


WITHIN = [
    ("dose: 0.15 mg", "dose: 0.2 mg"),
    ("per_day: 4 mg", "per_day: 2.775 mg"),
    ("per_4_hours: 1 mg", "per_4_hours: 0.55 mg"),
    ("per_hour: 0.4 mg", "per_hour: 0.25 mg"),
    ("rate: 1.8 mg/day", "rate: 0.48 mg/day"),
    ("volume: 18 mL", "volume: 20 mL"),
    ("low_reservoir: 2 mL", "low_reservoir: 1.4 mL"),
    ("{morphine: 10 mg/mL}", "{morphine: 10000 mcg/mL}"),
    ("per_day: 4 mg", "per_day: 20 mg"),
]


@pytest.mark.requirement("SR-04")
@pytest.mark.requirement("SR-05")
@pytest.mark.fault("F1")
@pytest.mark.parametrize("change", WITHIN)
def test_a_dose_limit_itself_is_allowed(tmp_path: Path, change: Change) -> None:
    assert check(tmp_path, variant(INFUSION, change))[0] == 0


@pytest.mark.requirement("SR-04")
@pytest.mark.fault("F1")
@pytest.mark.parametrize(
    ("rate", "severity"),
    [
        ("1000 mcg/day", None),
        ("1000.1 mcg/day", "soft"),
        ("2000 mcg/day", "soft"),
        ("2000.1 mcg/day", "hard"),
    ],
)
def test_the_formularys_soft_and_hard_day_of_baclofen_hold_at_their_borders(
    tmp_path: Path, rate: str, severity: str | None
) -> None:
    code, report = check(tmp_path, baclofen(rate, per_day="2000 mcg"))
    assert {f["severity"] for f in report["findings"]} == ({severity} if severity else set())
    assert code == (3 if severity else 0)
    assert all(f["source"] == "formulary" for f in report["findings"])


@pytest.mark.parametrize(
    ("drug", "concentration", "rate", "rule"),
    [
        ("baclofen", "50 mcg/mL", "10 mcg/day", "SR-08"),
        ("ziconotide", "100 mcg/mL", "2.4 mcg/day", "SR-07"),
        ("ziconotide", "100 mcg/mL", "19.3 mcg/day", "SR-04"),
    ],
)
def test_a_drug_is_refused_where_its_label_or_the_pump_ends(
    tmp_path: Path, drug: str, concentration: str, rate: str, rule: str
) -> None:
    limits = "per_hour: 10 mcg, per_4_hours: 10 mcg, per_day: 19.2 mcg"
    assert rule in rules(check(tmp_path, pump(drug, concentration, rate, limits))[1])


@pytest.mark.requirement("SR-63")
@pytest.mark.parametrize(
    ("rate", "severity"), [("0.48 mg/day", "soft"), ("1 mg/day", "soft"), ("1.1 mg/day", "hard")]
)
def test_an_opioid_naive_patient_is_judged_by_the_start_limits_without_a_device(
    tmp_path: Path, rate: str, severity: str
) -> None:
    limits = "per_hour: 1 mg, per_4_hours: 4 mg, per_day: 10 mg"
    _, report = check(tmp_path, pump("morphine", "10 mg/mL", rate, limits, "opioid-naive"))
    (finding,) = report["findings"]
    assert (finding["rule"], finding["severity"]) == ("SR-63", severity)


# --- all at once, and files that are none ----------------------------------------------------


def test_all_findings_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = variant(
        STIMULATION,
        ("BENCH-007", "Jane Doe"),
        (RATE, "rate: 1201 Hz"),
        (AMPLITUDE, "amplitude: 6.1 mA "),
        ("ramp: 3 s", "ramp: 100 ms"),
        ("intra_rate: 500 Hz", "intra_rate: 2 kHz"),
        ("start_with: walking", "start_with: nobody"),
    )
    code, report = check(tmp_path, text + "extra: 1\n")
    lines = [finding["line"] for finding in report["findings"]]
    assert lines == sorted(lines)
    assert code == 3, "the severest wins over the unreadable"
    assert {"FILE-05", "FILE-07", "FILE-08", "SR-40", "SR-48", "SR-49", "SR-50"} <= rules(report)


HOSTILE: list[tuple[str, bytes, str]] = [
    ("empty", b"", "FILE-01"),
    ("only a comment", b"# nothing\n", "FILE-01"),
    ("garbage", bytes(range(256)) * 20, "FILE-01"),
    ("2 MiB", b"# filler\n" * 240_000, "FILE-01"),
    ("byte order mark", b"\xef\xbb\xbf" + STIMULATION.read_bytes(), "FILE-01"),
    ("UTF-16", STIMULATION.read_text("utf-8").encode("utf-16"), "FILE-01"),
    ("NUL", STIMULATION.read_bytes() + b"\0", "FILE-02"),
    ("tab", STIMULATION.read_bytes().replace(b"    ramp", b"\tramp"), "FILE-02"),
    ("unclosed", b"therapy: [\n", "FILE-02"),
    ("deep flow", b"\n".join([b"a:", *[b"[" * 30] * 3_000]), "FILE-02"),
    ("deep block", b"".join(b" " * i + b"a:\n" for i in range(300)), "FILE-02"),
    ("one long line", b"a: [" + b"1," * 10_000 + b"]\n", "FILE-02"),
    ("many keys", b"".join(b"k%d: v\n" % i for i in range(60_000)), "FILE-02"),
    ("two documents", STIMULATION.read_bytes() + b"\n---\n" + INFUSION.read_bytes(), "FILE-04"),
    ("anchor", STIMULATION.read_bytes().replace(b"rate: 50", b"rate: &a 50"), "FILE-04"),
    ("tag", STIMULATION.read_bytes().replace(b"rate: 50", b"rate: !!str 50"), "FILE-04"),
    ("merge", STIMULATION.read_bytes().replace(b"ramp: 3 s", b"<<: {ramp: 3 s}"), "FILE-04"),
    ("scalar", b"hello\n", "FILE-07"),
    ("list", b"- therapy: stimulation\n", "FILE-07"),
]


@pytest.mark.fault("F25")
@pytest.mark.parametrize(("content", "rule"), [h[1:] for h in HOSTILE], ids=[h[0] for h in HOSTILE])
def test_a_garbage_file_is_refused_as_unreadable_with_exit_code_2(
    tmp_path: Path, content: bytes, rule: str
) -> None:
    code, report = check(tmp_path, content)
    assert code == 2
    assert rule in rules(report)
    assert report["verdict"] == "refused"


def test_text_and_json_give_the_same_exit_code_and_the_same_places(tmp_path: Path) -> None:
    soft = variant(STIMULATION, ("width: 210 us", "width: 500 us"))
    for content in (STIMULATION.read_text("utf-8"), soft, "", "a: 1\n", soft + "extra: 1\n"):
        code, report = check(tmp_path, content)
        told = cli("check", tmp_path / "therapy.yaml")
        assert told.code == code
        assert report["verdict"] in told.out
        for finding in report["findings"]:
            place = f"{finding['line']}:{finding['column']}: {finding['rule']}"
            assert place in told.out


def test_a_folder_and_a_missing_file_are_refused_with_a_sentence_that_names_them(
    tmp_path: Path,
) -> None:
    for path, text in ((tmp_path, "is a directory"), (tmp_path / "none.yaml", "there is no file")):
        answer = cli("check", path)
        assert answer.code == 2
        assert text in answer.out
        assert str(path) in answer.out


def test_a_lab_formulary_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("formulary: x\n", "utf-8")
    answer = cli("check", INFUSION, "--formulary", bad)
    assert answer.code == 2
    assert str(bad) in answer.said


def test_the_schema_of_therapy_files_is_one_json_object() -> None:
    answer = cli("schema", "therapy")
    assert answer.code == 0
    assert "$schema" in answer.json or "$defs" in answer.json


def test_every_command_has_a_help_text_and_the_exit_codes_stand_in_the_first() -> None:
    assert "interrupted with the safe state confirmed" in cli("--help").said
    device_commands = ["status", "stop", "bolus", "amplitude", "switch", "impedance", "devices"]
    for command in ["check", "plan", "apply", "run", *device_commands]:
        assert cli(command, "--help").code == 0
    assert "drop_reply" in cli("simulate", "--help").out


@pytest.mark.parametrize("args", [["chekc"], ["check"], ["check", "--format", "xml", STIMULATION]])
def test_a_mistyped_command_line_is_a_usage_error(args: list[object]) -> None:
    assert cli(*args).code == 2


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (["bolus", "0.1 mg", "--over", "1 min", "--over", "10 min"], "--over"),
        (["bolus", "0.1 mg", "--device", "sim://pump", "--device", "sim://pump"], "--device"),
        (["simulate", "pump", "--listen", "pty", "--listen", "tcp:127.0.0.1:0"], "--listen"),
        (["journal", "show", "--format", "json", "--format", "text"], "--format"),
    ],
)
def test_an_option_that_stands_twice_is_asked_about_and_none_of_the_two_is_taken(
    args: list[object], option: str
) -> None:
    answer = cli(*args)
    assert answer.code == 2
    assert f"{option} stands here more than once: which one is meant?" in answer.err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["bolus", "--format", "json"], "Missing argument 'AMOUNT'."),
        (["storm", "--jobs", "0", "--format=json"], "--jobs"),
        (["status", "--format", "json", "--device"], "'--device' requires an argument"),
        (["status", "--format", "json", "--format", "json"], "--format stands here more than once"),
        (["mri", "perpare", "--format", "json"], "No such command 'perpare'."),
    ],
)
def test_a_program_that_asks_wrongly_is_told_so_in_json(args: list[object], text: str) -> None:
    answer = cli(*args)
    assert (answer.code, answer.json["code"]) == (2, 2)
    assert answer.json["schema"] == "neuraxis.error/1"
    assert text in answer.json["text"]
    assert text in answer.err, "and a person, as ever"


# --- not yet right ---------------------------------------------------------------------------


def test_the_line_and_column_of_every_finding_count_from_one(tmp_path: Path) -> None:
    answer = cli("check", tmp_path / "none.yaml", "--format", "json")
    assert all(f["line"] >= 1 and f["column"] >= 1 for f in answer.json["findings"])


def test_a_cycle_of_zero_is_refused_like_every_cycle_under_a_second(tmp_path: Path) -> None:
    cycle = ("{stimulate: 30 s, pause: 90 s}", "{stimulate: 0 s, pause: 0 s}")
    code, report = check(tmp_path, variant(STIMULATION, cycle))
    assert (code, rules(report)) == (3, {"SR-48"})


@pytest.mark.fault("F11")
@pytest.mark.parametrize(
    ("base", "change"),
    [
        (STIMULATION, ("stimulate: 30 s", "stimulate: 2000 h")),
        (INFUSION, ("lockout: 4 h", "lockout: 2000 h")),
        (INFUSION, ("max_per_24h: 4", "max_per_24h: 256")),
        (INFUSION, ("volume: 0.286 mL", "volume: 5000 mL")),
    ],
)
def test_a_value_that_the_device_cannot_be_told_is_refused_by_check(
    tmp_path: Path, base: Path, change: Change
) -> None:
    assert check(tmp_path, variant(base, change))[0] == 3


@pytest.mark.fault("F8")
def test_a_catheter_volume_a_thousand_times_too_large_is_refused(tmp_path: Path) -> None:
    assert check(tmp_path, variant(INFUSION, ("volume: 0.286 mL", "volume: 286 mL")))[0] == 3


def test_an_unreadable_value_hides_no_other_finding_of_its_program(tmp_path: Path) -> None:
    text = variant(STIMULATION, (WIDTH, "pulse_width: 210"), (RATE, "rate: 5000 Hz"))
    assert {"SR-01", "SR-49"} <= rules(check(tmp_path, text)[1])


def test_no_figure_is_derived_from_a_file_whose_basal_could_not_be_read_whole(
    tmp_path: Path,
) -> None:
    _, report = check(tmp_path, variant(INFUSION, ("rate: 2.4 mg/day", "rate: 2.4")))
    assert "drugs" not in report["derived"]


def test_a_duplicate_contact_is_reported_as_a_duplicate_and_not_as_a_missing_anode(
    tmp_path: Path,
) -> None:
    code, report = check(tmp_path, variant(STIMULATION, (CONTACTS, "{E3: -100 %, E3: +100 %}")))
    assert (code, rules(report)) == (2, {"FILE-03"})


def test_a_finding_shows_value_and_limit_in_one_unit_of_mass(tmp_path: Path) -> None:
    _, report = check(tmp_path, baclofen("60 mcg/h"))
    (finding,) = [f for f in report["findings"] if f["rule"] == "SR-04"]
    assert (finding["value"], finding["limit"]) == ("1.44 mg", "1 mg")


def test_a_missing_vial_is_said_once(tmp_path: Path) -> None:
    _, report = check(tmp_path, variant(INFUSION, ("{morphine: 10 mg/mL}", "{}")))
    assert len(report["findings"]) == 1


def test_the_answers_of_check_are_the_same_each_time(tmp_path: Path) -> None:
    first, second = (cli("check", DANGEROUS, "--format", "json") for _ in range(2))
    assert isinstance(first, Answer)
    assert json.loads(first.out) == json.loads(second.out)
