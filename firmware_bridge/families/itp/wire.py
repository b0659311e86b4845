"""The pump family on the wire: its own messages and the form of its program."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from firmware_bridge.protocol.blob import ProgramRecord
from firmware_bridge.protocol.messages import (
    PRINTABLE,
    U32,
    U64,
    AlarmCodes,
    CommandId,
    Message,
    SaysWho,
    TherapyRequest,
    message,
)

FAMILY = "itp"


class WireDrug(ProgramRecord):
    """A drug in the reservoir; concentration in ng/mL."""

    name: Annotated[str, Field(min_length=1, max_length=32, pattern=PRINTABLE)]
    concentration: U64


class WireStep(ProgramRecord):
    """A flow in nL/day from a minute of the pump's local day."""

    start: Annotated[int, Field(ge=0, le=1_439)]
    flow: U32


class WirePatientBolus(ProgramRecord):
    """One press: nL over ms; lockout from start to start in ms; a sliding count."""

    volume: U32
    over: U32
    lockout: U32
    max_per_24h: Annotated[int, Field(ge=1, le=255)]


class WireBridge(ProgramRecord):
    """The way to another concentration: ``basal`` until ``volume`` nL have left since the fill.

    ``drugs`` is what fills the line before.
    """

    drugs: Annotated[list[WireDrug], Field(min_length=1, max_length=4)]
    basal: Annotated[list[WireStep], Field(min_length=1, max_length=13)]
    volume: U32


class WirePumpProgram(ProgramRecord):
    """A pump's whole program; volumes in nL, times in ms of Unix time."""

    drugs: Annotated[list[WireDrug], Field(min_length=1, max_length=4)]
    basal: Annotated[list[WireStep], Field(min_length=1, max_length=13)]
    utc_offset_min: Annotated[int, Field(ge=-1_440, le=1_440)]
    patient_bolus: WirePatientBolus | None
    fill_volume: U32
    fill_at: U64
    low_reservoir: U32
    catheter: U32
    primed: bool
    stop_policy: Literal["may-stop", "hold-basal", "never-stop"]
    bridge: WireBridge | None


@message
class Bolus(TherapyRequest):
    """Delivers ``volume`` nL evenly over ``over`` ms, on top of the basal."""

    KIND: ClassVar[int] = 0x40
    id: CommandId
    volume: U32
    over: U32


@message
class Prime(TherapyRequest):
    """Moves ``volume`` nL over ``over`` ms into the line: once for the fill of ``fill_at``."""

    KIND: ClassVar[int] = 0x41
    id: CommandId
    volume: U32
    over: U32
    fill_at: U64


@message
class PumpStatus(SaysWho):
    """The pump's state at ``clock`` (its own UTC clock, ms of Unix time).

    ``state``: ``empty-program`` (nothing programmed yet), ``running``, ``held`` (basal on,
    boluses and button closed), ``halted`` (no flow). ``flow``: nL/day now, boluses included.
    ``delivered``: the odometer, nL since the pump was made, rounded up; it never falls.
    ``reservoir``: nL left by the pump's own count. ``bolus_id``: the host bolus or prime under
    way, else 0. ``line_left``: nL that a bridge or a prime still has to move, else 0.
    ``settling``: nL to move after a bridge until none of the old mix is surely left in the line;
    boluses and button are closed until both are 0.
    ``patient_boluses``: presses granted since the program was committed. ``alarms``: names of
    active alarms.
    """

    KIND: ClassVar[int] = 0xA9
    clock: U64
    boot: U32
    state: Literal["empty-program", "running", "held", "halted"]
    flow: U32
    delivered: U64
    reservoir: U64
    bolus_id: U64
    line_left: U64
    settling: U64
    patient_boluses: U32
    fill_at: U64
    alarms: AlarmCodes


MESSAGES: tuple[type[Message], ...] = (Bolus, Prime, PumpStatus)
