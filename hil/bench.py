"""What a bench test holds in its hands: stimulator, pump and truth, in plain calls.

On the simulator time is virtual: it passes in `wait`, and while a device is busy. Amounts and
times are text in the grammar of therapy files. What the judge refuses raises Refused.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from device_profiles.errors import NeuraxisError, Refused, Uncertain, UsageError
from device_profiles.notation import parse_current, parse_duration, parse_mass
from device_profiles.quantities import Milliseconds, Ohms
from device_profiles.therapy import StimulationTherapy, Therapy, contact_name
from firmware_bridge.driver import Sample
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.scs.closed_loop import LoopEnd, ReadSensor, follow
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.table import AnyController
from firmware_bridge.session import Result
from hil.bench_simulator import SimulatedBench
from hil.bench_time import BenchTime
from hil.check import Check, check_file
from hil.exit_codes import REFUSED, code_of_findings
from hil.run import apply_plan, plan_for
from hil.user import user_name
from hil.watch import STIMULATOR_POLL, Watch
from hil.witness import Truth as Truth
from hil.witness import read
from safety.alarms import Alarm
from safety.closed_loop import LoopSettings
from safety.commands import Override

P = ParamSpec("P")
T = TypeVar("T")

VIRTUAL_LOOKS = 100
"""Samples that a long wait on virtual time judges: of a day one every quarter of an hour."""

Rules = str | Sequence[str]


class Connection:
    """A device under control, which can be let go and taken again. Lives on the event loop."""

    def __init__(self, take: Callable[[], AbstractAsyncContextManager[AnyController]]) -> None:
        self._take = take
        self._stack = AsyncExitStack()
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Takes charge of the device; raises as `connect`."""
        self._stack = AsyncExitStack()
        self.controller = await self._stack.enter_async_context(self._take())
        self._watch = Watch(self.controller, lambda _: None)

    async def close(self) -> None:
        """Lets the device go as it is; idempotent."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        await self._stack.aclose()

    async def release(self) -> None:
        """Brings the device to its safe state and lets it go; raises Uncertain.

        A line that was lost during the test gets one fresh connection.
        """
        serial = self.controller.identity.serial
        try:
            try:
                await self.controller.make_safe("hold")
            except Uncertain:
                await self.close()
                await self.open()
                await self.controller.make_safe("hold")
        except NeuraxisError as error:
            raise Uncertain(
                f"{serial}: its safe state could not be confirmed at the end of the test: {error}"
            ) from None
        finally:
            await self.close()

    def keep_lease(self) -> None:
        """Renews the lease of a stimulator's output from here on."""
        assert isinstance(self.controller, StimulatorController)
        if self._keeper is None:
            self._keeper = asyncio.create_task(self.controller.keep_alive())

    def raise_if_lease_was_lost(self) -> None:
        """Raises, once, what ended the renewing of the lease."""
        if self._keeper is not None and self._keeper.done():
            keeper, self._keeper = self._keeper, None
            keeper.result()

    async def pass_time(self, duration: Milliseconds, pace: int) -> Sample:
        """Lets time pass and judges a sample at each ``pace``, ms; the last sample."""
        rest: int = duration
        while rest > 0:
            await asyncio.sleep(min(pace, rest) / 1_000)
            rest -= pace
            self.raise_if_lease_was_lost()
            await self._watch.once()
        return await self.controller.sample()

    async def pass_time_with(
        self, work: Callable[[], Coroutine[Any, Any, T]], duration: Milliseconds, pace: int
    ) -> T | None:
        """Lets time pass beside some work, which is cancelled at its end; what the work gave."""
        task = asyncio.create_task(work())
        try:
            await self.pass_time(duration, pace)
        finally:
            task.cancel()
            await asyncio.wait({task})
        return None if task.cancelled() else task.result()


