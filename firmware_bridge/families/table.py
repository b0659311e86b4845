"""The device families: one line each."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from device_profiles.errors import DeviceFault, Refused, UsageError
from device_profiles.profile import Profile, PumpProfile, StimulatorProfile
from device_profiles.profile_file import load_profile
from firmware_bridge.driver import Sample
from firmware_bridge.families.itp import wire as itp
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.driver import PumpDriver, pump_sample
from firmware_bridge.families.scs import wire as scs
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.scs.driver import StimulatorDriver, stimulator_sample
from firmware_bridge.links.base import Link
from firmware_bridge.protocol.catalogue import (
    Catalogue,
)
from firmware_bridge.protocol.messages import (
    Identity,
    Reply,
)
from firmware_bridge.session import Session
from firmware_bridge.settings import Settings

CATALOGUE = Catalogue((*scs.MESSAGES, *itp.MESSAGES))
"""Every message of every family: kinds are unique among all of them."""

AnyController = StimulatorController | PumpController


def _profile_of(session: Session, identity: Identity) -> Profile:
    try:
        return load_profile(identity.model)
    except UsageError as error:
        raise _wrong_model(session, identity, f"of a model without a profile: {error}") from error


def _wrong_model(session: Session, identity: Identity, what: str) -> DeviceFault:
    return DeviceFault(
        f"{session.url}: {identity.serial} says it is {what}. Check its firmware: the model that "
        f"it names is {identity.model!r}"
    )


def _stimulator(session: Session, identity: Identity, settings: Settings) -> AnyController:
    profile = _profile_of(session, identity)
    if not isinstance(profile, StimulatorProfile):
        raise _wrong_model(session, identity, "a stimulator of a pump's model")
    return StimulatorController(session, identity, StimulatorDriver(profile), profile, settings)


def _pump(session: Session, identity: Identity, settings: Settings) -> AnyController:
    profile = _profile_of(session, identity)
    if not isinstance(profile, PumpProfile):
        raise _wrong_model(session, identity, "a pump of a stimulator's model")
    return PumpController(session, identity, PumpDriver(), profile, settings)


@dataclass(frozen=True, slots=True)
class Family:
    """A family: what people call it, who controls one of it, and how its status is read."""

    name: str
    controller: Callable[[Session, Identity, Settings], AnyController]
    sample: Callable[[Reply], Sample]


FAMILIES = {
    scs.FAMILY: Family("stimulator", _stimulator, stimulator_sample),
    itp.FAMILY: Family("pump", _pump, pump_sample),
}


@asynccontextmanager
async def identified(
    link: Link,
    serial: str | None,
    settings: Settings,
    begin: Callable[[Session], Awaitable[Identity]] = Session.connect,
) -> AsyncIterator[tuple[Session, Identity]]:
    """A session with the device that was asked for (SR-25); closed if the body fails."""
    session = Session(link, CATALOGUE, settings.new_session, draw=settings.draw)
    identity = await begin(session)
    try:
        if serial is not None and identity.serial != serial:
            raise Refused(
                f"{link.url}: {identity.serial} answers, and {serial} was asked for: nothing was "
                "sent to it but the question who it is (SR-25). Check which device is connected"
            )
        if not identity.simulated and identity.speed != 1:
            raise DeviceFault(
                f"{link.url}: {identity.serial} says it is real and that its time runs at a speed "
                f"of {identity.speed}: nothing was sent but the question who it is"
            )
        if identity.family not in FAMILIES:
            raise DeviceFault(
                f"{link.url}: {identity.serial} is of the family {identity.family!r}, which this "
                f"version does not know; it knows {', '.join(FAMILIES)}"
            )
        yield session, identity
    except BaseException:
        await session.close()
        raise


async def connect(link: Link, serial: str | None, settings: Settings) -> AnyController:
    """Opens a link, finds out who is there, and takes charge of it.

    ``serial`` is the serial number that must answer; ``None`` takes any. An unknown or another
    device gets no frame but the question who it is. Raises LinkError, Refused, DeviceFault.
    """
    async with identified(link, serial, settings) as (session, identity):
        controller = FAMILIES[identity.family].controller(session, identity, settings)
        try:
            await controller.begin()
        except BaseException:
            await controller.close()
            raise
    return controller
