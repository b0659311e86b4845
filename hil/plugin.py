"""The pytest plugin: fixtures for bench tests on the simulator or on real devices (SR-60).

It is loaded with every pytest run on this Python, so it imports the rest of neuraxis only once a
test asks for one of its fixtures.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from hil.bench import Pump, Stimulator
    from hil.bench_setup import Bench
    from hil.witness import Truth

T = TypeVar("T")

FAMILIES = pytest.StashKey[dict[str, str]]()
"""What is behind each URL of ``--device``, once it has been asked."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--device``."""
    group = parser.getgroup("neuraxis", "neuraxis: bench tests of stimulators and pumps")
    group.addoption(
        "--device",
        action="append",
        default=[],
        dest="neuraxis_devices",
        metavar="URL",
        help="run the fixtures `stimulator` and `pump` on this device, in real time: "
        "serial:///dev/ttyUSB0, usb://1209:0001, tcp://HOST:PORT, sim://pump, …; once for each "
        "device, which says itself what it is. Default: the simulator, on virtual time",
    )


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Says of a measured amount what it is, when a comparison with it has failed."""
    witness = sys.modules.get("hil.witness")
    if witness is None or not isinstance(left, witness.Quantity):
        return None
    return [f"{left!r} {op} {right}", f"{left!r}: {left.about}"]


@pytest.fixture
def _neuraxis_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator["Bench"]:
    from hil.bench_setup import Bench

    config = request.config
    urls = config.getoption("neuraxis_devices")
    families = config.stash.setdefault(FAMILIES, {})
    bench = Bench(tmp_path / "neuraxis", config.rootpath, urls, families)
    try:
        yield bench
    finally:
        bench.close()


@pytest.fixture
def stimulator(_neuraxis_bench: "Bench") -> "Stimulator":
    """A spinal cord stimulator: apply, start, wait, amplitude, switch, impedance, stop.

    In its safe state again when the test has ended, however it ended.
    """
    return _or_skip(_neuraxis_bench.stimulator)


@pytest.fixture
def pump(_neuraxis_bench: "Bench") -> "Pump":
    """An intrathecal pump: apply, wait, bolus, press, stop.

    In its safe state again when the test has ended, however it ended.
    """
    return _or_skip(_neuraxis_bench.pump)


@pytest.fixture
def truth(_neuraxis_bench: "Bench") -> "Truth":
    """What the simulated devices physically did: peak, now, mass, most_in. Skips on real ones."""
    return _or_skip(_neuraxis_bench.truth)


def _or_skip(get: Callable[[], T]) -> T:
    from hil.bench_setup import NotOnThisBench

    try:
        return get()
    except NotOnThisBench as reason:
        pytest.skip(str(reason))
