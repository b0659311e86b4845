"""What a fuzz target is: an oracle over bytes, seeds made by code, a mutator that knows."""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
PREFIX = "target_"

Raw = Callable[[bytes], bytes]
"""Changes bytes without knowing what they mean."""
Mutator = Callable[[bytes, Random, Raw], bytes]
"""Changes bytes knowing what they mean; falls back on the raw one."""


_marks: list[Callable[[str], None]] = []
"""Who listens to `mark`: the guided engine."""


def mark(place: str) -> None:
    """Tells the fuzzer that an input got to a place that no line of Python shows.

    The validators of pydantic are compiled: without this a message of every kind looks the same.
    """
    for listen in _marks:
        listen(place)


def on_mark(listen: Callable[[str], None]) -> None:
    """From now on ``listen`` is told of every mark."""
    _marks.append(listen)


class Finding(AssertionError):
    """The code under test broke a promise; the text says which."""


class Skipped(Exception):
    """Raised where a target is imported whose code is not there; the text says what is missing."""


def unknowing(data: bytes, rng: Random, raw: Raw) -> bytes:
    """The mutator of a target whose bytes have no form."""
    return raw(data)


@dataclass(frozen=True, slots=True)
class Target:
    """One reader of bytes under test.

    ``check`` raises whatever is wrong: a `Finding`, or what the code under test should not have
    raised. ``seconds`` is the most processor time that one input may take. ``runs`` is its part of
    `make fuzz`, ``short`` its part of `make test`, ``rate`` about how many a second are done.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    runs: int
    short: int
    rate: int
    mutate: Mutator = unknowing
    tokens: tuple[bytes, ...] = ()
    max_len: int = 4_096
    seconds: float = 1.0


def names() -> tuple[str, ...]:
    """The names of all targets."""
    return tuple(sorted(path.stem.removeprefix(PREFIX) for path in HERE.glob(f"{PREFIX}*.py")))


def load(name: str) -> Target:
    """The target of a name; raises Skipped."""
    module = importlib.import_module(f"{__package__}.{PREFIX}{name}")
    target = module.TARGET
    assert isinstance(target, Target)
    assert target.name == name, target.name
    return target


def expect(holds: bool, sentence: str) -> None:
    """Raises Finding unless a promise holds."""
    if not holds:
        raise Finding(sentence)
