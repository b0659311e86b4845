"""The stimulator family on the wire: its own messages and the form of its programs."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from firmware_bridge.protocol.blob import ProgramRecord
from firmware_bridge.protocol.messages import (
    PRINTABLE,
    REPLY,
    U8,
    U16,
    U32,
    U64,
    AlarmCodes,
    CommandId,
    DeEscalation,
    Digest,
    Message,
    Query,
    Renewal,
    Reply,
    SaysWho,
    TherapyRequest,
    message,
)

FAMILY = "scs"


class WireElectrode(ProgramRecord):
    """A contact (0: case, n: En) and its signed share of the area's current in per cent."""

    contact: Annotated[int, Field(ge=0, le=32)]
    share: Annotated[int, Field(ge=-100, le=100)]


class WireArea(ProgramRecord):
    """One area; currents in uA, width in us."""

    electrodes: Annotated[list[WireElectrode], Field(min_length=2, max_length=33)]
    amplitude: U32
    ceiling: U32
    pulse_width: U16
    recharge: Literal["active", "passive"]

    @property
    def rise_height(self) -> int:
        """What the area rises to within ``ramp``: its amplitude; where that is 0, its ceiling."""
        return self.amplitude or self.ceiling


class WireProgram(ProgramRecord):
    """One program; rates in mHz, times in ms."""

    name: Annotated[str, Field(min_length=1, max_length=32, pattern=PRINTABLE)]
    waveform: Literal["tonic", "high-frequency", "burst"]
    rate: U32
    burst_pulses: Annotated[int, Field(ge=1, le=255)]
    intra_rate: U32
    areas: Annotated[list[WireArea], Field(min_length=1, max_length=4)]
    ramp: U32
    stimulate: U32
    pause: U32


AreaAmplitudes = Annotated[list[U32], Field(min_length=1, max_length=4)]


@message
class Start(TherapyRequest):
    """Ramps the program of ``slot`` up from zero to ``amplitudes``, one in uA for each area.

    ``digest`` is over the slot's program; a device that holds another program refuses. The
    output lives on a lease of ``lease`` ms, which `Renew` prolongs.
    """

    KIND: ClassVar[int] = 0x20
    id: CommandId
    slot: U8
    digest: Digest
    amplitudes: AreaAmplitudes
    lease: U32


@message
class SetAmplitude(TherapyRequest):
    """Ramps a running program's areas to ``amplitudes`` in uA, at the program's own slope."""

    KIND: ClassVar[int] = 0x21
    id: CommandId
    slot: U8
    digest: Digest
    amplitudes: AreaAmplitudes


@message
class LowerAmplitude(DeEscalation):
    """Lowers a running program's areas; refused as a whole if any amplitude would rise."""

    KIND: ClassVar[int] = 0x22
    amplitudes: AreaAmplitudes


@message
class Lowered(Reply):
    """The amplitudes are falling to the new values."""

    KIND: ClassVar[int] = 0x22 | REPLY


@message
class Renew(Renewal):
    """Prolongs the lease of a running output by ``lease`` ms from now."""

    KIND: ClassVar[int] = 0x23
    lease: U32


@message
class Renewed(Reply):
    """The lease runs on."""

    KIND: ClassVar[int] = 0x23 | REPLY


@message
class Measure(TherapyRequest):
    """Sends ``pulses`` pulses of ``current`` uA and ``pulse_width`` us through each contact."""

    KIND: ClassVar[int] = 0x24
    id: CommandId
    current: U32
    pulse_width: U16
    pulses: U8


@message
class AskImpedance(Query):
    """What did the last measurement find?"""

    KIND: ClassVar[int] = 0x25


@message
class Impedances(Reply):
    """The last measurement: ``id`` of its request (0: none since the start), ohms of E1, E2, …"""

    KIND: ClassVar[int] = 0x25 | REPLY
    id: U64
    ohms: Annotated[list[U32], Field(max_length=32)]


@message
class StimulatorStatus(SaysWho):
    """The stimulator's state at ``clock`` (its own clock, ms of Unix time).

    ``state``: ``off``; ``rising``, ``on``, ``paused`` (the pause of a cycle), ``falling``.
    ``amplitudes``: what flows now in uA for each area of ``slot``. ``programs``: digest over the
    programs of all slots in use. ``lease``: ms left. ``alarms``: names of active alarms.
    """

    KIND: ClassVar[int] = 0xA8
    clock: U64
    boot: U32
    state: Literal["off", "rising", "on", "paused", "falling"]
    slot: U8
    amplitudes: Annotated[list[U32], Field(max_length=4)]
    programs: Digest
    lease: U32
    battery: U16
    pulses: U64
    alarms: AlarmCodes


MESSAGES: tuple[type[Message], ...] = (
    Start,
    SetAmplitude,
    LowerAmplitude,
    Lowered,
    Renew,
    Renewed,
    Measure,
    AskImpedance,
    Impedances,
    StimulatorStatus,
)
