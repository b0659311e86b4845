"""The device families: one line each."""

from collections.abc import Callable
from dataclasses import dataclass

from device_profiles.errors import DeviceFault, Refused
from device_profiles.profile import PumpProfile, StimulatorProfile
from device_profiles.profile_file import load_profile
from firmware_bridge.controller import Settings
from firmware_bridge.families.itp import wire as itp
from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.driver import PumpDriver
from firmware_bridge.families.scs import wire as scs
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.scs.driver import StimulatorDriver
from firmware_bridge.links.base import Link
from firmware_bridge.protocol.messages import Catalogue, Identity
from firmware_bridge.session import Session

CATALOGUE = Catalogue((*scs.MESSAGES, *itp.MESSAGES))
"""Every message of every family: kinds are unique among all of them."""

AnyController = StimulatorController | PumpController


def _stimulator(session: Session, identity: Identity, settings: Settings) -> AnyController:
    profile = load_profile(identity.model)
    if not isinstance(profile, StimulatorProfile):
        raise DeviceFault(f"{identity.serial} says it is a stimulator of a pump's model")
    return StimulatorController(session, identity, StimulatorDriver(profile), profile, settings)


def _pump(session: Session, identity: Identity, settings: Settings) -> AnyController:
    profile = load_profile(identity.model)
    if not isinstance(profile, PumpProfile):
        raise DeviceFault(f"{identity.serial} says it is a pump of a stimulator's model")
    return PumpController(session, identity, PumpDriver(), profile, settings)


@dataclass(frozen=True, slots=True)
class Family:
    """A family of devices: what people call it, who controls one, who speaks for it."""

    name: str
    controller: Callable[[Session, Identity, Settings], AnyController]


FAMILIES = {
    scs.FAMILY: Family("stimulator", _stimulator),
    itp.FAMILY: Family("pump", _pump),
}


async def connect(link: Link, serial: str | None, settings: Settings) -> AnyController:
    """Opens a link, finds out who is there, and takes charge of it.

    ``serial`` is the serial number that must answer; ``None`` takes any. An unknown or another
    device gets no frame but the question who it is. Raises LinkError, Refused, DeviceFault.
    """
    session = Session(link, CATALOGUE)
    identity = await session.connect()
    try:
        if serial is not None and identity.serial != serial:
            raise Refused(
                f"{link.url}: {identity.serial} answers, and {serial} was asked for: nothing was "
                "sent to it but the question who it is (SR-25). Check which device is connected"
            )
        family = FAMILIES.get(identity.family)
        if family is None:
            raise DeviceFault(
                f"{link.url}: {identity.serial} is of the family {identity.family!r}, which this "
                f"version does not know; it knows {', '.join(FAMILIES)}"
            )
        controller = family.controller(session, identity, settings)
        await controller.begin()
    except BaseException:
        await session.close()
        raise
    return controller
