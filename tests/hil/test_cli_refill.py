"""Refills from outside: `check` of a bridge, `plan`, two persons, and `prime`, on a real port."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_bench import (
    BRIDGE,
    INFUSION,
    Simulator,
    apply,
    cli,
    digest_of,
    journal_of,
    running,
    simulator,
    variant,
)

BRIDGED = "bridge: {from: {morphine: 10 mg/mL}}"
WITHDRAWN = "withdrawn: 7.3 mL"
PRIMED = "primed: true"

# --- check ---------------------------------------------------------------------------------------


def check(folder: Path, *changes: tuple[str, str]) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of the example of a refill with changes."""
    path = folder / "refill.yaml"
    path.write_text(variant(BRIDGE, *changes), "utf-8")
    answer = cli("check", path, "--format", "json")
    return answer.code, answer.json


@pytest.mark.requirement("SR-12")
def test_the_example_of_a_refill_is_accepted_and_shows_its_bridge(tmp_path: Path) -> None:
    code, report = check(tmp_path)
    assert (code, report["verdict"], report["findings"]) == (0, "accepted", [])
    assert report["derived"]["bridge"] == {
        "volume_nL": 485_000,
        "flows_nL_per_day": [240_000, 180_000],
        "text": "0.24 mL/day from 07:00, 0.18 mL/day from 22:00 for about 53.52 h "
        "(0.485 mL of morphine 10 mg/mL)",
    }
    assert {"SR-06", "SR-12", "SR-13", "SR-19", "SR-59"} <= set(report["not_judged"])


@pytest.mark.parametrize(
    ("change", "rule", "severity", "path", "column"),
    [
        (("10 mg/mL}}", "10 mg}}"), "SR-01", "hard", "bridge.from.morphine", 27),
        (("10 mg/mL}}", "0 mg/mL}}"), "SR-08", "hard", "bridge.from.morphine", 27),
        (("{morphine: 10 mg/mL}}", "{fentanyl: 10 mg/mL}}"), "SR-12", "hard", "bridge.from", 10),
        (("{morphine: 10 mg/mL}}", "{morphine: 20 mg/mL}}"), "SR-12", "hard", "bridge.from", 16),
        ((BRIDGED, "bridge: {from: {}}"), "FILE-09", "file", "bridge.from", 10),
        ((BRIDGED, "bridge: {}"), "FILE-06", "file", "bridge.from", 1),
        ((BRIDGED, "bridge: 10 mg/mL"), "FILE-07", "file", "bridge", 9),
        ((BRIDGED, f"{BRIDGED[:-1]}, volume: 1 mL}}"), "FILE-05", "file", "bridge.volume", 38),
        ((WITHDRAWN, "withdrawn: 7.3"), "SR-01", "hard", "fill.withdrawn", 14),
        ((WITHDRAWN, "withdrawn: 7,3 mL"), "SR-03", "hard", "fill.withdrawn", 14),
        ((WITHDRAWN, "withdrawn: -1 mL"), "SR-03", "hard", "fill.withdrawn", 14),
        ((PRIMED, "primed: false"), "SR-12", "hard", "catheter.primed", 38),
        (("{morphine: 10 mg/mL}}", "{morphine: 38 mg/mL}}"), "SR-07", "hard", "basal[1].rate", 27),
        (
            ("morphine: 10 mg/mL}}", "morphine: 60 mg/mL}}"),
            "SR-04",
            "hard",
            "bridge.from.morphine",
            27,
        ),
    ],
)
def test_a_wrong_word_of_a_refill_is_refused_where_it_stands(
    tmp_path: Path, change: tuple[str, str], rule: str, severity: str, path: str, column: int
) -> None:
    code, report = check(tmp_path, change)
    assert code in (2, 3)
    first = report["findings"][0]
    assert (first["rule"], first["severity"], first["path"]) == (rule, severity, path)
    assert first["column"] == column


