"""No window is ever over its limit: the real kernel against an oracle that shares no code with it.

Each story is a list of plain steps (wait, ask, settle, change the basal, restart). The kernel
decides; the oracle counts what a pump can have given at worst. The wrong twins at the end are
kernels with one guard broken: the same property has to refute each of them, or it proves nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any, Literal

import pytest
from clinical_examples import ITP
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from kernel_bench import (
    DAY,
    FG_PER_NL,
    HOUR,
    HOURLY,
    MG_PER_ML,
    MINUTE,
    SLACK,
    Story,
    bolus_nl,
    button_nl,
    limits_nl,
    pump_case,
)
from window_oracle import Button, Delivery, Given, Steps

from device_profiles.notation import parse_concentration
from device_profiles.quantities import (
    DAY_MS,
    Femtograms,
    Milliseconds,
    NanogramsPerMillilitre,
    NanoLitresPerDay,
)
from device_profiles.therapy import DoseLimits, Drug
from safety import fold, judgement, kernel, rules_windows
from safety.commands import GiveBolus, Instant
from safety.dose import worst_case_over
from safety.doubt import Reservation
from safety.events import Connected, Intended, Outcome, Settled
from safety.limits import DOSE_WINDOWS
from safety.outputs import PumpProgram
from safety.state import State

UNIT = 1_000
"""nL; doses, basals (an hour) and limits are small whole numbers of it, so that sums meet."""

FOREVER = 10**15


def mirrored(steps: Steps) -> Steps:
    """The same times of the day with their flows in reverse."""
    return tuple((start, flow) for (start, _), (_, flow) in zip(steps, steps[::-1], strict=True))


def flow(step: tuple[int, int]) -> int:
    return step[1]


Windows = Literal["boluses", "rising basal", "any basal"]


@dataclass(frozen=True)
class Setting:
    """A pump as it is first programmed: in windows up to ``tight`` there is room for ``room``.

    With two drugs, the second (half as strong) is the one that binds.
    """

    basal: Steps
    button: Button | None
    tight: int
    room: int
    two_drugs: bool

    def full(self, window: int) -> Fraction:
        """The most that this program alone can give in a window, nL."""
        return Delivery(self.button, [(0, FOREVER, self.basal)]).worst(window, 3 * DAY)

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """Each window with the limit that binds in it, nL; limits grow with their period."""
        limit = ceil(self.full(self.tight)) + self.room * UNIT
        wide = ((HOUR, 1_000_000), (4 * HOUR, 1_000_000), (DAY, 9_000_000))
        return tuple((window, limit if window <= self.tight else loose) for window, loose in wide)


@dataclass(frozen=True)
class Wait:
    time: int


@dataclass(frozen=True)
class WaitForEdge:
    """Until the newest dose but ``back`` leaves the window, and ``offset`` ms."""

    back: int
    window: int
    offset: int


@dataclass(frozen=True)
class AskBolus:
    """So many units and ``more`` nL; answered at once with ``outcome``, or not yet."""

    units: int
    over: int
    more: int
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Settle:
    outcome: Outcome


@dataclass(frozen=True)
class Change:
    """Another basal (``None``: the same flows in turn), answered at once or not yet."""

    basal: Steps | None
    outcome: Outcome | None


@dataclass(frozen=True)
class Restart:
    pass


Step = Wait | WaitForEdge | AskBolus | Settle | Change | Restart

BASALS: st.SearchStrategy[Steps] = st.one_of(
    st.integers(2, 8).map(lambda one: ((0, one * HOURLY),)),
    st.tuples(
        st.integers(2, 8), st.integers(2, 8), st.sampled_from([1, 60, 720, 720, 720, 1439])
    ).map(lambda one: ((0, one[0] * HOURLY), (one[2], one[1] * HOURLY))),
)
BUTTONS = st.one_of(
    st.none(),
    st.builds(
        Button,
        st.sampled_from([UNIT, 2 * UNIT]),
        st.sampled_from([MINUTE, 10 * MINUTE, HOUR]),
        st.sampled_from([HOUR, 2 * HOUR, 4 * HOUR]),
        st.sampled_from([1, 4, 24]),
    ),
)
WINDOWS = st.sampled_from([HOUR, 4 * HOUR, DAY])
SETTINGS = st.builds(
    Setting, BASALS, BUTTONS, WINDOWS, st.integers(1, 8), st.sampled_from([False, False, True])
)
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        Wait, st.sampled_from([1, MINUTE, 10 * MINUTE, HOUR - 1, HOUR, 4 * HOUR, DAY // 2, DAY])
    ),
    st.builds(WaitForEdge, st.integers(0, 2), WINDOWS, st.sampled_from([-1, 0, 0, 1])),
    st.builds(
        AskBolus,
        st.integers(1, 8),
        st.sampled_from([MINUTE, 10 * MINUTE, HOUR, 2 * HOUR]),
        st.sampled_from([0, 0, 0, -1, 1]),
    ),
    st.builds(AskBolus, st.integers(1, 8), st.just(MINUTE), st.just(0), st.just("delivered")),
    st.builds(AskBolus, st.integers(1, 8), st.just(HOUR), st.just(0), st.just("delivered")),
    st.builds(Settle, st.sampled_from(["delivered", "refused", "UNCERTAIN"])),
    st.builds(Settle, st.just("delivered")),
    st.just(Restart()),
)
CHANGES = st.builds(
    Change,
    st.one_of(BASALS, st.none()),
    st.sampled_from(["delivered", "delivered", "UNCERTAIN", None]),
)


def stories(kind: Windows) -> st.SearchStrategy[tuple[Setting, tuple[Step, ...]]]:
    if kind == "boluses":
        return st.tuples(SETTINGS, st.lists(STEPS, min_size=2, max_size=14).map(tuple))
    anything = st.lists(st.one_of(STEPS, CHANGES), min_size=1, max_size=12).map(tuple)
    return st.tuples(
        SETTINGS, st.one_of(anything, st.tuples(BEFORE_A_CHANGE, anything).map(sum_up))
    )


BEFORE_A_CHANGE = st.tuples(
    st.builds(Wait, st.sampled_from([HOUR, 4 * HOUR, DAY // 2])),
    st.builds(Change, st.one_of(BASALS, st.none()), st.just("delivered")),
    st.builds(AskBolus, st.integers(1, 8), st.just(MINUTE), st.just(0), st.just("delivered")),
)
"""Time to fill a window, another basal, and a bolus right after it."""


def sum_up(parts: tuple[tuple[Step, ...], tuple[Step, ...]]) -> tuple[Step, ...]:
    return (*parts[0], *parts[1])


# --- the story, told to the kernel and to the oracle --------------------------------------------


class Pump:
    """One pump: the kernel's view in ``story``, physics in ``truth`` (nL, the same for each drug).

    ``origin`` is where its slow clock stands at the start: some midnight.
    """

    def __init__(self, setting: Setting, kind: Windows, origin: int) -> None:
        self.setting = setting
        self.kind = kind
        self.origin = origin
        self.story = Story(now=origin)
        button = setting.button
        self.button = None
        if button is not None:
            self.button = button_nl(button.volume, button.over, button.lockout, button.most)
        self.truth = Delivery(button)
        self.granted: dict[int, Given] = {}
        self.windows = setting.windows
        hour, four_hours, day = (limit for _, limit in self.windows)
        self.limits = (hour, hour, four_hours, day)
        self.story.connect()
        answer = self.story.ask(self.case(setting.basal).command)
        self.programmed = isinstance(answer, Intended)
        if self.programmed:
            self.story.settle(answer.id)
            self.truth.programs.append((0, FOREVER, setting.basal))
        self.pending: tuple[int, Steps] | None = None

    def case(self, basal: Steps) -> Any:
        bolus, hour, four_hours, day = self.limits
        binding = limits_nl(bolus, hour, four_hours, day)
        looser = limits_nl(bolus + 3 * UNIT, hour + 3 * UNIT, four_hours + 3 * UNIT, day + 3 * UNIT)
        two = self.setting.two_drugs
        drugs = [Drug("morphine", MG_PER_ML, "opioid-tolerant", looser if two else binding)]
        if two:
            half = DoseLimits(
                *(Femtograms(one * FG_PER_NL // 2) for one in (bolus, hour, four_hours, day))
            )
            drugs.append(
                Drug("fentanyl", parse_concentration("0.5 mg/mL"), "opioid-tolerant", half)
            )
        return pump_case(basal, drugs=drugs, button=self.button)

    @property
    def time(self) -> int:
        return self.story.now - self.origin

    def tell(self, step: Step) -> None:
        match step:
            case Wait(time):
                self.story.now += time
            case WaitForEdge(back, window, offset):
                if len(self.truth.boluses) > back:
                    edge = self.truth.boluses[-1 - back].latest + window + offset
                    self.story.now = max(self.story.now, self.origin + edge)
            case AskBolus(units, over, more, outcome):
                answer = self.story.ask(bolus_nl(units * UNIT + more, over))
                if isinstance(answer, Intended):
                    given = Given(self.time, self.time + SLACK + over, units * UNIT + more)
                    self.granted[answer.id] = given
                    self.truth.boluses.append(given)
                    if outcome is not None:
                        self.settle(outcome)
            case Settle(outcome):
                self.settle(outcome)
            case Change(basal, outcome):
                self.change(basal or mirrored(self.truth.programs[-1][2]), outcome)
            case Restart():
                self.story.restart()
                self.story.connect()

    def settle(self, outcome: Outcome) -> None:
        if not self.story.state.unsettled:
            return
        intent = self.story.state.unsettled[0]
        self.story.settle(intent.id, outcome)
        if outcome == "UNCERTAIN":
            return
        if intent.id in self.granted:
            if outcome == "refused":
                given = self.granted.pop(intent.id)
                self.truth.boluses = [one for one in self.truth.boluses if one is not given]
            elif outcome == "delivered":  # it may have lain on the way until now
                given = self.granted[intent.id]
                over = given.latest - given.earliest - SLACK
                given.latest = max(given.latest, self.time + over)
        elif self.pending is not None:
            begun, steps = self.pending
            self.pending = None
            begin, _, old = self.truth.programs[-1]
            if outcome == "delivered":
                self.truth.programs[-1] = (begin, self.time, old)
                self.truth.programs.append((begun, FOREVER, steps))

    def change(self, steps: Steps, outcome: Outcome | None) -> None:
        """Programs a basal; until the pump has answered, it may run the old or the new one."""
        last = self.truth.programs[-1][2]
        if self.kind == "rising basal" and max(last, key=flow)[1] > min(steps, key=flow)[1]:
            return
        answer = self.story.ask(self.case(steps).command)
        if isinstance(answer, Intended):
            self.pending = (self.time, steps)
            if outcome is not None:
                self.settle(outcome)

    def over(self) -> str | None:
        """The first window that can hold more than its limit, in words."""
        if self.pending is not None:
            self.truth.programs.append((self.pending[0], FOREVER, self.pending[1]))
        for window, limit in self.windows:
            worst = self.truth.worst(window, self.time + DAY)
            if worst > limit:
                return f"{float(worst)} nL in {window // HOUR} h, {limit} are allowed"
        return None


def violation(
    story: tuple[Setting, tuple[Step, ...]], kind: Windows = "boluses", origin: int = 0
) -> str | None:
    """How a story brings some window over its limit; ``None`` if it does not."""
    pump = Pump(story[0], kind, origin)
    if not pump.programmed:
        return None
    for step in story[1]:
        pump.tell(step)
    return pump.over()


# --- the real kernel -----------------------------------------------------------------------------


@pytest.mark.requirement("SR-14")
@pytest.mark.requirement("SR-15")
@pytest.mark.fault("F59")
@pytest.mark.fault("F61")
@pytest.mark.fault("F62")
@settings(max_examples=400)
@given(stories("boluses"), st.sampled_from([0, 10_000 * DAY]))
def test_no_window_can_hold_more_than_its_limit_whatever_became_of_each_bolus(
    story: tuple[Setting, tuple[Step, ...]], origin: int
) -> None:
    assert violation(story, "boluses", origin) is None


@pytest.mark.requirement("SR-14")
@settings(max_examples=400)
@given(stories("rising basal"))
def test_no_window_can_hold_more_than_its_limit_while_the_basal_only_rises(
    story: tuple[Setting, tuple[Step, ...]],
) -> None:
    assert violation(story, "rising basal") is None


@pytest.mark.requirement("SR-14")
@pytest.mark.fault("F64")
@pytest.mark.fault("F94")
@settings(max_examples=400)
@given(stories("any basal"))
def test_no_window_can_hold_more_than_its_limit_while_the_basal_rises_and_falls(
    story: tuple[Setting, tuple[Step, ...]],
) -> None:
    assert violation(story, "any basal") is None


@pytest.mark.requirement("SR-14")
def test_the_window_rule_holds_alone_where_doubt_blocks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judgement, "judge_unsettled", lambda unsettled: [])
    assert refuted("boluses", 400) is None


@pytest.mark.requirement("SR-14")
@settings(max_examples=150)
@given(stories("boluses"))
def test_a_bolus_is_refused_only_where_a_full_window_would_be_over_or_the_last_one_may_run(
    story: tuple[Setting, tuple[Step, ...]],
) -> None:
    pump = Pump(story[0], "boluses", 0)
    if not pump.programmed:
        return
    one = story[0]
    for step in story[1]:
        if isinstance(step, AskBolus) and not pump.story.state.unsettled:
            volume = step.units * UNIT + step.more
            fits = volume <= pump.windows[0][1] and all(
                pump.time >= max(b.latest, b.earliest + SLACK + MINUTE) for b in pump.truth.boluses
            )
            for window, limit in pump.windows:
                held = sum(b.volume for b in pump.truth.boluses if b.latest >= pump.time - window)
                fits = fits and one.full(window) + held + volume <= limit
            before = len(pump.truth.boluses)
            pump.tell(step)
            assert (len(pump.truth.boluses) > before) == fits
        else:
            pump.tell(step)


# --- the oracle itself --------------------------------------------------------------------------


def test_the_oracle_counts_a_bolus_where_it_hurts_most() -> None:
    truth = Delivery(None, [(0, FOREVER, ((0, 6 * HOURLY),))], [Given(600_000, 720_000, 5_000)])
    assert truth.worst(HOUR, DAY) == 11_000
    assert truth.worst(DAY, DAY) == 6_000 * 24 + 5_000


def test_the_oracle_knows_golden_8_6_the_naive_rule_brings_11_where_10_are_allowed() -> None:
    truth = Delivery(None, [(0, FOREVER, ((0, 6 * HOURLY),))], [Given(600_000, 600_000, 5_000)])
    assert truth.worst(HOUR, DAY) == 11_000


def test_the_oracle_counts_closed_windows_and_both_programs_of_an_open_change() -> None:
    boluses = [Given(0, 10, 1), Given(10 + HOUR, 20 + HOUR, 1)]
    assert Delivery(None, [], boluses).worst(HOUR, DAY) == 2
    boluses[1] = Given(11 + HOUR, 20 + HOUR, 1)
    assert Delivery(None, [], boluses).worst(HOUR, DAY) == 1
    both = Delivery(None, [(0, HOUR, ((0, 4 * HOURLY),)), (HOUR // 2, FOREVER, ((0, 2 * HOURLY),))])
    assert both.worst(2 * HOUR, DAY) == 6_000


def test_the_oracle_counts_presses_by_lockout_and_by_number() -> None:
    button = Button(1_000, 10 * MINUTE, HOUR, 4)
    assert [
        button.most_in(one) for one in (1, HOUR, HOUR + 1, 4 * HOUR, DAY, DAY + 10 * MINUTE)
    ] == [
        pytest.approx(1_000 / 600_000),
        1_000,
        pytest.approx(1_000 + 1_000 / 600_000),
        4_000,
        4_000,
        4_000,
    ]


# --- wrong twins --------------------------------------------------------------------------------


def refuted(kind: Windows, most: int) -> tuple[Setting, tuple[Step, ...]] | None:
    """The first story, of so many, that brings a window over its limit; the same every time."""
    search = settings(
        max_examples=most,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    try:
        return find(
            stories(kind), lambda story: violation(story, kind) is not None, settings=search
        )
    except NoSuchExample:
        return None


Twin = Callable[[pytest.MonkeyPatch], None]


def _patched(target: object, name: str, value: object) -> Twin:
    return lambda monkeypatch: monkeypatch.setattr(target, name, value)


def _slack_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (kernel, judgement):
        monkeypatch.setattr(module, "delivery_slack", no_slack)


def open_edge(self: Reservation, window: int, now: Instant) -> bool:
    return self.latest_end > now.slow - window


def edge_of_the_asking(self: Reservation, window: int, now: Instant) -> bool:
    return self.latest_end >= now.slow - window + SLACK


def fixed_hours(self: Reservation, window: int, now: Instant) -> bool:
    return self.latest_end // window >= now.slow // window


Programs = tuple[tuple[PumpProgram, NanogramsPerMillilitre], ...]


def boluses_only(programs: Programs, window: Milliseconds) -> Femtograms:
    return worst_case_over(
        tuple((_without_basal(one), strength) for one, strength in programs), window
    )


def _without_basal(program: PumpProgram) -> PumpProgram:
    nothing = tuple(replace(step, flow=NanoLitresPerDay(0)) for step in program.basal)
    return replace(program, basal=nothing)


def basal_only(programs: Programs, window: Milliseconds) -> Femtograms:
    return worst_case_over(
        tuple((replace(one, patient_bolus=None), strength) for one, strength in programs), window
    )


def average_basal(programs: Programs, window: Milliseconds) -> Femtograms:
    """A day's basal spread evenly: the mean where the largest integral is due."""
    rest = basal_only(programs, DAY_MS) * window // DAY
    return Femtograms(rest + boluses_only(programs, window))


