"""Sample messages and programs, made from their own fields: the seeds of what travels on a line."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from simulator_bench import burst, infusion, stimulation

from firmware_bridge.families.itp import wire as itp
from firmware_bridge.families.scs import wire as scs
from firmware_bridge.protocol.blob import ProgramRecord, digest_of, encode_program
from firmware_bridge.protocol.catalogue import (
    Catalogue,
    Envelope,
)
from firmware_bridge.protocol.messages import (
    COMMON_MESSAGES,
    Message,
)

FAMILY_MESSAGES: Mapping[str, tuple[type[Message], ...]] = {
    "scs": scs.MESSAGES,
    "itp": itp.MESSAGES,
}
CATALOGUES = {name: Catalogue(messages) for name, messages in FAMILY_MESSAGES.items()}

_BRIDGE = itp.WireBridge(
    drugs=[itp.WireDrug(name="morphine", concentration=10_000_000)],
    basal=[itp.WireStep(start=0, flow=240_000), itp.WireStep(start=600, flow=480_000)],
    volume=400_000,
)
PROGRAMS: Mapping[str, tuple[ProgramRecord, ...]] = {
    "scs": (
        stimulation(),
        burst(),
        stimulation(waveform="high-frequency", rate=10_000_000),
        stimulation(stimulate=60_000, pause=30_000),
    ),
    "itp": (
        infusion(),
        infusion(patient_bolus=None, primed=False, stop_policy="may-stop"),
        infusion(bridge=_BRIDGE, utc_offset_min=-300),
    ),
}
"""Programs that the factory's ceilings allow."""


def sample(cls: type[Message]) -> Message:
    """A message with a plain value in each field."""
    hints = get_type_hints(cls, include_extras=True)
    values = {name: _value(name, hints[name]) for name in _fields(cls)}
    return cls(**values)


def bodies() -> Iterator[bytes]:
    """One body for each kind of message of each family, and some that carry programs."""
    for name, catalogue in CATALOGUES.items():
        for number, cls in enumerate((*COMMON_MESSAGES, *FAMILY_MESSAGES[name])):
            yield catalogue.encode(Envelope(number % 3, number, sample(cls)))


def blobs() -> Iterator[bytes]:
    """The programs as bytes."""
    for programs in PROGRAMS.values():
        yield from map(encode_program, programs)


def _fields(cls: type[Any]) -> tuple[str, ...]:
    return tuple(one.name for one in fields(cls))


def names() -> list[str]:
    """The names of all fields of all messages."""
    messages = (*COMMON_MESSAGES, *FAMILY_MESSAGES["scs"], *FAMILY_MESSAGES["itp"])
    return sorted({name for cls in messages for name in _fields(cls)})


def _least(extra: list[Any]) -> int:
    """How long bytes have to be at least, by what pydantic is told of them."""
    told = [one for field in extra for one in getattr(field, "metadata", [field])]
    return max((getattr(one, "min_length", 0) or 0 for one in told), default=0)


def _value(name: str, hint: Any) -> Any:
    if name == "program":
        return encode_program(PROGRAMS["scs"][0])
    if name in ("digest", "programs"):
        return digest_of(b"")
    origin = get_origin(hint)
    if origin is Annotated:
        base, *extra = get_args(hint)
        return bytes(_least(extra)) if base is bytes else _value(name, base)
    if origin is Literal:
        return get_args(hint)[0]
    if origin is list:
        return [_value(name, get_args(hint)[0])]
    plain: dict[Any, Any] = {int: 1, str: "a", bool: True, bytes: b"", NoneType: None}
    return plain[hint]
