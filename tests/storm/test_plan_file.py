"""Plans as files: what is written is read back, and what cannot be meant is refused."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.errors import UsageError
from hil.storm import plan_file
from hil.storm.draw import draw
from hil.storm.hosts import Host, steps_of
from hil.storm.plan import DOINGS, Act, Family, Plan
from hil.storm.plan_file import parse_plan, read_plan
from hil.storm.run import run_storm

KNOWN = Path(__file__).parent / "known"
FAMILIES: tuple[Family, ...] = ("pump", "stimulator")


@pytest.mark.parametrize("family", ["pump", "stimulator"])
def test_a_plan_is_read_back_as_it_was_written(family: Family) -> None:
    for seed in range(40):
        plan = draw(seed, family)
        assert parse_plan(plan.text(), "a plan") == plan
        assert '"' not in plan.text(), "what is drawn needs no quotes"


HEAD = "storm: pump\nseed: 1\nminutes: 10\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "x:1: a plan begins with"),
        ("- 1", "x:1: here belongs a mapping"),
        ("storm: cat\nseed: 1\nminutes: 1\nacts: []", "x:1: there is a storm for a pump or"),
        (HEAD + "acts: []\nwind: 3", "x:5: no key 'wind'"),
        (HEAD + "acts: 5", "x:4: acts is a list"),
        (HEAD + "acts:\n  - {at: 5, do: dance}", "x:5: nothing is called 'dance'"),
        (HEAD + "acts:\n  - {at: soon, do: bolus}", "x:5: at: 'soon' is no whole number"),
        (
            HEAD + "acts:\n  - {at: 1, do: weather, where: snow}",
            "x:5: for weather of a pump where ",
        ),
        (HEAD + "acts:\n  - {do: bolus}", "x:5: at is missing"),
        (HEAD + "acts:\n  - {at: 1, do: start, where: night}", "x:5: start is for a stimulator"),
        (HEAD + "acts:\n  - {at: 1, do: stop, where: deep}", "x:5: for stop of a pump where is"),
        (HEAD + "acts:\n  - {at: 1, do: device, where: flu}", "x:5: for device of a pump where "),
        (HEAD + "acts:\n  - {at: 1, do: device, where: magnet}", "x:5: for device of a pump"),
        (HEAD + "acts:\n  - {at: 1, do: cut, amount: -5}", "x:5: amount is 0 to"),
        (HEAD + "acts:\n  - {at: 1, do: flood, amount: 9999999}", "x:5: amount is 0 to 1000000"),
        ("storm: pump\nseed: 1\nminutes: 0\nacts: []", "x:3: minutes is 1 to"),
        (HEAD + "acts:\n  - {at: 1, do: kill, where: nowhere}", "x:5: for kill of a pump where is"),
        (HEAD + "acts:\n  - {at: 1, do: cut, where: nowhere}", "x:5: for cut of a pump where is"),
        (HEAD + "acts:\n  - {at: 1, do: cancel, where: done start}", "x:5: for cancel of a pump"),
        (HEAD + "acts:\n  - {at: 1, do: stretch}", "x:5: for stretch of a pump where is one of"),
        (HEAD + "acts:\n  - {at: 1, do: apply, where: '²'}", "x:5: for apply of a pump where is"),
        (HEAD + "acts:\n  - {at: 1, do: apply, where: 99999999999999999999}", "x:5: for apply of"),
        (HEAD + "acts:\n  - {at: 1, do: look, where: here}", "x:5: for look of a pump there is no"),
        (HEAD + "acts:\n  - {at: 1, do: look, amount: 3}", "x:5: look takes no amount"),
        (HEAD + "acts:\n  - {at: 1000000000000, do: look}", "x:5: at is 0 to 87000000"),
        (HEAD + "acts:\n  - {at: 1, do: stall, amount: 1000000000000}", "x:5: amount is 0 to"),
        (HEAD + "acts:\n  - {at: 1, do: suspend, amount: 1000000000000}", "x:5: amount is 0 to"),
        (HEAD + 'acts:\n  - {at: 1, do: look, who: "\\ud800"}', "x:5: who is a name of at most"),
        (HEAD + 'acts:\n  - {at: 1, do: look, who: "\\e[31mX"}', "x:5: who is a name of at most"),
        ("storm: pump\nseed: 1\nminutes: 1_0\nacts: []", "x:3: minutes: '1_0' is no whole number"),
        ("storm: pump\nseed: 1\nminutes: +10\nacts: []", "x:3: minutes: '+10' is no whole number"),
        ("storm: pump\nseed: 1\nminutes: ١٠\nacts: []", "x:3: minutes: '١٠' is no whole number"),
        ("storm: pump\nseed: 1\nminutes: ' 1 '\nacts: []", "x:3: minutes: ' 1 ' is no whole num"),
        (f"storm: pump\nseed: {'9' * 5_000}\nminutes: 1\nacts: []", "x:2: seed: '999"),
        ("storm: [", "x:"),
    ],
)
def test_a_bad_plan_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_plan(text, "x")
    assert str(caught.value).startswith(says)


def _called(who: str) -> Plan:
    plan = draw(7, "pump")
    return replace(plan, acts=tuple(replace(act, who=who) for act in plan.acts))


@given(who=st.text(st.characters().filter(str.isprintable), max_size=64))
def test_a_plan_is_read_back_whatever_its_people_are_called(who: str) -> None:
    assert parse_plan(_called(who).text(), "a plan") == _called(who)


@pytest.mark.parametrize("who", ["A, x: 1", "null", "7", "- A", "A #1", " A ", "'A'", 'a "b" \\n'])
def test_a_name_that_could_be_yaml_is_quoted(who: str) -> None:
    assert parse_plan(_called(who).text(), "a plan") == _called(who)


SLOT = st.one_of(st.text(), st.integers().map(str), st.sampled_from(steps_of("pump")))


@given(
    do=st.sampled_from(sorted(DOINGS)),
    slots=st.dictionaries(st.sampled_from(("at", "who", "where", "amount")), SLOT),
)
def test_an_act_is_refused_in_a_sentence_or_read_back_as_it_was(
    do: str, slots: dict[str, str]
) -> None:
    written = ", ".join(
        f"{key}: {json.dumps(value)}" for key, value in ({"at": "1"} | slots).items()
    )
    text = f"{HEAD}acts:\n  - {{do: {do}, {written}}}"
    said, plan = "", draw(1, "pump")
    try:
        plan = parse_plan(text, "x")
    except UsageError as error:
        said = str(error)
    assert said.startswith("x:5: ") or parse_plan(plan.text(), "x") == plan


def test_acts_are_run_in_the_order_of_their_times() -> None:
    acts = ("at: 500000, do: look", "at: 60000, do: press", "at: 60000, do: look")
    plan = parse_plan(HEAD + "acts:\n" + "".join(f"  - {{{act}}}\n" for act in acts), "x")
    assert plan.acts == (Act(60_000, "press"), Act(60_000, "look"), Act(500_000, "look"))


@pytest.mark.parametrize("path", sorted(KNOWN.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_plan_that_is_kept_is_read_in_the_order_it_is_written(path: Path) -> None:
    times = re.findall(r"at: (\d+)", path.read_text("utf-8"))
    assert [str(act.at) for act in read_plan(path).acts] == times


@pytest.mark.real_clock
@pytest.mark.parametrize("family", FAMILIES)
def test_a_plan_may_name_every_step_that_a_host_comes_to(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    real_step = Host.step

    def step(self: Host, name: str) -> bool:
        seen.add(name)
        return real_step(self, name)

    monkeypatch.setattr(Host, "step", step)
    for seed in range(1, 4):
        run_storm(draw(seed, family))
    assert {"append", "leaves open", "heard commit"} <= seen <= set(steps_of(family))


# --- where it is read from -----------------------------------------------------------------------


def _pipe_with(data: bytes) -> int:
    """The end from which somebody reads; whoever wrote is gone."""
    reads, writes = os.pipe()
    os.write(writes, data)
    os.close(writes)
    return reads


def test_a_plan_may_come_out_of_a_pipe() -> None:
    plan = draw(3, "pump")
    pipe = _pipe_with(plan.text().encode())
    assert read_plan(Path(f"/dev/fd/{pipe}")) == plan
    os.close(pipe)


def test_a_pipe_is_read_no_further_than_a_plan_can_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_file, "_MAX_BYTES", 100)
    pipe = _pipe_with(b" " * 1_000)
    with pytest.raises(UsageError, match="is larger than"):
        read_plan(Path(f"/dev/fd/{pipe}"))
    assert os.read(pipe, 1_000)
    os.close(pipe)


def test_a_pipe_that_nobody_writes_to_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_file, "_PIPE_PATIENCE_S", 0.0)
    os.mkfifo(tmp_path / "plan")
    with pytest.raises(UsageError, match="is anybody writing to it"):
        read_plan(tmp_path / "plan")


@pytest.mark.parametrize("path", ["/dev/zero", "/", "/no/such/plan"])
def test_what_is_no_file_and_no_pipe_is_no_plan(path: str) -> None:
    with pytest.raises(UsageError, match=f"the plan {path} cannot be read: "):
        read_plan(Path(path))