@pytest.mark.requirement("SR-04")
def test_a_second_drug_in_the_line_is_held_against_its_day_without_a_device(
    tmp_path: Path,
) -> None:
    baclofen = (BRIDGED, "bridge: {from: {morphine: 10 mg/mL, baclofen: 2000 mcg/mL}}")
    assert check(tmp_path, baclofen)[0] == 0
    much = (BRIDGED, "bridge: {from: {morphine: 10 mg/mL, baclofen: 20 mg/mL}}")
    code, report = check(tmp_path, much)
    assert (code, report["findings"][0]["rule"]) == (3, "SR-04")
    unknown = (BRIDGED, "bridge: {from: {morphine: 10 mg/mL, saline: 1 mg/mL}}")
    code, report = check(tmp_path, unknown)
    assert (code, report["findings"][0]["rule"]) == (3, "SR-11")


def test_a_bad_bridge_hides_no_other_finding(tmp_path: Path) -> None:
    _, report = check(tmp_path, (BRIDGED, "bridge: {from: {}}"), ("dose: 0.15 mg", "dose: 0.3 mg"))
    assert {"FILE-09", "SR-05"} <= {one["rule"] for one in report["findings"]}


# --- on a device ---------------------------------------------------------------------------------


@pytest.fixture
def pump(tmp_path: Path) -> Iterator[Simulator]:
    with simulator(tmp_path, "pump", tcp=True) as device:
        yield device


@pytest.mark.real_clock
@pytest.mark.requirement("SR-12")
@pytest.mark.requirement("SR-57")
def test_a_change_without_a_bridge_takes_a_second_person_on_the_command_line(
    pump: Simulator, tmp_path: Path
) -> None:
    assert apply(INFUSION, pump.url).code == 0
    bare = tmp_path / "bare.yaml"
    bare.write_text(variant(BRIDGE, (BRIDGED, ""), (WITHDRAWN, "withdrawn: 18 mL")), "utf-8")
    planned = cli("plan", bare, "--device", pump.url)
    assert planned.code == 3
    assert "without a bridge 1.0875 mg/day of morphine (50 %) for 107.04 h" in planned.said
    asked = ["apply", bare, "--device", pump.url, "--override", "SR-12", "--reason", "flushed"]
    assert cli(*asked, stdin="yes\n").code == 3
    alone = cli(*asked, "--second", " ", stdin="yes\n")
    assert (alone.code, "--second USER" in alone.said) == (3, True)
    two = ("--second", "pharmacist")
    assert cli(*asked, *two, "--valid-for", "1 year", stdin="yes\n").code == 2
    assert cli(*asked, *two, "--valid-for", "169 h", stdin="yes\n").code == 3
    done = cli(*asked, *two, "--valid-for", "168 h", stdin="yes\n")
    assert done.code == 0, done.said
    told = cli("journal", "show", journal_of("ITP-A"))
    assert "and pharmacist: flushed" in told.said


@pytest.mark.real_clock
@pytest.mark.requirement("SR-12")
@pytest.mark.requirement("SR-19")
def test_a_plan_shows_the_bridge_the_step_the_refill_and_the_days(pump: Simulator) -> None:
    assert apply(INFUSION, pump.url).code == 0
    planned = cli("plan", BRIDGE, "--device", pump.url)
    assert planned.code == 3
    for words in (
        "bridge after this fill",
        "0.24 mL/day from 07:00,",
        "closed; then the basal",
        "the least of the last day's programs gave 2.775 mg: +0 %",
        "refill: 7.3 mL withdrawn, the pump counts",
        "does NOT agree within 0.5",
        "over-infusion",
        "low-reservoir alarm in 144.88 d, at the worst in 99.59 d",
    ):
        assert words in planned.said, planned.said
    shown = cli("plan", BRIDGE, "--device", pump.url, "--format", "json").json
    assert len(shown["notes"]) == 3
    assert [one["rule"] for one in shown["findings"]] == ["SR-19"]
    reason = ("--override", "SR-19", "--reason", "a demonstration")
    done = cli("apply", BRIDGE, "--device", pump.url, *reason, stdin="yes\n")
    assert done.code == 0, done.said
    values = cli("status", "--device", pump.url, "--format", "json").json["values"]
    assert 484_000 < values["line_left_nL"] <= 485_000
    refused = cli("bolus", "0.05 mg", "--over", "10 min", "--device", pump.url)
    assert (refused.code, "SR-12" in refused.said) == (3, True)


