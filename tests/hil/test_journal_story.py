"""The story of a journal and of one dose, and why a request was refused or granted."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli_bench import Answer, cli
from rich.console import Console

sys.path.append(str(Path(__file__).parents[1] / "safety"))  # when this folder runs alone

from every_event import EVERY_EVENT
from kernel_bench import HOURLY, Story, bolus_nl, limits_nl, programmed, pump_case, stimulator

from device_profiles.quantities import NanoLitres
from hil.commands.shell import places
from hil.journal_view import story
from hil.journal_why import Why, why, why_as_json, why_view
from safety.checkpoint import encode_state, summed_up
from safety.commands import Override
from safety.events import Counted, Event, Intended, Rejected
from safety.fold import STARTS
from safety.journal import SCHEMA, Anchor, FileDisk
from safety.opening import open_journal

MINUTE = 60_000
CASE = pump_case(((0, 6 * HOURLY),), limits_nl(5_000, 11_000, 40_000, 160_000))


def lines(events: list[Event]) -> list[str]:
    return [told.text for told in story(events)]


def two_doses() -> Story:
    """A bolus that was given, counted short and settled; then one that is refused."""
    life = programmed(CASE)
    given = life.do(bolus_nl(5_000))
    life.tell(Counted(given.at, given.id, "executed", NanoLitres(4_900)))
    life.now = 10 * MINUTE
    life.ask(bolus_nl(4_000))
    return life


# --- the story -----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
def test_every_kind_of_event_has_a_sentence_of_its_own() -> None:
    told = list(story(EVERY_EVENT))
    assert len({one.text.split(":")[0] for one in told}) > len({one.event.kind for one in told})
    for one in told:
        assert one.text, one.event
        assert "None" not in one.text
        assert "NanoLitres" not in one.text
        assert one.as_json()["text"] == one.text
        assert one.line.endswith(one.text)


@pytest.mark.requirement("SR-56")
def test_a_dose_is_told_from_request_to_count_in_the_units_of_the_file() -> None:
    asked, settled, counted, refused = lines(two_doses().journal)[-4:]
    assert asked == "0x2 intended: bolus of 5 mcg morphine over 1 min for BENCH-012"
    about = "(bolus of 5 mcg morphine over 1 min for BENCH-012)"
    assert settled == f"0x2 delivered: a test {about}"
    assert counted == f"0x2 the device counts 4.9 mcg morphine {about}: all of it"
    assert refused.startswith(
        "0x3 refused, nothing sent: bolus of 4 mcg morphine over 1 min for BENCH-012: SR-"
    )
    assert "the patient's limit is 11 mcg" in refused
    assert "Way out: there is room in 51 min" in refused


@pytest.mark.requirement("SR-21")
def test_what_is_uncertain_is_told_with_the_way_out() -> None:
    life = programmed(CASE)
    given = life.ask(bolus_nl(5_000))
    life.settle(given.id, "UNCERTAIN")
    told = lines(life.journal)[-1]
    assert told.startswith("0x2 UNCERTAIN: a test (bolus of 5 mcg morphine")
    assert "counts as delivered" in told
    assert told.endswith("connect again, for instance with `neuraxis status`")


def test_a_program_is_told_by_the_drug_of_its_day() -> None:
    told = "\n".join(lines(two_doses().journal))
    assert "intended: program the pump for BENCH-012: morphine 1 mg/mL at 144 mcg/day" in told


def test_a_stimulator_is_told_in_milliamperes() -> None:
    told = "\n".join(lines(stimulator().journal))
    assert "intended: program the stimulator for BENCH-012: walking, night" in told
    assert "intended: measure the impedances" in told
    assert "measured 500 to 500 ohm" in told


def test_two_persons_behind_an_override_are_both_named() -> None:
    (told,) = [one.text for one in story(EVERY_EVENT) if "overridden by clinician" in one.text]
    assert "[SR-41 overridden by clinician and nurse: wegen Müller, 誰か]" in told


# --- why -----------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-14")
@pytest.mark.requirement("SR-56")
def test_why_a_bolus_was_refused_shows_what_filled_the_window_and_when_there_is_room() -> None:
    found = why(two_doses().journal, 3)
    assert found is not None
    assert found.outcome == "refused"
    document = why_as_json(found)
    assert json.loads(json.dumps(document)) == document
    assert {one["rule"] for one in document["findings"]} == {"SR-14"}
    hour = document["windows"][0]
    assert (hour["basal_and_button_fg"], hour["earlier_fg"]) == (6 * 10**9, 5 * 10**9)
    assert (hour["asked_fg"], hour["together_fg"]) == (4 * 10**9, 15 * 10**9)
    assert (hour["limit_fg"], hour["source"]) == (11 * 10**9, "patient")
    assert hour["room_in_ms"] == 50 * MINUTE + 1
    (earlier,) = document["earlier"]
    assert (earlier["id"], earlier["before_ms"]) == (2, 10 * MINUTE)
    morphine = {"drug": "morphine", "least_fg": 4_900_000_000, "most_fg": 5_000_000_000}
    assert earlier["drugs"] == [morphine]
    text = shown(found)
    for piece in (
        "0x3 refused: bolus of 4 mcg morphine over 1 min for BENCH-012",
        "value 15 mcg, limit 11 mcg (patient)",
        "hint: there is room in 51 min, if nothing else is given until then",
        "morphine, 1 hour 6 mcg 5 mcg 4 mcg 15 mcg 11 mcg (patient) in 51 min",
        "morphine, 24 hours 144 mcg 5 mcg 4 mcg 153 mcg 160 mcg (patient) 7 mcg left",
        "4.9 mcg to 5 mcg morphine",
        "1 hour in 51 min, 4 hours in 3 h 51 min",
    ):
        assert piece in text, text


def shown(found: Why) -> str:
    """What a person sees, on one line and without the table's rules."""
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(why_view(found))
    return " ".join(console.export_text().replace("│", " ").split())


