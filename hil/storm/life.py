"""One storm from its first act to its last: the world, its hosts, and the people who ask."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random

from device_profiles.errors import DeviceFault, NeuraxisError, Refused, Uncertain
from firmware_bridge.clock import VirtualLoop
from firmware_bridge.families.table import AnyController, connect
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import MACHINES
from hil.storm.disk import Files
from hil.storm.ear import Ear
from hil.storm.hosts import ASKING, Asked, Host, StormClock, Trap, says
from hil.storm.monitor import StormMonitor
from hil.storm.people import People, people_of
from hil.storm.plan import Act, Plan
from hil.storm.record import Record
from hil.storm.stage import START_MS
from hil.storm.weather import Line
from hil.storm.wires import DeviceWire
from hil.storm.witness import Witness
from safety.alarms import Alarm

OTHER_SERIAL = "OTHER-0002"
"""The serial number of a device that a moved plug may lead to."""
KEY = DeviceKey(bytes(range(32)))
"""The key of a device whose line is sealed."""
RETRIES_S = (2, 30, 300, 900)
"""How long a host, or whoever starts it, waits before it tries again."""
CALM_S = 900
"""How long calm lasts before the last host comes: the last late frames and boluses are over."""
PATIENCE_S = 300
"""How long the end of a storm waits for answers that are still under way."""


class Storm:
    """Runs one plan on a loop of its own."""

    def __init__(self, plan: Plan, loop: VirtualLoop) -> None:
        self.plan = plan
        self.random = Random(f"storm of {plan.seed}")
        self.clock = StormClock(loop, START_MS, late_worker=plan.late_worker)
        kind = MACHINES[plan.family]
        witness = Witness()
        self._key = KEY if plan.sealed else None
        self._draw = Random(f"nonces of {plan.seed}").randbytes
        self.device = SimulatedDevice(
            kind,
            wall_ms=START_MS,
            truth=witness,
            seed=plan.seed,
            error_ppm=plan.error,
            key_of=lambda serial: self._key,
            draw=self._draw,
        )
        witness.watch(self.device)
        self.wire = DeviceWire(self.device, self.clock, wakes=plan.family == "stimulator")
        plain = Ear(KEY).plain if plan.sealed else bytes
        self.line = Line(self.random, self._arrives, self.clock.world_ms, plain)
        self._decoy: SimulatedDevice | None = None
        self.is_swapped = False
        self.wire.send = self.line.to_host
        self.files = Files(self.random)
        self.record = Record(plan, witness, self.line, renewed=witness.renewed)
        self.traps: list[Trap] = []
        self.host: Host | None = None
        self.is_over = False
        self.people: People = people_of(plan.family)
        numbers = {message.KIND: name for message, name in kind.requests.items()}
        self._name_of: Callable[[int], str] = lambda number: numbers.get(number, "other")
        self._ids = itertools.count(1_001)
        self._downtime_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    # --- the course --------------------------------------------------------------------------

    async def run(self) -> None:
        """All acts in their order, then calm, then a last host; `record` is what it leaves."""
        asyncio.get_running_loop().set_exception_handler(self._broke_down)
        hosts = asyncio.ensure_future(self._hosts())
        for at, act in self._timeline():
            wait = at - self.clock.now_ms()
            if wait > 0:
                await asyncio.sleep(wait / 1_000)
            if act is None:
                self._poll()
            else:
                self._perform(act)
        await self._calm_down()
        hosts.cancel()
        with suppress(asyncio.CancelledError):
            await hosts
        await self._last_host()
        self.wire.close()
        self.record.end = self.clock.world_ms()
        self.record.journal = bytes(self.files.whole)
        if self._decoy is not None:
            self.record.another_knows = tuple(self._decoy.machine.firmware.memory.outcomes)

    def _broke_down(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """An error that nobody caught."""
        what = context.get("exception") or context.get("message")
        self.record.wrong.append(f"an error that nobody caught: {what!r}")

    def _timeline(self) -> Iterator[tuple[int, Act | None]]:
        """The acts, with a look at the device every so often between them."""
        length = self.plan.minutes * 60_000
        next_poll = self.plan.poll
        for act in self.plan.acts:
            while next_poll <= act.at and next_poll < length:
                yield next_poll, None
                next_poll += self.plan.poll
            yield act.at, act
        for at in range(next_poll, length + 1, self.plan.poll):
            yield at, None

    async def _hosts(self) -> None:
        """Hosts come and go, one at a time, as long as the storm lasts."""
        tries = 0
        while True:
            host = self._new_host()
            taking = asyncio.ensure_future(self._take_charge(host))
            host.tasks.add(taking)
            try:
                await asyncio.wait({taking})
                tries = 0 if host.controller is not None else tries + 1
                if host.controller is not None:
                    since = self.clock.world_ms()
                    await host.gone.wait()
                    self.record.charges.append((since, self.clock.world_ms()))
            finally:
                self.host = None
                await self._let_go(host)
            pause = RETRIES_S[min(tries, len(RETRIES_S) - 1)]
            if host.died_at is not None:
                self.record.reached[f"died: {host.died_at}"] += 1
                pause = self.random.choice((0, 1, 30, 900))
            await asyncio.sleep(max(pause, self._downtime_s))
            self._downtime_s = 0.0

    def _new_host(self) -> Host:
        self.record.lives += 1
        return Host(
            self.clock,
            self.files,
            self.line,
            self.traps,
            self._name_of,
            self._new_id,
            self._heard,
            self._key,
            self._draw,
        )

    async def _take_charge(self, host: Host) -> None:
        if stretch := self.clock.stretches.pop("open", 0):
            await asyncio.sleep(stretch / 1_000)
        try:
            controller = await connect(host.link, self.device.serial, host.settings)
        except (NeuraxisError, OSError) as error:
            self.record.reached[f"no start: {type(error).__name__}"] += 1
            return
        if host.is_alive:
            host.controller = controller
            self.people.attend(controller, host)
            self.host = host
            if self.plan.monitor:
                with suppress(NeuraxisError, OSError):
                    monitor = StormMonitor(controller, host, self.files, self.clock, self.record)
                    await monitor.begin()

    async def _let_go(self, host: Host) -> None:
        """Ends a host in order, or what is left of a dead one."""
        tasks = list(host.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if host.controller is not None:
            for kind, number in host.controller.session.counts.dropped.items():
                self.record.reached[f"dropped by the host: {kind}"] += number
            with suppress(NeuraxisError, OSError):
                await host.controller.close()
        await host.link.close()

    # --- acts --------------------------------------------------------------------------------

    def _perform(self, act: Act) -> None:
        self.record.events.append((self.clock.world_ms(), act.do, act.where))
        if act.do in self.people.requests:
            self._ask(act)
        elif act.do == "press":
            self.wire.step()
            self.record.reached["press granted"] += self.wire.press()
        elif act.do == "device":
            self.wire.inject(act.where)
        else:
            getattr(self, f"_{act.do}")(act)

    def _weather(self, act: Act) -> None:
        self.line.set(act.where, act.amount)

    def _arrives(self, data: bytes) -> None:
        """Bytes are at the device's end of the line, whichever device that is just now."""
        if not self.is_swapped:
            self.wire.receive(data)
            return
        self.record.elsewhere.add(self.line.plug)
        if self._decoy is None:
            kind = MACHINES[self.plan.family]
            self._decoy = SimulatedDevice(kind, wall_ms=START_MS, serial=OTHER_SERIAL)
        if answer := self._decoy.receive(data, self.clock.world_ms()):
            self.line.to_host(answer)

    def _swap(self, act: Act) -> None:
        def move(swapped: bool) -> None:
            self.is_swapped = swapped
            self.line.moved()

        move(True)
        self._after(act.amount, lambda: move(False))

    def _cut(self, act: Act) -> None:
        def cut() -> None:
            self.line.is_cut = True
            self._after(act.amount, lambda: setattr(self.line, "is_cut", False))

        if act.where:
            self.traps.append(Trap(act.where, 1, cut))
        else:
            cut()

    def _flood(self, act: Act) -> None:
        self.line.flood(act.amount)

    def _unplug(self, act: Act) -> None:
        self.line.pull()
        self._after(act.amount, lambda: setattr(self.line, "is_unplugged", False))

    def _kill(self, act: Act) -> None:
        if act.where:
            self.traps.append(Trap(act.where, max(1, act.amount)))
        elif self.host is not None:
            self.host.die("at once")

    def _power(self, act: Act) -> None:
        if self.host is not None:
            self.host.die("without power")
            self.files.lose_power()
            self._downtime_s = act.amount / 1_000

    def _full(self, act: Act) -> None:
        self.files.is_full = True
        self._after(act.amount, lambda: setattr(self.files, "is_full", False))

    def _sync(self, act: Act) -> None:
        self.files.sync_fails = True
        self._after(act.amount, lambda: setattr(self.files, "sync_fails", False))

    def _slow(self, act: Act) -> None:
        self.clock.slow_until_ms = self.clock.now_ms() + act.amount

    def _wall(self, act: Act) -> None:
        self.clock.shift_wall(act.amount)

    def _suspend(self, act: Act) -> None:
        self.clock.sleep_host(act.amount)
        self.wire.step()

    def _stall(self, act: Act) -> None:
        self.clock.stall(act.amount)

    def _stretch(self, act: Act) -> None:
        self.clock.stretches[act.where] = act.amount

    def _cancel(self, act: Act) -> None:
        if act.where:
            self.traps.append(Trap(act.where, max(1, act.amount), self._cancel_all))
        else:
            self._cancel_all()

    def _cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.record.reached["cancelled"] += len(self._tasks)

    def _after(self, ms: int, work: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(ms / 1_000, work)

    # --- people ------------------------------------------------------------------------------

    def _ask(self, act: Act) -> None:
        asked = Asked(
            len(self.record.asked) + 1,
            self.clock.world_ms(),
            act.do,
            act.who,
            act.where,
            act.amount,
        )
        says(asked)
        self.record.asked.append(asked)
        host = self.host
        if host is None or host.controller is None:
            asked.told = "nobody"
            return
        asked.stood = host.controller.session.broken is None
        task = asyncio.ensure_future(self._carry_out(asked, host, host.controller))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        host.starts(task)

    async def _carry_out(self, asked: Asked, host: Host, controller: AnyController) -> None:
        ASKING.set(asked)
        asked.begun_at = self.clock.world_ms()
        told, text = "cancelled", ""
        try:
            await self.people.carry_out(controller, asked)
            told = "done"
        except Refused as error:
            told, text = "refused", str(error)
        except Uncertain as error:
            told, text = "uncertain", str(error)
        except NeuraxisError as error:
            told, text = "failed", f"{type(error).__name__}: {error}"
            self._give_up_if_useless(host, controller, error)
        except Exception as error:
            told, text = "crashed", repr(error)
            self.record.wrong.append(f"request {asked.number} ({asked.what}) crashed: {error!r}")
        finally:
            if host.is_alive:
                asked.told, asked.text = told, text
                asked.told_at = self.clock.world_ms()
            else:
                asked.told = "died"
            self.record.reached[f"{asked.what}: {asked.told}"] += 1
        if told == "uncertain":
            host.gone.set()  # the person connects again, as the text says

    def _give_up_if_useless(self, host: Host, controller: AnyController, error: Exception) -> None:
        """A conversation that is over is begun anew; a line that is silent is tried again."""
        if controller.session.broken is not None or isinstance(error, DeviceFault):
            host.gone.set()

    def _poll(self) -> None:
        host = self.host
        if host is not None and host.controller is not None and not host.polling:
            host.starts(asyncio.ensure_future(self._look(host, host.controller)))

    async def _look(self, host: Host, controller: AnyController) -> None:
        host.polling = True
        try:
            await self.people.look(controller)
        except (NeuraxisError, OSError) as error:
            self._give_up_if_useless(host, controller, error)
        finally:
            host.polling = False

    def _new_id(self) -> int:
        own = next(self._ids)
        asked = ASKING.get()
        if asked is not None:
            asked.ids.append(own)
        return own

    def _heard(self, alarm: Alarm) -> None:
        self.record.alarms.append((self.clock.world_ms(), alarm))

    # --- the end -----------------------------------------------------------------------------

    async def _calm_down(self) -> None:
        """The line, the disk and the device are well again; what is under way comes to its end."""
        for kind in self.line.strength:
            self.line.set(kind, 0)
        self.line.is_cut = self.line.is_unplugged = self.is_swapped = False
        self.files.is_full = self.files.sync_fails = False
        self.clock.slow_until_ms = -1
        self.clock.stretches.clear()
        self.traps.clear()
        self.wire.inject("heal")
        self.record.events.append((self.clock.world_ms(), "device", "heal"))
        self.record.calm_from = self.clock.world_ms()
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=PATIENCE_S)
            if left:
                self.record.wrong.append(f"{len(left)} requests were never answered")
        await asyncio.sleep(CALM_S)

    async def _last_host(self) -> None:
        """A host on a calm line must be able to take charge, and to go on with what flows."""
        host = self._new_host()
        try:
            controller = await connect(host.link, self.device.serial, host.settings)
        except (NeuraxisError, OSError) as error:
            self.record.wrong.append(f"on a calm line nobody can take charge: {error!r}")
            return
        asked = Asked(len(self.record.asked) + 1, self.clock.world_ms(), "apply", "A")
        self.record.asked.append(asked)
        ASKING.set(asked)
        try:
            await self.people.go_on(controller, self.record, asked)
        finally:
            with suppress(NeuraxisError, OSError):
                await controller.close()
