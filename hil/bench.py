"""What a bench test holds in its hands: stimulator and pump, plain calls, one test long.

On the simulator time is virtual: it passes in `wait` and while a device is busy. The text of
amounts and times is the grammar of therapy files. What the judge refuses raises Refused.
"""

import asyncio
import getpass
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import platformdirs

from device_profiles.diagnostics import Finding
from device_profiles.errors import LinkError, NeuraxisError, Refused, Uncertain, UsageError
from device_profiles.notation import parse_current, parse_duration, parse_mass
from device_profiles.quantities import Milliseconds, Ohms
from device_profiles.therapy import StimulationTherapy, Therapy, contact_name
from firmware_bridge.clock import Clock
from firmware_bridge.controller import Settings
from firmware_bridge.driver import Sample
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.table import FAMILIES, AnyController, connect
from firmware_bridge.links.url import parse_url
from firmware_bridge.session import Result
from firmware_bridge.simulator.ports import InProcessLink
from hil.bench_simulator import SimulatedBench
from hil.bench_time import BenchTime, RealTime, VirtualTime
from hil.check import Check, check_file
from hil.owner import own
from hil.places import Places
from hil.run import apply_plan, plan_for
from hil.watch import STIMULATOR_POLL, Watch
from hil.witness import Truth, read
from safety.alarms import Alarm
from safety.commands import Override

FamilyName = Literal["stimulator", "pump"]
Opener = Callable[[], AbstractAsyncContextManager[AnyController]]
C = TypeVar("C", StimulatorController, PumpController)
T = TypeVar("T")

VIRTUAL_LOOKS = 100
"""Samples that a wait on virtual time judges, at most: a day in steps of a quarter of an hour."""


class NoSuchDevice(UsageError):
    """None of the given devices is of the family that a test asks for."""


