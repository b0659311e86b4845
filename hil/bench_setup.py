"""Sets a bench up for one test and takes it down again, whatever the test did."""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from device_profiles.errors import UsageError
from firmware_bridge.families.table import FAMILIES, AnyController
from firmware_bridge.links.url import parse_url
from hil.bench import Connection, Device, Pump, Stimulator
from hil.bench_simulator import SimulatedBench
from hil.bench_time import BenchTime, RealTime, VirtualTime
from hil.owner import own
from hil.places import Places
from hil.user import keys_folder, state_folder
from hil.witness import Line, Truth
from safety.alarms import Alarm

D = TypeVar("D", bound=Device)
Taker = Callable[[], AbstractAsyncContextManager[AnyController]]


class NotOnThisBench(UsageError):
    """What a test asks for is not there: none of the given devices, or no witness."""


class Bench:
    """The devices of one test on one clock: simulated ones, or those behind ``urls``.

    ``families`` remembers from test to test what is behind a URL. The journals of simulated
    devices lie under ``folder``; a device behind a URL keeps its own journal in the user's state
    folder, for its dose windows and its locks do not end with a test.
    """

    def __init__(
        self, folder: Path, root: Path, urls: Sequence[str], families: MutableMapping[str, str]
    ) -> None:
        self._folder = folder
        self._root = root
        self._urls = urls
        self._families = families
        self._simulated: dict[str, SimulatedBench] = {}
        self._stack = ExitStack()
        self._time: BenchTime = RealTime() if urls else VirtualTime()
        self._stack.callback(self._time.close)

    def stimulator(self) -> Stimulator:
        """The stimulator; raises NotOnThisBench."""
        return self._device("stimulator", Stimulator)

    def pump(self) -> Pump:
        """The pump; raises NotOnThisBench."""
        return self._device("pump", Pump)

    def truth(self) -> Truth:
        """What the simulated devices physically do; raises NotOnThisBench for any other."""
        if self._urls:
            raise NotOnThisBench(
                "no witness: the physical truth is known of the simulator of this process only, "
                "and --device was given"
            )
        return Truth(partial(self._lines, "stimulator"), partial(self._lines, "pump"))

    def close(self) -> None:
        """Brings each device to its safe state and closes everything, whatever happens on the way.

        Raises Uncertain for a device whose safe state cannot be confirmed.
        """
        self._stack.close()

    def _device(self, family: str, make: type[D]) -> D:
        alarms: list[Alarm] = []
        for url, take in self._takers(family, alarms):
            connection = Connection(take)
            self._time.call(connection.open)
            found = FAMILIES[connection.controller.identity.family].name
            self._families[url] = found
            if found == family:
                self._stack.callback(self._time.call, connection.release)
                simulated = self._simulated.get(family)
                return make(self._time, self._root, connection, alarms, simulated)
            self._time.call(connection.close)
        known = "; ".join(f"{url} is a {self._families[url]}" for url in self._urls)
        raise NotOnThisBench(f"no {family} was given with --device: {known}")

    def _takers(self, family: str, alarms: list[Alarm]) -> Iterator[tuple[str, Taker]]:
        """The ways to take charge of a device that is of this family, or may be."""
        if not self._urls:
            places = Places(self._folder)
            simulated = self._time.call(self._simulate, family, places)
            yield "", lambda: simulated.connected(alarms)
        for text in self._urls:
            if self._families.get(text, family) == family:
                url = parse_url(text)
                own_journal = url.scheme != "sim"
                places = Places(
                    state_folder() if own_journal else self._folder,
                    keys=keys_folder(),
                )
                yield text, partial(own, url, places, self._time.clock, alarms.append)

    async def _simulate(self, family: str, places: Places) -> SimulatedBench:
        simulated = SimulatedBench(family, self._time.clock, places)
        self._simulated[family] = simulated
        self._stack.callback(self._time.call, simulated.close)
        return simulated

    def _lines(self, family: str) -> list[Line]:
        if family not in self._simulated:
            raise UsageError(f"this test uses no {family}: let it take the fixture {family!r} too")
        return self._time.call(self._simulated[family].truth)
