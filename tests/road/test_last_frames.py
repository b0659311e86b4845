"""Every error of the line shows the last frames, and what each of them was."""

import pytest
from road_bench import apply, road, take_over
from road_bench import both_lines as both_lines

from device_profiles.errors import DeviceFault, DeviceSilent, LinkLost
from firmware_bridge.exchange import BYTES_SHOWN, LAST_FRAMES
from firmware_bridge.protocol.messages import AskStatus, Identity, Read, Reply
from firmware_bridge.simulator.faults import PlannedFault


def fault(name: str, request: str, count: int = 1) -> PlannedFault:
    return PlannedFault(name, request=request, count=count)


def frames_in(error: Exception) -> list[str]:
    """The frames that an error shows, the newest last."""
    assert str(error).count(LAST_FRAMES) == 1, str(error)
    return str(error).partition(LAST_FRAMES)[2].split("; ")
