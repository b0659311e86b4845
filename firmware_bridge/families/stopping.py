"""A device that nobody owns is stopped before anything else: before its journal and its profile."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from device_profiles.errors import DeviceFault, LinkError, NeuraxisError, Uncertain, UsageError
from firmware_bridge.driver import Sample
from firmware_bridge.families.table import FAMILIES, Family, identified
from firmware_bridge.links.base import Link
from firmware_bridge.protocol.messages import Identity, StopDepth
from firmware_bridge.safe_state import bring_to_safe_state, prove_safe_state, why_unconfirmed
from firmware_bridge.session import Session
from firmware_bridge.settings import Settings


@dataclass(frozen=True, slots=True)
class StopDone:
    """A stop that a device has confirmed.

    ``is_known``: this host knows the device by its key, or was told to ask it unsealed.
    ``failure``: why the stop could not be recorded, if it could not.
    """

    sample: Sample
    is_known: bool
    failure: NeuraxisError | OSError | None


async def stop_at_once(
    link: Link, serial: str | None, depth: StopDepth, settings: Settings
) -> StopDone:
    """Stops a device, has it prove that it is stopped where this host has its key, and records it.

    Raises Uncertain when the safe state could not be confirmed, or not by the device itself;
    LinkError, Refused or DeviceFault when no stop was sent.
    """
    begin = partial(Session.connect_to_stop, depth=depth)
    async with identified(link, serial, settings, begin) as (session, identity):
        family = FAMILIES[identity.family]
        is_known = True
        try:
            sample = await bring_to_safe_state(session, family.sample, depth)
            try:
                session.seal_with(settings.key_of(identity.serial))
            except UsageError:
                is_known = False
            if session.sealed:
                # What confirmed it came unsealed: anybody on the line could have said it.
                sample = await prove_safe_state(session, family.sample, depth)
        except Uncertain as error:
            doubt = why_unconfirmed(error)
            await _record_stop(family, session, identity, settings, depth, doubt)
            raise
        failure = await _record_stop(family, session, identity, settings, depth)
    return StopDone(sample, is_known, failure)


async def _record_stop(
    family: Family,
    session: Session,
    identity: Identity,
    settings: Settings,
    depth: StopDepth,
    doubt: str | None = None,
) -> NeuraxisError | OSError | None:
    """Records a stop that has been sent; what goes wrong here must not hide the stop itself."""
    try:
        controller = family.controller(session, identity, settings)
        try:
            # In doubt the line may be what fails: the journal is written all the same.
            with suppress(*((LinkError, DeviceFault) if doubt is not None else ())):
                await controller.begin()
            await controller.note_stop(depth, doubt)
        finally:
            await controller.close()
    except (NeuraxisError, OSError) as error:
        return error
    return None
