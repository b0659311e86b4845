"""A device's own alarms, held against the board: what is news and what is over."""

from dataclasses import dataclass

from safety.alarms import Alarm
from safety.monitor import alarms_of_device
from safety.state import State

DEVICE_ALARM = "SR-55"
"""The requirement that every alarm of the device itself is raised for."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """The alarms of one sample that people have not been told of, and the codes that are over."""

    news: tuple[Alarm, ...]
    over: tuple[str, ...]


def noticed(state: State, names: tuple[str, ...]) -> Noticed:
    """SR-50, SR-55: what a device shows, against the board.

    Asked on connecting, before a start, and before an output that was found off is taken down:
    what the board shows then is why it ended. Protects from a full start after a magnet that came
    while nobody watched. Harm: none, it refuses nothing. Longest denial: none. Way out: none is
    needed.
    """
    program = state.pump_program or state.last_verified
    told = {one.alarm.code for one in state.alarms if not one.over}
    return Noticed(
        tuple(
            alarm
            for alarm in alarms_of_device(names, program.stop_policy if program else None)
            if alarm.code not in told
        ),
        tuple(
            one.alarm.code
            for one in state.alarms
            if one.alarm.requirement == DEVICE_ALARM and not one.over
            if one.alarm.code not in names
        ),
    )