@pytest.fixture
def unprimed(tmp_path: Path) -> Path:
    path = tmp_path / "unprimed.yaml"
    path.write_text(variant(INFUSION, (PRIMED, "primed: false")), "utf-8")
    return path


@pytest.mark.real_clock
@pytest.mark.requirement("SR-13")
def test_prime_shows_what_it_moves_asks_and_does_it_once(pump: Simulator, unprimed: Path) -> None:
    prime = ["prime", "--over", "1 h", "--device", pump.url]
    early = cli(*prime, stdin="yes\n")
    assert (early.code, "SR-22" in early.said) == (3, True)
    assert apply(unprimed, pump.url).code == 0
    kept = cli(*prime, stdin="no\n")
    assert (kept.code, "nothing was moved" in kept.said) == (3, True)
    assert (
        "0.42358 mL over 1 h, on top of the basal, into tubing 0.199 mL and catheter 0.286 mL: "
        "4.2358 mg of morphine (10 mg/mL). What may be missing the basal brings." in kept.said
    )
    fast = cli("prime", "--over", "10 min", "--device", pump.url, "--yes")
    assert (fast.code, "give it 26 min or longer" in fast.said) == (3, True)
    done = cli(*prime, stdin="yes\n")
    assert (done.code, "delivered" in done.said) == (0, True)
    again = cli(*prime, "--yes", "--format", "json")
    assert again.code == 3
    assert again.err == ""
    assert "SR-13" in {one["rule"] for one in again.json["findings"]}
    told = cli("journal", "show", journal_of("ITP-A"))
    assert "prime the line: 0.42358 mL over 1 h" in told.said


@pytest.mark.real_clock
@pytest.mark.requirement("SR-13")
def test_prime_goes_through_the_door_of_a_running_owner(
    pump: Simulator, unprimed: Path, tmp_path: Path
) -> None:
    with running(tmp_path, "run", "run", unprimed, "--device", pump.url, "--yes") as owner:
        owner.until_it_says("applied: ")
        done = cli("prime", "--over", "1 h", "--yes", "--format", "json")
        assert (done.code, done.json["outcome"]) == (0, "delivered")
        left = cli("status", "--format", "json").json["values"]["line_left_nL"]
        assert 410_000 < left <= 423_580
        assert cli("prime", "--over", "1 h", "--yes").code == 3
        assert cli("stop").code == 0
        owner.end()


@pytest.mark.real_clock
def test_prime_is_for_pumps_and_its_words_are_checked(pump: Simulator, tmp_path: Path) -> None:
    assert cli("prime", "--device", pump.url).code == 2
    assert cli("prime", "--over", "1 hour", "--device", pump.url).code == 2
    assert cli("prime", "--over", "0 s", "--device", pump.url).code == 2
    second = cli("prime", "--over", "1 h", "--device", pump.url, "--second", "me")
    assert (second.code, "--override" in second.said) == (2, True)
    with simulator(tmp_path, "stimulator", tcp=True) as other:
        wrong = cli("prime", "--over", "1 h", "--device", other.url, "--yes")
        assert (wrong.code, "is a stimulator" in wrong.said) == (2, True)


@pytest.mark.real_clock
@pytest.mark.requirement("SR-58")
def test_the_digest_of_a_plan_covers_the_bridge(pump: Simulator, tmp_path: Path) -> None:
    assert apply(INFUSION, pump.url).code == 0
    path = tmp_path / "refill.yaml"
    right = variant(BRIDGE, (WITHDRAWN, "withdrawn: 18 mL"))
    path.write_text(right, "utf-8")
    digest = digest_of(path, pump.url)
    path.write_text(right.replace(BRIDGED, "bridge: {from: {morphine: 11 mg/mL}}"), "utf-8")
    other = cli("apply", path, "--device", pump.url, "--confirm", digest)
    assert (other.code, "digest" in other.said) == (3, True)
    path.write_text(right, "utf-8")
    assert cli("apply", path, "--device", pump.url, "--confirm", digest).code == 0
    assert json.loads(cli("check", path, "--format", "json").out)["verdict"] == "accepted"