class Device(Generic[C]):
    """One device for one test. Every method returns when the device has answered."""

    def __init__(
        self, time: BenchTime, root: Path, opener: Opener, simulated: SimulatedBench | None
    ) -> None:
        self._time = time
        self._root = root
        self._opener = opener
        self._simulated = simulated
        self._stack = AsyncExitStack()
        self._keeper: asyncio.Task[None] | None = None
        self._therapy: Therapy | None = None
        self.alarms: list[Alarm] = []
        """Every alarm that was raised so far, the oldest first."""

    # --- what every device can do ----------------------------------------------------------------

    @property
    def serial(self) -> str:
        """The serial number."""
        return self.controller.identity.serial

    def apply(
        self, file: str | Path, *, override: str | Sequence[str] = (), reason: str = ""
    ) -> Result:
        """Checks a therapy file, plans it, confirms the plan and programs the device with it.

        The path is relative to the current folder or to pytest's root. ``override`` names the
        rules whose soft findings ``reason`` passes. Raises Refused and UsageError with every
        finding at its line; DeviceFault, Uncertain, LinkError.
        """
        return self._do(self._apply(self._found(Path(file)), _override(override, reason)))

    def wait(self, duration: str) -> Sample:
        """Lets time such as ``"10 s"`` pass while leases are kept and samples are judged.

        The last sample. Raises LinkError or DeviceFault when the device is lost meanwhile.
        """
        return self._do(self._wait(read(parse_duration, duration)))

    def status(self) -> Sample:
        """The device's state now."""
        return self._do(self.controller.sample())

    def reconnect(self) -> None:
        """Lets the device go and takes charge of it again, as a host that was restarted.

        What was left unsettled is settled by asking the device.
        """
        self._time.call(self._reopen())

    def fault(self, name: str, at: str = "", contact: str = "") -> None:
        """A fault of the simulator's list happens now, or to the next request.

        ``at`` puts it off, counted from now: ``"commit 1"`` is the next commit, ``"5 s"`` is in
        five seconds of therapy. Raises UsageError, also on a real device.
        """
        self._time.call(self._simulator("fault").fault(name, at, contact))

    # --- behind the scenes -----------------------------------------------------------------------

    @property
    def controller(self) -> C:
        """The controller underneath, for what this class does not offer; it is asynchronous."""
        return self._controller

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._time.call(self._attended(work))

    async def _attended(self, work: Coroutine[Any, Any, T]) -> T:
        result = await work
        self._raise_if_lease_was_lost()
        return result

    def _raise_if_lease_was_lost(self) -> None:
        if self._keeper is not None and self._keeper.done():
            keeper, self._keeper = self._keeper, None
            keeper.result()

    async def adopt(self, stack: AsyncExitStack, controller: C) -> None:
        """Takes over an open connection."""
        self._stack, self._controller = stack, controller
        self._watch = Watch(controller, lambda _: None)

    async def _reopen(self) -> None:
        await self._let_go()
        self._stack = AsyncExitStack()
        controller = await self._stack.enter_async_context(self._opener())
        assert isinstance(controller, type(self._controller)), "a URL leads to one family"
        await self.adopt(self._stack, controller)

    async def _let_go(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            self._keeper = None
        await self._stack.aclose()

    async def release(self) -> None:
        """Brings the device to its safe state and closes it; raises Uncertain if it cannot.

        A line that was lost in the test gets one fresh connection.
        """
        try:
            try:
                await self.controller.make_safe("hold")
            except Uncertain:
                await self._reopen()
                await self.controller.make_safe("hold")
        except LinkError as error:
            raise Uncertain(
                f"{self.serial}: its safe state could not be confirmed at the end of the test: "
                f"{error}"
            ) from error
        finally:
            await self._let_go()

    async def _apply(self, path: Path, override: Override | None) -> Result:
        check = check_file(path, None, Milliseconds(self._time.clock.wall_ms()))
        if check.command is None or any(f.severity != "soft" for f in check.findings):
            raise _objection(check)
        plan = await plan_for(self.controller, check)
        result = await apply_plan(self.controller, check, plan.digest, override)
        self._therapy = check.therapy
        return result

    async def _wait(self, duration: Milliseconds) -> Sample:
        pace: int = STIMULATOR_POLL
        if isinstance(self.controller, PumpController):
            pace = self.controller.profile.poll
        if self._simulated is not None:
            pace = max(pace, duration // VIRTUAL_LOOKS)
        rest: int = duration
        while rest > 0:
            await asyncio.sleep(min(pace, rest) / 1_000)
            rest -= pace
            self._raise_if_lease_was_lost()
            watched = await self._watch.once()
        return watched.sample if duration > 0 else await self.controller.sample()

    def _found(self, path: Path) -> Path:
        return path if path.exists() or path.is_absolute() else self._root / path

    def _simulator(self, what: str) -> SimulatedBench:
        if self._simulated is None:
            raise UsageError(
                f"{self.serial} is no device of this process, so `{what}` is not possible: run "
                "the test without --device, on the bundled simulator"
            )
        return self._simulated


class Stimulator(Device[StimulatorController]):
    """A stimulator for one test; its lease is kept as long as the test runs."""

    def start(
        self, program: str = "", *, override: str | Sequence[str] = (), reason: str = ""
    ) -> Result:
        """Measures the impedances, then ramps up a program; by default the file's ``start_with``.

        Raises Refused, UsageError (no file was applied), DeviceFault, Uncertain, LinkError.
        """
        if not program:
            if not isinstance(self._therapy, StimulationTherapy):
                raise UsageError("nothing to start: apply a therapy file first")
            program = self._therapy.start_with
        return self._do(self._start(program, _override(override, reason)))

    async def _start(self, name: str, override: Override | None) -> Result:
        await self.controller.measure(override)
        result = await self.controller.start(self.controller.program_named(name), override)
        if self._keeper is None:
            self._keeper = asyncio.create_task(self.controller.keep_alive())
        return result

    def amplitude(
        self,
        value: str,
        area: int | None = None,
        *,
        override: str | Sequence[str] = (),
        reason: str = "",
    ) -> Result:
        """Sets the amplitude of the running program, such as ``"4.0 mA"``; areas count from 1.

        Returns when the device has taken it; the current follows at the program's slope.
        """
        current = read(parse_current, value)
        return self._do(
            self.controller.set_amplitude(area, current, _override(override, reason))
        )

    def switch(
        self, program: str, *, override: str | Sequence[str] = (), reason: str = ""
    ) -> Result:
        """Ramps the running program to zero, then another one up."""
        return self._do(self.controller.switch(program, _override(override, reason)))

    def impedance(
        self, *, override: str | Sequence[str] = (), reason: str = ""
    ) -> Mapping[str, Ohms]:
        """Ohms of each contact by its name; the output must be off."""
        ohms = self._do(self.controller.measure(_override(override, reason)))
        return {contact_name(number): value for number, value in enumerate(ohms, start=1)}

    def stop(self) -> Sample:
        """Brings the output to zero; nothing refuses it. Raises Uncertain if not confirmed."""
        return self._time.call(self.controller.stop("policy"))


class Pump(Device[PumpController]):
    """A pump for one test."""

    def bolus(
        self, dose: str, *, over: str, override: str | Sequence[str] = (), reason: str = ""
    ) -> Result:
        """Starts a bolus of the first drug, such as ``"0.1 mg"`` over ``"5 min"``."""
        mass, duration = read(parse_mass, dose), read(parse_duration, over)
        return self._do(self.controller.bolus(mass, duration, _override(override, reason)))

    def press(self) -> bool:
        """The patient presses the button (simulator only); tells whether a bolus begins."""
        return self._time.call(self._simulator("press").press())

    def stop(self, *, flow: bool = False) -> Sample:
        """Ends boluses and follows the drug's policy; with ``flow`` nothing flows any longer.

        Nothing refuses it. Raises Uncertain if it is not confirmed.
        """
        return self._time.call(self.controller.stop("flow" if flow else "policy"))


class Bench:
    """The devices of one test on one clock: simulated ones, or those behind ``urls``.

    ``families`` remembers from test to test what is behind a URL. Journals of simulated devices
    lie under ``folder``; a real device keeps its own, for its windows outlast a test.
    """

    def __init__(
        self, folder: Path, root: Path, urls: Sequence[str], families: MutableMapping[str, str]
    ) -> None:
        self._folder = folder
        self._root = root
        self._urls = urls
        self._families = families
        self._stack = ExitStack()
        self._time: BenchTime = RealTime() if urls else VirtualTime()
        self._stack.callback(self._time.close)
        self._simulated: dict[FamilyName, SimulatedBench] = {}

    def stimulator(self) -> Stimulator:
        """The stimulator; raises NoSuchDevice."""
        return self._take(Stimulator, StimulatorController, "stimulator")

    def pump(self) -> Pump:
        """The pump; raises NoSuchDevice."""
        return self._take(Pump, PumpController, "pump")

    def truth(self) -> Truth:
        """What the simulated devices physically do; raises NoSuchDevice for others."""
        if self._urls:
            raise NoSuchDevice("no witness: only the simulator of this process knows the truth")
        return Truth(lambda: self._lines("stimulator"), lambda: self._lines("pump"))

    def close(self) -> None:
        """Brings each device to its safe state and closes everything, whatever happens.

        Raises Uncertain for a device whose safe state could not be confirmed.
        """
        self._stack.close()

    def _lines(self, family: FamilyName) -> list[dict[str, Any]]:
        if family not in self._simulated:
            raise UsageError(f"this test uses no {family}: let it take the fixture {family!r} too")
        return self._time.call(self._simulated[family].truth())

    def _take(
        self, device: Callable[..., Any], controller: type[AnyController], family: FamilyName
    ) -> Any:
        alarms: list[Alarm] = []
        for opener in self._openers(family, alarms.append):
            taken = self._time.call(self._open(opener, controller))
            if taken is not None:
                made = device(self._time, self._root, opener, self._simulated.get(family))
                made.alarms = alarms
                self._time.call(made.adopt(*taken))
                self._stack.callback(lambda: self._time.call(made.release()))
                return made
        listed = ", ".join(f"{url} is a {self._families[url]}" for url in self._urls)
        raise NoSuchDevice(f"no {family} was given with --device: {listed}")
