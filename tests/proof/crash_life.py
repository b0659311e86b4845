"""One host from its start to the end of the story, and every way in which it could have died.

Each thing that a host does to the outside (a byte to a file, a frame to the wire) and each thing
that reaches it passes a named step. At each step the outside is looked at as a kill, or a power
cut, would leave it just there.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from device_profiles.errors import LinkError, NeuraxisError, Refused
from device_profiles.formulary_file import load_formulary
from device_profiles.notation import parse_duration, parse_mass
from device_profiles.profile import PumpProfile
from device_profiles.profile_file import load_profile
from device_profiles.quantities import FemtogramsPerDay, Milliseconds
from device_profiles.therapy import InfusionTherapy
from device_profiles.therapy_file import read_therapy
from firmware_bridge.clock import VirtualClock, VirtualLoop
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.driver import output_of
from firmware_bridge.families.table import connect
from firmware_bridge.settings import JournalPlace, Settings
from firmware_bridge.simulator.runner import DeviceRunner
from safety.commands import Override, ProgramPump

from .crash_outside import START_MS, Files, Outside, checkpoint_every, copied, power_cuts
from .crash_steps import SteppedAnchor, SteppedDisk, SteppedLink, SteppedStates

T = TypeVar("T")
EXAMPLE = Path(__file__).parents[2] / "examples" / "infusion.yaml"
PATIENT = "BENCH-012"
DOSE, OVER = parse_mass("0.05 mg"), parse_duration("2 min")
REASON = Override(("SR-06", "SR-41", "SR-44", "SR-61", "SR-63"), "tester", "a test")
STORY = ("apply", "bolus", "bolus", "raise")
EVERY_S = 1_800
"""From one line of the story to the next."""
LATE_S = 20.0
"""How long a busy worker leaves undone what nobody waits for."""
CHECKPOINT_EVERY = 4
"""Entries; the shipped 1,000 would never come in a story so short."""


@cache
def therapy_of(what: str) -> ProgramPump:
    """The example's program; raised by a tenth for ``raise``."""
    therapy = read_therapy(EXAMPLE).therapy
    profile = load_profile("itp-20")
    assert isinstance(therapy, InfusionTherapy)
    assert isinstance(profile, PumpProfile)
    if what == "raise":
        basal = (replace(s, rate=FemtogramsPerDay(s.rate * 11 // 10)) for s in therapy.basal)
        therapy = replace(therapy, basal=tuple(basal))
    program = output_of(therapy, load_formulary(), Milliseconds(START_MS))
    return ProgramPump(program, therapy, profile, load_formulary())


@dataclass
class Course:
    """How one life went: the deaths that could have ended it, and what was wrong."""

    crashes: dict[bytes, Outside] = field(default_factory=dict)
    """The worlds that were new, by their keys."""
    deaths: Counter[bytes] = field(default_factory=Counter)
    """How many deaths led to each world, by the world's key."""
    in_recovery: int = 0
    """How many of them came before a host that followed a dead one had taken charge."""
    wrong: list[str] = field(default_factory=list)
    asked: int = 0
    refused: list[str] = field(default_factory=list)


class Life:
    """A host on a copy of an outside.

    ``is_new``: whether a world, by its key, is wanted; ``None``: nobody wants any. ``late_worker``:
    the thread that writes for the host is busy elsewhere.
    """

    def __init__(
        self, outside: Outside, is_new: Callable[[bytes], bool] | None, *, late_worker: bool
    ) -> None:
        self.device, self.witness = copied(outside.device, outside.witness)
        self.person, self.wire, self.stale = outside.person, outside.wire, outside.stale
        self.path, self.breaks = outside.path, outside.breaks
        self.disk = SteppedDisk(self, outside.files)
        self.course = Course()
        self.loop = VirtualLoop()
        clock = LateWorkerClock if late_worker else VirtualClock
        self.clock = clock(self.loop, START_MS)
        self.runner = DeviceRunner(self.device, self.clock)
        self.loop.now_ns = outside.now_ns
        self.frames = 0
        """How many have reached the pump."""
        self._has_recovered = not outside.path
        self._is_new = is_new
        self._seen: dict[Any, bytes] = {}
        self._read_device: tuple[tuple[int, int], str] = (-1, -1), ""
        self._ended = False

    def live(self, look: Callable[["Life", PumpController], None]) -> Course:
        """Goes through the rest of the story; how it went.

        ``look`` is called once the host has recovered, and once its story has ended.
        """
        try:
            self.loop.run_until_complete(self._host(look))
        finally:
            self._ended = True
            self.runner.close()
            self.loop.close()
        return self.course

    # --- steps -------------------------------------------------------------------------------

    def step(self, name: str, files: Files | None = None, **left: Any) -> None:
        """The host could die just here, leaving the outside as it is, but for what is named."""
        if self._ended or self._is_new is None:
            return
        now = self.disk.files if files is None else files
        self._crash(f"killed {name}", now, left)
        if now.pending and not left:
            self._crash(
                f"killed {name}, and the line breaks at the next start", now, {"breaks": True}
            )
        for how, cut in power_cuts(now):
            self._crash(f"{how}, {name}", cut, left)

    def _crash(self, name: str, files: Files, left: dict[str, Any]) -> None:
        left = {
            "breaks": self.breaks,
            "wire": self.wire,
            "stale": b"",
            "now_ns": self.loop.now_ns,
            **left,
        }
        self.course.in_recovery += not self._has_recovered
        raw = (files, self.person, self.frames, *left.items())
        if raw in self._seen:
            self.course.deaths[self._seen[raw]] += 1
            return
        here = Outside(
            self.device, self.witness, files, self.person, path=(*self.path, name), **left
        )
        key = self._seen[raw] = here.key(self._device_text())
        self.course.deaths[key] += 1
        if key not in self.course.crashes and self._is_new is not None and self._is_new(key):
            device, witness = copied(self.device, self.witness)
            self.course.crashes[key] = replace(here, device=device, witness=witness)

    def _device_text(self) -> str:
        """All that the pump holds; read anew only once something can have changed it."""
        when = (self.loop.now_ns, self.frames)
        if self._read_device[0] != when:
            self._read_device = when, self.device.machine.state(0)
        return self._read_device[1]

    # --- the host and the person ---------------------------------------------------------------

    async def _host(self, look: Callable[["Life", PumpController], None]) -> None:
        settings = Settings(
            self.clock,
            lambda serial: JournalPlace(self.disk, SteppedAnchor(self), SteppedStates(self)),
            lambda alarm: self.course.wrong.append(f"an alarm was raised: {alarm.text}"),
            self._new_id,
        )
        if self.breaks:
            with suppress(LinkError):
                await connect(SteppedLink(self), None, settings)
            self.step("after a start that failed")
        controller = await connect(SteppedLink(self), None, settings)
        assert isinstance(controller, PumpController)
        look(self, controller)
        self._has_recovered = True
        while self.person.line < len(STORY):
            if STORY[self.person.line] != "apply" and controller.state.pump_program is None:
                await self._ask("apply", controller)
            due = self.person.line * EVERY_S - self.loop.time()
            if due > 0:
                self.step("in the quiet before a request")
                await asyncio.sleep(due)
            line = STORY[self.person.line]
            self.person = self.person._replace(line=self.person.line + 1)
            await self._ask(line, controller)
            if line == "bolus":
                await asyncio.sleep(60)
                self.step("while the bolus runs")
        await asyncio.sleep(EVERY_S)
        look(self, controller)
        self.step("before it ends")
        await controller.close()
        self.step("after it has ended")

    async def _ask(self, line: str, controller: PumpController) -> None:
        self.person = self.person._replace(requests=self.person.requests + 1)
        self.course.asked += 1
        self.step(f"before the request to {line}")
        try:
            if line == "bolus":
                await controller.bolus(DOSE, OVER)
            else:
                command = therapy_of(line)
                plan = await controller.plan(command, PATIENT)
                await controller.apply(command, PATIENT, plan.digest, REASON)
        except Refused as error:
            self.course.refused.append(f"{line}: {error}")
        except NeuraxisError as error:
            self.course.wrong.append(f"the request to {line} failed: {error!r}")
        self.step(f"after the request to {line}")

    def _new_id(self) -> int:
        request = self.person.requests
        before = sum(one == request for one, _ in self.person.ids)
        own = 1_000 + request * 10 + before
        self.person = self.person._replace(ids=(*self.person.ids, (request, own)))
        return own


class LateWorkerClock(VirtualClock):
    """Virtual time with a worker that does what nobody waits for as late as it may."""

    def __init__(self, loop: VirtualLoop, wall_start_ms: int) -> None:
        super().__init__(loop, wall_start_ms)
        self._row: list[Callable[[], None]] = []

    def later(self, work: Callable[[], None]) -> None:
        """Does ``work`` before the next that is waited for, or after a while."""
        self._row.append(work)
        asyncio.get_running_loop().call_later(LATE_S, self._do_all)

    async def offload(self, work: Callable[[], T]) -> T:
        """Does ``work`` after everything that came before it."""
        self._do_all()
        return work()

    def _do_all(self) -> None:
        row, self._row = self._row, []
        for work in row:
            work()


@contextmanager
def same_every_time(*, checkpoints: bool = False) -> Iterator[None]:
    """Nothing is left to chance; with ``checkpoints`` these come often."""
    numbers = iter(range(1, 10**9))
    every = CHECKPOINT_EVERY if checkpoints else checkpoint_every()
    with (
        mock.patch.object(secrets, "token_hex", lambda size: "ab" * size),
        mock.patch.object(secrets, "randbelow", lambda below: next(numbers) % below),
        mock.patch("safety.gate.EVERY", every),
    ):
        yield