@pytest.mark.requirement("SR-56")
def test_why_a_bolus_was_granted_shows_the_room_that_was_left() -> None:
    found = why(two_doses().journal, 2)
    assert found is not None
    document = why_as_json(found)
    assert (document["decision"], document["outcome"]) == ("granted", "delivered")
    assert [one["room_in_ms"] for one in document["windows"]] == [0, 0, 0]
    assert document["earlier"] == []
    text = shown(found)
    assert "granted: no rule stood against it" in text
    assert "morphine, 1 hour 6 mcg 0 mcg 5 mcg 11 mcg 11 mcg (patient) 0 mcg left" in text


def test_why_a_program_was_granted_counts_it_and_what_was_there_before() -> None:
    found = why(two_doses().journal, 1)
    assert found is not None
    assert [one.asked for one in found.windows] == [0, 0, 0]
    assert found.windows[0].standing == 6 * 10**9


@pytest.mark.requirement("SR-14")
def test_why_a_program_was_refused_names_the_limits_that_it_was_judged_by() -> None:
    life = two_doses()
    life.now += 1
    higher = pump_case(((0, 12 * HOURLY),), limits_nl(5_000, 11_000, 40_000, 160_000))
    refused = life.ask(higher.command)
    assert isinstance(refused, Rejected)
    found = why(life.journal, refused.id)
    assert found is not None
    hour = why_as_json(found)["windows"][0]
    assert (hour["basal_and_button_fg"], hour["limit_fg"]) == (12 * 10**9, 11 * 10**9)
    assert hour["room_in_ms"] is None
    assert "none by waiting" in shown(found)


def test_why_without_windows_still_names_every_rule_and_the_reason_given() -> None:
    life = stimulator(ohms=False)
    reason = Override(("SR-41",), "clinician", "a test", "nurse")
    refused = life.ask(bolus_nl(1), reason)
    assert isinstance(refused, Rejected)
    found = why(life.journal, refused.id)
    assert found is not None
    assert found.windows == ()
    text = shown(found)
    assert "asked with an override of SR-41 by clinician and nurse: a test" in text
    assert all(finding.rule in text for finding in refused.findings)


@pytest.mark.requirement("SR-21")
def test_why_of_an_intent_without_an_outcome_says_uncertain_and_the_way_out() -> None:
    life = programmed(CASE)
    given = life.ask(bolus_nl(5_000))
    found = why(life.journal, given.id)
    assert found is not None
    assert found.outcome == "UNCERTAIN"
    assert "connect again, for instance with `neuraxis status`" in shown(found)


def test_nothing_was_asked_for_under_another_id() -> None:
    assert why(two_doses().journal, 77) is None
    assert set(STARTS)


# --- the commands --------------------------------------------------------------------------------


@pytest.fixture
def journal(state_folder: Path) -> Path:
    """A journal in its default place, closed in order."""
    where = places(None)
    path = where.journal_path("ITP-000123")
    write(path, where.anchor_of(path), two_doses().journal)
    return path


def write(path: Path, anchor: Anchor, events: list[Event]) -> None:
    """Writes a journal as its owner would."""
    disk = FileDisk(path)
    opened = open_journal(disk, anchor)
    for event in events:
        if event.kind == "opened":
            event = replace(event, schema=SCHEMA)
        opened.journal.append(event)
    opened.journal.settle()
    opened.journal.close()