def largest_alone(programs: Programs, window: Milliseconds) -> Femtograms:
    """The worst of each program by itself, where one may follow the other in a window."""
    return max(worst_case_over((one,), window) for one in programs)


def no_slack(state: State) -> Milliseconds:
    return Milliseconds(0)


def only_the_newest(state: State, now: Instant) -> tuple[PumpProgram, ...]:
    return () if state.pump_program is None else (state.pump_program,)


def doubt_is_a_refund(state: State, event: Settled) -> State:
    if event.outcome == "UNCERTAIN":
        kept = tuple(one for one in state.reservations if one.id != event.id)
        return replace(state, reservations=kept)
    return _settled(state, event)


def doubt_is_a_failure(state: State, event: Settled) -> State:
    outcome: Outcome = "refused" if event.outcome == "UNCERTAIN" else event.outcome
    return _settled(state, replace(event, outcome=outcome))


def done_is_forgotten(state: State, event: Settled) -> State:
    after = _settled(state, event)
    kept = tuple(one for one in after.reservations if one.id != event.id)
    return replace(after, reservations=kept) if event.outcome == "delivered" else after


_settled, _intended, _connected = fold.settled, fold.intended, fold.connected
_judge_windows = rules_windows._judge_windows


def restart_forgets(state: State, event: Connected) -> State:
    return replace(_connected(state, event), reservations=())


