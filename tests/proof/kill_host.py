"""One life of a real host: real files, a real line, boluses in a loop until it is killed.

It runs in a forked child, so that a life begins at once. Steps can be stretched: the child says
that it is in the middle of one, and sleeps there.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from device_profiles.errors import NeuraxisError, Refused
from device_profiles.quantities import HOUR_MS, Milliseconds
from device_profiles.therapy import InfusionTherapy
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.driver import output_of
from firmware_bridge.families.table import connect
from firmware_bridge.links.base import Receiver
from firmware_bridge.links.tcp_link import TcpLink
from firmware_bridge.protocol.frames import decode_frame
from firmware_bridge.protocol.messages import TherapyRequest
from firmware_bridge.settings import JournalPlace, Settings
from safety.anchor import Anchor
from safety.checkpoint import StateFile
from safety.commands import ProgramPump
from safety.disk import FileDisk
from safety.journal_format import Head

from .crash_life import DOSE, OVER, PATIENT, REASON, therapy_of
from .crash_outside import PUMP, START_MS
from .kill_pump import Leap, LeapingClock

BOLUSES = 6
"""In one life; then the host ends in order."""
STRETCH_S = 1.0
"""Far longer than it takes to be killed there."""
STEPS = (
    "before an append",
    "after an append",
    "before a sync",
    "after a sync",
    "before an anchor",
    "after an anchor",
    "before a frame",
    "after a frame",
    "before a dose",
    "after a dose",
    "before a reply",
    "after a reply",
)


@dataclass
class Stretched:
    """The nth passage of one step takes long, and the parent hears of it; ``None``: of no step."""

    step: str | None
    nth: int
    tell: int
    """A pipe's end."""

    def passes(self, name: str) -> None:
        """The host is at a step."""
        if name != self.step:
            return
        self.nth -= 1
        if self.nth == 0:
            os.write(self.tell, b"!")
            time.sleep(STRETCH_S)


@dataclass(frozen=True)
class Bench:
    """Where a host finds its pump, its files and the time."""

    folder: Path
    host: str
    port: int
    leap: Leap

    @property
    def journal(self) -> Path:
        """The journal of the pump."""
        return self.folder / "journal"

    @property
    def anchor(self) -> Path:
        """Its head's second place."""
        return self.folder / "anchor"

    @property
    def states(self) -> Path:
        """Its last checkpoint."""
        return self.folder / "states"

    def note(self, name: str, text: str) -> None:
        """Appends a line that survives the death of this process."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = os.open(self.folder / name, flags, 0o600)
        os.write(descriptor, text.encode() + b"\n")
        os.close(descriptor)

    def notes(self, name: str) -> list[str]:
        """All lines that were appended."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


@cache
def constant_therapy() -> ProgramPump:
    """The example with one flow for the whole day."""
    example = therapy_of("apply")
    therapy: InfusionTherapy = replace(example.therapy, basal=example.therapy.basal[:1])
    program = output_of(therapy, example.formulary, Milliseconds(START_MS))
    return replace(example, program=program, therapy=therapy)


def live(bench: Bench, number: int, stretched: Stretched) -> None:
    """A whole life; violations and ids are noted in files."""
    try:
        asyncio.run(_host(bench, number, stretched))
    except Exception as error:
        bench.note("wrong", f"the host failed: {error!r}")


async def _host(bench: Bench, number: int, stretched: Stretched) -> None:
    clock = LeapingClock(bench.leap)
    asked = 0

    def new_id() -> int:
        own = number * 1_000 + asked
        bench.note("ids", f"{number}.{asked} {own}")
        return own

    def place(serial: str) -> JournalPlace:
        return JournalPlace(
            SlowDisk(bench.journal, stretched.passes),
            SlowAnchor(bench.anchor, stretched.passes),
            StateFile(bench.states),
        )

    def sound(alarm: Any) -> None:
        bench.note("wrong", f"an alarm was raised: {alarm.text}")

    link = SlowLink(bench.host, bench.port, stretched.passes)
    controller = await connect(link, None, Settings(clock, place, sound, new_id))
    assert isinstance(controller, PumpController)
    if controller.state.latched is not None:
        bench.note("wrong", f"latched though nothing was lost: {controller.state.latched}")
    known = {one.id: int(one.most) for one in controller.state.reservations}
    bench.note("recovered", json.dumps([number, list(known.items())]))
    for intent in controller.state.unsettled:
        bench.note("wrong", f"id {intent.id} is still unsettled")
    while asked < BOLUSES:
        asked += 1
        bench.leap.by(2 * HOUR_MS)
        bench.note("asked", str(asked))
        try:
            if controller.state.pump_program is None:
                await _apply(controller)
            else:
                await controller.bolus(DOSE, OVER)
        except Refused as error:
            bench.note("refused", str(error))
        except NeuraxisError as error:
            bench.note("wrong", f"a request failed: {error!r}")
    await controller.close()
    clock.close()


async def _apply(controller: PumpController) -> None:
    command = constant_therapy()
    plan = await controller.plan(command, PATIENT)
    await controller.apply(command, PATIENT, plan.digest, REASON)


class SlowDisk(FileDisk):
    """The shipped disk, with steps that can be stretched."""

    def __init__(self, path: Path, passes: Callable[[str], None]) -> None:
        super().__init__(path)
        self._passes = passes

    def append(self, data: bytes) -> None:
        self._passes("before an append")
        super().append(data)
        self._passes("after an append")

    def sync(self) -> None:
        self._passes("before a sync")
        super().sync()
        self._passes("after a sync")


class SlowAnchor(Anchor):
    """The shipped anchor, with steps that can be stretched."""

    def __init__(self, path: Path, passes: Callable[[str], None]) -> None:
        super().__init__(path)
        self._passes = passes

    def write(self, head: Head) -> None:
        self._passes("before an anchor")
        super().write(head)
        self._passes("after an anchor")


class SlowLink(TcpLink):
    """The shipped link, with steps that can be stretched."""

    def __init__(self, host: str, port: int, passes: Callable[[str], None]) -> None:
        super().__init__(f"tcp://{host}:{port}", host, port)
        self._passes = passes
        self._to: Receiver | None = None

    def write(self, data: bytes) -> None:
        message = PUMP.catalogue.decode(decode_frame(data[:-1]) or b"").message
        is_dose = isinstance(message, TherapyRequest)
        self._passes("before a dose" if is_dose else "before a frame")
        super().write(data)
        self._passes("after a dose" if is_dose else "after a frame")

    def _deliver(self, data: bytes) -> None:
        self._passes("before a reply")
        super()._deliver(data)
        self._passes("after a reply")