def test_show_tells_one_dose_alone(journal: Path) -> None:
    whole, one = cli("journal", "show", journal), cli("journal", "show", journal, "--id", "0x2")
    assert (whole.code, one.code) == (0, 0)
    told = one.out.splitlines()
    assert len(told) == 3
    assert all(line in whole.out.splitlines() for line in told)
    assert cli("journal", "show", journal, "--id", "2").out == one.out
    entries = cli("journal", "show", journal, "--id", "2", "--format", "json").json["entries"]
    assert [entry["kind"] for entry in entries] == ["intended", "settled", "counted"]


@pytest.mark.parametrize("command", ["show", "why"])
@pytest.mark.parametrize("wrong", ["0x77", "77", "x", "0x", "-1", "1e3", "١", "0x" + "f" * 17])
def test_an_id_that_is_none_is_a_usage_error(journal: Path, command: str, wrong: str) -> None:
    answer = show_or_why(command, journal, wrong)
    assert answer.code == 2, answer.said
    assert "Traceback" not in answer.said


def show_or_why(command: str, journal: Path, wanted: str) -> Answer:
    if command == "show":
        return cli("journal", "show", journal, f"--id={wanted}")
    return cli("journal", "why", "--", wanted)


def test_why_finds_the_journal_by_itself_or_is_told_which(journal: Path, tmp_path: Path) -> None:
    found = cli("journal", "why", "0x3")
    assert found.code == 0, found.said
    assert "0x3 refused: bolus of 4 mcg morphine" in found.said
    assert cli("journal", "why", "3", "--journal", journal).out == found.out
    document = cli("journal", "why", "3", "--format", "json").json
    assert (document["schema"], document["path"]) == ("neuraxis.why/1", str(journal))
    assert (document["decision"], document["problem"]) == ("refused", None)
    missing = cli("journal", "why", "3", "--journal", tmp_path / "none")
    assert (missing.code, "cannot be read" in missing.err) == (2, True)


def test_why_without_an_id_is_about_the_last_refusal_of_all_journals(journal: Path) -> None:
    assert "0x3 refused" in cli("journal", "why").said
    where = places(None)
    life = two_doses()
    life.now -= 5 * MINUTE  # by this bench's wall clock, which runs backward, later
    life.journal.pop()
    life.ids = 40
    life.ask(bolus_nl(4_000))
    path = where.journal_path("ITP-7")
    write(path, where.anchor_of(path), life.journal)
    assert "0x29 refused" in cli("journal", "why").said
    assert "0x3 refused" in cli("journal", "why", "--journal", journal).said


def test_why_where_nothing_was_refused_says_so(state_folder: Path) -> None:
    answer = cli("journal", "why")
    assert (answer.code, "nothing was refused in the journals" in answer.said) == (2, True)
    where = places(None)
    path = where.journal_path("ITP-7")
    write(path, where.anchor_of(path), programmed(CASE).journal)
    assert cli("journal", "why", "--journal", path).code == 2


def test_why_in_a_journal_with_a_problem_says_both(journal: Path) -> None:
    data = journal.read_bytes()
    journal.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    answer = cli("journal", "why", "0x2")
    assert answer.code == 2
    assert "0x2 delivered: bolus" in answer.said
    assert "its hash does not follow" in answer.said


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F96")
def test_verify_finds_a_sum_that_is_wrong_though_every_hash_is_right(journal: Path) -> None:
    assert cli("journal", "verify", journal).code == 0
    disk, anchor = FileDisk(journal), places(None).anchor_of(journal)
    opened = open_journal(disk, anchor)
    forged = encode_state(Story().state)
    opened.journal.append(summed_up(forged, two_doses().journal[-1].at))
    opened.journal.settle()
    opened.journal.close()
    verified = cli("journal", "verify", journal)
    assert verified.code == 3
    assert "the checkpoint is not what the entries before it fold to" in verified.err


def test_verify_names_a_damaged_anchor(journal: Path) -> None:
    for path in journal.parent.parent.glob("anchors/*"):
        path.write_bytes(b"\0" * 9_000)
    verified = cli("journal", "verify", journal, "--format", "json")
    assert verified.code == 3
    assert "anchor is damaged" in verified.json["problem"]


def test_intents_of_this_story_are_what_a_judge_grants() -> None:
    kinds = [type(event) for event in two_doses().journal]
    assert kinds.count(Intended) == 2
    assert kinds.count(Rejected) == 1