def success_starts_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dose is reserved once it is answered; SR-23 taken out, since it would hide this."""

    def intended(state: State, event: Intended) -> State:
        return replace(_intended(state, event), reservations=state.reservations)

    def settled(state: State, event: Settled) -> State:
        intent = next((one for one in state.unsettled if one.id == event.id), None)
        after = _settled(state, event)
        if intent is None or event.outcome != "delivered" or intent.latest_end is None:
            return after
        counted = _intended(replace(state, reservations=()), intent).reservations
        return replace(after, reservations=(*after.reservations, *counted))

    monkeypatch.setattr(fold, "intended", intended)
    monkeypatch.setattr(fold, "settled", settled)
    monkeypatch.setattr(judgement, "judge_unsettled", lambda unsettled: [])


def lax_and_overwritten(state: State, event: Intended) -> State:
    """Only the newest reservation is kept."""
    return replace(_intended(replace(state, reservations=()), event))


def open_pca(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule of Open PCA: what the window that ends now holds of the basal, and no more."""

    def judged(programs: Any, drug: Any, asked: Any, held: Any, now: Instant, path: str) -> Any:
        def so_far(programs: Programs, window: Milliseconds) -> Femtograms:
            since = Milliseconds(max(1, min(window, now.slow)))
            return worst_case_over(programs, since)

        with monkeypatch.context() as patch:
            patch.setattr(rules_windows, "worst_case_over", so_far)
            return _judge_windows(programs, drug, asked, held, now, path)

    monkeypatch.setattr(rules_windows, "_judge_windows", judged)