class Device:
    """One device for one test. Every method returns when the device has answered."""

    def __init__(
        self,
        time: BenchTime,
        root: Path,
        connection: Connection,
        alarms: list[Alarm],
        simulated: SimulatedBench | None,
    ) -> None:
        self._time = time
        self._root = root
        self._connection = connection
        self._simulated = simulated
        self._therapy: Therapy | None = None
        self.alarms = alarms
        """Every alarm that was raised so far, the oldest first."""

    @property
    def serial(self) -> str:
        """The serial number."""
        return self._connection.controller.identity.serial

    def apply(
        self, file: str | Path, *, override: Rules = (), reason: str = "", second: str = ""
    ) -> Result:
        """Checks a therapy file, plans it, confirms the plan and programs the device with it.

        The path is relative to the current folder or to pytest's root. ``override`` names the
        rules whose soft findings ``reason`` passes, ``second`` another person who agrees to it.
        Raises Refused and UsageError, with every finding at its line; DeviceFault, Uncertain,
        LinkError.
        """
        path = Path(file)
        if not path.exists():
            path = self._root / path
        return self._do(self._apply, path, _override(override, reason, second))

    def wait(self, duration: str) -> Sample:
        """Lets time such as ``"10 s"`` pass while leases are kept and samples are judged.

        Gives the last sample. Raises LinkError or DeviceFault when the device is lost meanwhile.
        """
        length = read(parse_duration, duration)
        return self._do(self._connection.pass_time, length, self._pace(length))

    def status(self) -> Sample:
        """The device's state now."""
        return self._do(self._connection.controller.sample)

    def reconnect(self) -> None:
        """Lets the device go and takes charge of it again, as a restarted host does.

        What was left unsettled is settled by asking the device.
        """
        self._time.call(self._connection.close)
        self._time.call(self._connection.open)

    def fault(self, name: str, at: str = "", contact: str = "") -> None:
        """A fault of `neuraxis simulate --help` happens now, or to the next request.

        ``at`` puts it off, counted from now: ``"commit 1"`` is the next commit, ``"5 s"`` is in
        five seconds. Raises UsageError, always so on a device that is not of this process.
        """
        self._time.call(self._simulator("fault").fault, name, at, contact)

    def _do(
        self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        __tracebackhide__ = True

        async def attended() -> T:
            __tracebackhide__ = True
            result = await work(*args, **kwargs)
            self._connection.raise_if_lease_was_lost()
            return result

        return self._time.call(attended)

    async def _apply(self, path: Path, override: Override | None) -> Result:
        check = check_file(path, None, Milliseconds(self._time.clock.wall_ms()))
        if check.command is None or any(f.severity != "soft" for f in check.findings):
            raise _objection(check)
        controller = self._connection.controller
        plan = await plan_for(controller, check)
        result = await apply_plan(controller, check, plan.digest, override)
        self._therapy = check.therapy
        return result

    def _pace(self, duration: Milliseconds) -> int:
        controller = self._connection.controller
        pace = STIMULATOR_POLL
        if isinstance(controller, PumpController):
            pace = controller.profile.poll
        return pace if self._simulated is None else max(pace, duration // VIRTUAL_LOOKS)

    def _simulator(self, method: str) -> SimulatedBench:
        if self._simulated is None:
            raise UsageError(
                f"{self.serial} is no device of this process, so there is no `{method}`: run the "
                "test without --device, on the bundled simulator"
            )
        return self._simulated


class Stimulator(Device):
    """A stimulator; once it is started its lease is kept until the end of the test."""

    @property
    def controller(self) -> StimulatorController:
        """The asynchronous controller underneath."""
        controller = self._connection.controller
        assert isinstance(controller, StimulatorController)
        return controller

    def start(
        self,
        program: str = "",
        *,
        from_zero: bool = False,
        override: Rules = (),
        reason: str = "",
        second: str = "",
    ) -> Result:
        """Measures the impedances, then ramps up a program; by default the file's ``start_with``.

        ``from_zero`` leaves every area at 0 mA until `amplitude` raises it; after a magnet, an MRI
        mode or a restart nothing else is admitted. Returns when the device has taken it. Raises
        Refused, UsageError, DeviceFault, Uncertain, LinkError.
        """
        if not program:
            if not isinstance(self._therapy, StimulationTherapy):
                raise UsageError("nothing to start: apply a therapy file first")
            program = self._therapy.start_with
        return self._do(self._start, program, _override(override, reason, second), from_zero)

    async def _start(self, program: str, override: Override | None, from_zero: bool) -> Result:
        controller = self.controller
        await controller.measure(override)
        wanted = controller.program_named(program)
        result = await controller.start(wanted, override, from_zero=from_zero)
        self._connection.keep_lease()
        return result

    def amplitude(
        self,
        value: str,
        area: int | None = None,
        *,
        override: Rules = (),
        reason: str = "",
        second: str = "",
    ) -> Result:
        """Sets the amplitude of the running program, such as ``"4.0 mA"``; areas count from 1.

        Returns when the device has taken it; the current follows at the program's slope.
        """
        current = read(parse_current, value)
        return self._do(
            self.controller.set_amplitude, area, current, _override(override, reason, second)
        )

    def switch(
        self, program: str, *, override: Rules = (), reason: str = "", second: str = ""
    ) -> Result:
        """Ramps the running program to zero, then another one up."""
        return self._do(self.controller.switch, program, _override(override, reason, second))

    def follow(
        self,
        read_sensor: ReadSensor,
        settings: LoopSettings,
        duration: str,
        area: int | None = None,
    ) -> LoopEnd | None:
        """Closes a loop on an area of the running program for a time such as ``"10 s"``.

        ``read_sensor`` is the instrument: a coroutine function that gives a `SensorReading`, or
        ``None``. At the end of the time the area is at the loop's fallback, and the answer
        ``None``; else why the loop had ended before. Raises as `wait` and `amplitude`, and what
        the instrument raises.
        """
        length = read(parse_duration, duration)

        def work() -> Coroutine[Any, Any, LoopEnd]:
            return follow(self.controller, area, settings, read_sensor)

        return self._do(self._connection.pass_time_with, work, length, self._pace(length))

    def impedance(
        self, *, override: Rules = (), reason: str = "", second: str = ""
    ) -> Mapping[str, Ohms]:
        """Ohms of each contact by its name; the output must be off."""
        ohms = self._do(self.controller.measure, _override(override, reason, second))
        return {contact_name(number): value for number, value in enumerate(ohms, start=1)}

    def stop(self) -> Sample:
        """Brings the output to zero; nothing refuses it. Raises Uncertain if not confirmed."""
        return self._time.call(self.controller.stop, "policy")


class Pump(Device):
    """A pump."""

    @property
    def controller(self) -> PumpController:
        """The asynchronous controller underneath."""
        controller = self._connection.controller
        assert isinstance(controller, PumpController)
        return controller

    def bolus(
        self, dose: str, *, over: str, override: Rules = (), reason: str = "", second: str = ""
    ) -> Result:
        """Begins a bolus of the first drug, such as ``"0.1 mg"`` over ``"5 min"``.

        Raises Refused, DeviceFault, Uncertain, LinkError.
        """
        mass, duration = read(parse_mass, dose), read(parse_duration, over)
        return self._do(self.controller.bolus, mass, duration, _override(override, reason, second))

    def prime(
        self, *, over: str, override: Rules = (), reason: str = "", second: str = ""
    ) -> Result:
        """Begins the one prime of the fill, over a time such as ``"1 h"``.

        Raises Refused, DeviceFault, Uncertain, LinkError.
        """
        duration = read(parse_duration, over)
        return self._do(self._prime, duration, _override(override, reason, second))

    async def _prime(self, over: Milliseconds, override: Override | None) -> Result:
        _, prime = await self.controller.prime_of_fill(over)
        return await self.controller.prime(prime, override)

    def press(self) -> bool:
        """The patient presses the button (simulator only); tells whether a bolus begins."""
        return self._time.call(self._simulator("press").press)

    def stop(self, *, flow: bool = False) -> Sample:
        """Ends boluses and follows the drug's policy; with ``flow`` nothing flows any longer.

        Nothing refuses it. Raises Uncertain if it is not confirmed.
        """
        return self._time.call(self.controller.stop, "flow" if flow else "policy")


def _override(rules: Rules, reason: str, second: str) -> Override | None:
    if not rules:
        return None
    if not reason.strip():
        raise UsageError("an override needs a reason")
    named = (rules,) if isinstance(rules, str) else tuple(rules)
    return Override(named, user_name(), reason.strip(), second.strip() or None)


def _objection(check: Check) -> Refused | UsageError:
    """What a file that cannot be applied raises: its findings, each at its line."""
    text = f"{check.reading.file}: {check.verdict}\n{check.rendered()}"
    if code_of_findings(check.findings) == REFUSED:
        return Refused(text, check.findings)
    return UsageError(text)
