"""What a display is shown goes to telemetry too."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import pytest

import hil.telemetry
from device_profiles.errors import DeviceSilent, UsageError
from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import RealClock
from firmware_bridge.controller import Plan
from firmware_bridge.driver import Sample
from firmware_bridge.families.table import AnyController
from firmware_bridge.telemetry_outbox import Subject
from hil.telemetry import PublishedDisplay
from hil.watch import Watched
from safety.alarms import ActiveAlarm, Alarm

RUNNING = Sample(Milliseconds(1), 1, "running", False, True, {}, ())
OFF = replace(RUNNING, state="off", safe=True, delivering=False)
LATCHED = Alarm("journal-latched", "MEDIUM", "SR-56", "the disk is full")
OVER = Alarm("over-delivery", "HIGH", "SR-31", "more flows than the plan says")


class Shown:
    """A display that remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []

    def say(self, text: str) -> None:
        self.calls.append(("say", text))

    def plan(self, plan: Plan) -> None:
        self.calls.append(("plan", plan))

    def watched(self, watched: Watched) -> None:
        self.calls.append(("watched", watched))

    def sound(self, alarm: Alarm) -> None:
        self.calls.append(("sound", alarm))

    def remind(self, alarm: Alarm) -> None:
        self.calls.append(("remind", alarm))


class Recorder:
    """A publisher that remembers."""

    def __init__(self, broker: object, subject: Subject, clock: object, say: object) -> None:
        self.subject = subject
        self.calls: list[tuple[Any, ...]] = []
        self.left = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.left = True

    def sample(self, sample: Sample) -> None:
        self.calls.append(("sample", sample.state))

    def alarm(self, alarm: Alarm) -> None:
        self.calls.append(("alarm", alarm.code))

    def alarms(self, board: tuple[ActiveAlarm, ...]) -> None:
        self.calls.append(("alarms", *(one.alarm.code for one in board)))

    def state(self, state: str, *, delivering: bool | None, patient: str | None) -> None:
        self.calls.append(("state", state, delivering, patient))

    def taken(self) -> list[tuple[Any, ...]]:
        """The calls since the last time."""
        calls, self.calls = self.calls, []
        return calls


@dataclass
class Device:
    """As much of a controller as telemetry looks at; ``answers`` ``None``: it is silent."""

    answers: Sample | None = OFF
    identity: Any = field(
        default_factory=lambda: type(
            "Identity", (), {"serial": "SCS-7", "family": "scs", "model": "scs-16"}
        )
    )
    state: Any = field(
        default_factory=lambda: type("State", (), {"patient": "BENCH-007", "alarms": ()})
    )

    session: Any = field(default_factory=lambda: type("Session", (), {"sealed": False}))

    async def sample(self) -> Sample:
        if self.answers is None:
            raise DeviceSilent("it does not answer")
        return self.answers

    @property
    def controller(self) -> AnyController:
        return cast("AnyController", self)


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    made: list[Recorder] = []

    def make(*args: Any) -> Recorder:
        made.append(Recorder(*args))
        return made[-1]

    monkeypatch.setattr(hil.telemetry, "Publisher", make)
    return made


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def published(shown: Shown) -> Callable[[str | None], PublishedDisplay]:
    return lambda url: PublishedDisplay(url, shown, RealClock())


Make = Callable[[str | None], PublishedDisplay]


async def test_without_a_url_it_is_only_a_display(
    published: Make, shown: Shown, recorders: list[Recorder]
) -> None:
    display = published(None)
    watched = Watched(RUNNING, ())
    async with display.publishing(Device(None).controller):
        display.say("hello")
        display.watched(watched)
        display.sound(OVER)
    assert shown.calls == [("say", "hello"), ("watched", watched), ("sound", OVER)]
    assert recorders == []


async def test_every_sample_alarm_and_state_is_shown_and_published(
    published: Make, shown: Shown, recorders: list[Recorder]
) -> None:
    display, device = published("mqtt://broker"), Device()
    async with display.publishing(device.controller):
        (told,) = recorders
        assert told.subject.sealed is False, "an unsealed line is published as such"
        assert told.taken() == [("alarms",), ("state", "off", False, "BENCH-007")]
        display.watched(Watched(RUNNING, ()))
        assert told.taken() == [
            ("sample", "running"),
            ("alarms",),
            ("state", "running", True, "BENCH-007"),
        ]
        display.sound(OVER)
        assert told.taken() == [("alarm", "over-delivery"), ("alarms", "over-delivery")]
    assert [name for name, _ in shown.calls] == ["watched", "sound"]


async def test_the_last_state_is_the_one_after_the_stop(
    published: Make, recorders: list[Recorder]
) -> None:
    display, device = published("mqtt://broker"), Device(RUNNING)

    async def a_run_that_fails() -> None:
        async with display.publishing(device.controller):
            device.answers = OFF
            raise KeyError

    with pytest.raises(KeyError):
        await a_run_that_fails()
    (told,) = recorders
    assert told.calls[-1] == ("state", "off", False, "BENCH-007")
    assert told.left


async def test_a_state_that_nobody_knows_is_published_as_unknown(
    published: Make, recorders: list[Recorder]
) -> None:
    display, device = published("mqtt://broker"), Device(RUNNING)
    async with display.publishing(device.controller):
        device.answers = None
    assert recorders[0].calls[-1] == ("state", "unknown", None, "BENCH-007")


async def test_what_was_sounded_before_the_device_was_known_is_published_then(
    published: Make, recorders: list[Recorder]
) -> None:
    display, device = published("mqtt://broker"), Device()
    display.sound(LATCHED)
    device.state.alarms = (ActiveAlarm(LATCHED, Milliseconds(1)),)
    async with display.publishing(device.controller):
        assert recorders[0].taken()[:2] == [
            ("alarm", "journal-latched"),
            ("alarms", "journal-latched"),
        ]


@pytest.mark.requirement("SR-55")
async def test_the_board_is_published_as_the_journal_has_it_and_an_alarm_as_soon_as_it_sounds(
    published: Make, recorders: list[Recorder]
) -> None:
    display, device = published("mqtt://broker"), Device()
    async with display.publishing(device.controller):
        display.sound(OVER)  # it is heard before the state knows it
        device.state.alarms = (ActiveAlarm(OVER, Milliseconds(1)),)
        display.watched(Watched(RUNNING, (OVER,)))
        device.state.alarms = (ActiveAlarm(OVER, Milliseconds(1), over=True),)
        display.watched(Watched(RUNNING, ()))
        device.state.alarms = ()
    active = [call[1:] for call in recorders[0].calls if call[0] == "alarms"]
    assert active == [(), ("over-delivery",), ("over-delivery",), ("over-delivery",), ()]


async def test_a_reminder_is_shown_and_not_published_again(
    published: Make, shown: Shown, recorders: list[Recorder]
) -> None:
    display = published("mqtt://broker")
    async with display.publishing(Device().controller):
        recorders[0].taken()
        display.remind(OVER)
        assert recorders[0].taken() == []
    assert shown.calls == [("remind", OVER)]


async def test_a_wrong_url_is_refused_before_any_device_is_touched(published: Make) -> None:
    with pytest.raises(UsageError, match="mqtt://127"):
        published("http://broker")