def first_drug_only(program: Any, drug: Any, *rest: Any) -> Any:
    return _judge_windows(program, drug, *rest) if drug.name == "morphine" else []


def begin_is_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reservation that ends where it begins."""

    def intended(state: State, event: Intended) -> State:
        end = None if event.latest_end is None else event.at.slow
        return _intended(state, replace(event, latest_end=end))

    monkeypatch.setattr(fold, "intended", intended)


def one_window(quantity: str) -> Twin:
    only = tuple(one for one in DOSE_WINDOWS if one.quantity == quantity)
    return _patched(rules_windows, "DOSE_WINDOWS", only)


def _held_for_an_hour(state: State, now: Instant) -> tuple[Reservation, ...]:
    return tuple(r for r in state.reservations if r.reaches_into(Milliseconds(HOUR), now))


def one_nanolitre_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that lets one nanolitre pass."""

    def judged(program: Any, drug: Any, asked: int, *rest: Any) -> Any:
        return _judge_windows(program, drug, Femtograms(max(0, asked - 1_000_000)), *rest)

    monkeypatch.setattr(rules_windows, "_judge_windows", judged)


def basal_changes_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program change that looks at no earlier bolus."""
    monkeypatch.setattr(judgement, "judge_pump_windows", lambda *rest: [])


TWINS: dict[str, tuple[Windows, Twin]] = {
    "> for >= at the edge": ("boluses", _patched(Reservation, "reaches_into", open_edge)),
    "slack forgotten": ("boluses", _slack_forgotten),
    "slack given back": ("boluses", _patched(Reservation, "reaches_into", edge_of_the_asking)),
    "fixed hours": ("boluses", _patched(Reservation, "reaches_into", fixed_hours)),
    "counted by its beginning": ("boluses", begin_is_end),
    "basal forgotten": ("boluses", _patched(rules_windows, "worst_case_over", boluses_only)),
    "patient forgotten": ("boluses", _patched(rules_windows, "worst_case_over", basal_only)),
    "mean basal": ("boluses", _patched(rules_windows, "worst_case_over", average_basal)),
    "UNCERTAIN frees the dose": ("boluses", _patched(fold, "settled", doubt_is_a_refund)),
    "UNCERTAIN is a failure": ("boluses", _patched(fold, "settled", doubt_is_a_failure)),
    "delivered frees the dose": ("boluses", _patched(fold, "settled", done_is_forgotten)),
    "success starts the count": ("boluses", success_starts_the_count),
    "void on restart": ("boluses", _patched(fold, "connected", restart_forgets)),
    "only the newest counts": ("boluses", _patched(fold, "intended", lax_and_overwritten)),
    "Open PCA": ("boluses", open_pca),
    "first drug only": ("boluses", _patched(rules_windows, "_judge_windows", first_drug_only)),
    "no hour": ("boluses", one_window("per_day")),
    "only the hour": ("boluses", one_window("per_hour")),
    "held for an hour": ("boluses", _patched(judgement, "reservations_at", _held_for_an_hour)),
    "one nanolitre more": ("boluses", one_nanolitre_more),
    "changes see no bolus": ("rising basal", basal_changes_unseen),
    "replaced program forgotten": (
        "any basal",
        _patched(judgement, "programs_in_window", only_the_newest),
    ),
    "largest, not the envelope": (
        "any basal",
        _patched(rules_windows, "worst_case_over", largest_alone),
    ),
}


@pytest.mark.fault("F63")
@pytest.mark.parametrize("name", TWINS)
def test_a_wrong_twin_of_the_kernel_is_refuted_by_the_same_property(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, plant = TWINS[name]
    plant(monkeypatch)
    assert refuted(kind, 1_500) is not None


def test_the_profile_lets_the_boluses_of_this_file_flow() -> None:
    assert isinstance(bolus_nl(8 * UNIT, MINUTE), GiveBolus)
    assert ITP.flow_max > 8 * UNIT * DAY // MINUTE + 8 * HOURLY
