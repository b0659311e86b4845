"""The way to a device's safe state, which needs nothing but the line to it."""

import asyncio
from collections.abc import Callable

from device_profiles.errors import DeviceFault, LinkError, Uncertain
from firmware_bridge.driver import Sample
from firmware_bridge.protocol.messages import AskStatus, Reply, Stop, StopDepth
from firmware_bridge.session import Session

SAFE_STATE_POLLS = 50
SAFE_STATE_POLL_S = 0.1


def shows_safe_state(sample: Sample, depth: StopDepth) -> bool:
    """Whether a status is what a stop of this depth leads to."""
    return sample.safe and not (depth == "flow" and sample.delivering)


def why_unconfirmed(error: Uncertain) -> str:
    """Why a stop that `bring_to_safe_state` gave up could not be confirmed, for an alarm's text."""
    cause = error.__cause__
    if isinstance(cause, DeviceFault):
        return str(cause)
    if isinstance(cause, LinkError):
        return "its line is silent or gone"
    return "it does not show its safe state"


async def prove_safe_state(
    session: Session, sample_of: Callable[[Reply], Sample], depth: StopDepth
) -> Sample:
    """Looks once more, in a sealed session, after `bring_to_safe_state` without one.

    What confirmed the stop came unsealed: anybody on the line could have said it. Raises Uncertain.
    """
    try:
        await session.open()
        sample = sample_of(await session.query(AskStatus(), Reply))
    except (LinkError, DeviceFault) as error:
        raise Uncertain(
            "the stop was sent and answered, but could not be confirmed by a status that proves "
            f"who it is from: {error}"
        ) from error
    if not shows_safe_state(sample, depth):
        raise Uncertain(
            "the device seemed to have stopped, but its sealed status says that it is "
            f"{sample.state}: somebody is on the line"
        )
    return sample


async def bring_to_safe_state(
    session: Session, sample_of: Callable[[Reply], Sample], depth: StopDepth
) -> Sample:
    """SR-31, SR-32: sends a stop and asks until the device's status shows its safe state.

    Needs no configuration, no journal and no opened session. Raises Uncertain, also when another
    device than the one that was identified answers: it may go on while a stranger shows "safe".
    """
    session.end_live()
    try:
        await session.lower(Stop(depth))
        for _ in range(SAFE_STATE_POLLS):
            sample = sample_of(await session.query(AskStatus(), Reply))
            if shows_safe_state(sample, depth):
                return sample
            await asyncio.sleep(SAFE_STATE_POLL_S)
    except (LinkError, DeviceFault) as error:
        raise Uncertain(f"the stop could not be confirmed: {error}") from error
    raise Uncertain(
        "the stop was answered, but the device does not show its safe state: disconnect it by hand"
    )
