"""The owner of a device: one process that opens the port, keeps the journal, answers others."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import replace

from pydantic import TypeAdapter

from device_profiles.errors import OwnerError, Refused, UsageError
from firmware_bridge.clock import Clock
from firmware_bridge.families.stopping import stop_at_once
from firmware_bridge.families.table import FAMILIES, AnyController, connect
from firmware_bridge.links.url import DeviceUrl, parse_url
from firmware_bridge.protocol.messages import StopDepth
from firmware_bridge.settings import JournalPlace, Settings
from hil.exit_codes import DONE
from hil.outside import OUTSIDE
from hil.places import OwnerRecord, Places
from hil.requests import MAX_LINE, Answer, Door, stopped_sentence
from safety.alarms import Alarm
from safety.events import Stopped


@asynccontextmanager
async def own(
    url: DeviceUrl, places: Places, clock: Clock, sound: Callable[[Alarm], None]
) -> AsyncIterator[AnyController]:
    """Takes charge of the device behind a URL for as long as the context lasts.

    Locks the URL before opening it and the serial number after identifying it; from then on
    other terminals are answered. Raises OwnerError with the first owner's process number.
    """
    async with AsyncExitStack() as stack:
        try:
            settings = _locked(stack, url, places, clock, sound)
        except OSError as error:
            raise UsageError(f"the state folder cannot be written: {error}") from error
        outside = OUTSIDE.get()
        link, key_of = outside.line(url, clock, places.keys)
        settings = outside.settings(replace(settings, key_of=key_of))
        controller = await connect(link, url.serial, settings)
        stack.push_async_callback(controller.close)
        await _take_in_notes(controller, places)
        terminals = outside.terminals(controller)
        if terminals is not None:
            await stack.enter_async_context(terminals)
        elif hasattr(asyncio, "start_unix_server"):
            await stack.enter_async_context(_door(controller, url, places))
        yield controller


@asynccontextmanager
async def _door(controller: AnyController, url: DeviceUrl, places: Places) -> AsyncIterator[None]:
    """The socket on which other terminals ask, announced while it is open."""
    serial = controller.identity.serial
    path = places.socket_path(serial)
    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(
        Door(controller, OUTSIDE.get().requested).answer, path=str(path), limit=MAX_LINE
    )
    path.chmod(0o600)
    record = OwnerRecord(
        os.getpid(),
        url.text,
        serial,
        FAMILIES[controller.identity.family].name,
        str(path),
        str(places.journal_path(serial)),
    )
    places.announce(record)
    try:
        yield
    finally:
        places.withdraw(serial)
        server.close()
        path.unlink(missing_ok=True)


async def _take_in_notes(controller: AnyController, places: Places) -> None:
    """SR-53, SR-56: what monitors did without an owner, into the journal; then their notes go.

    Protects from a stop that nobody remembers. Harm: none. Way out: none needed.
    """
    for path in places.notes_for(controller.identity.serial):
        try:
            note = json.loads(path.read_text("utf-8"))
            alarm = TypeAdapter(Alarm).validate_python(note["alarm"])
            depth, confirmed = note["depth"], note["state"] is not None
        except (OSError, ValueError, LookupError, TypeError):
            continue  # it stays where it is, for a person
        await controller.raise_alarm(alarm)
        if depth is not None:
            await controller.gate.tell(Stopped(controller.now(), str(depth), confirmed))
        if depth is not None and not confirmed:
            text = f"a monitor could not confirm its stop: {note.get('problem')}"
            await controller.raise_alarm(Alarm("stop-unconfirmed", "HIGH", "SR-32", text))
        path.unlink(missing_ok=True)


async def stop_without_owner(
    url: DeviceUrl,
    places: Places,
    clock: Clock,
    depth: StopDepth,
    sound: Callable[[Alarm], None],
) -> Answer:
    """Stops a device that nobody owns, before anything else, and records it afterwards.

    A state folder that cannot be used keeps nobody from stopping.
    """
    with ExitStack() as stack:
        settings = Settings(clock, _no_journal, sound)
        with suppress(OSError):
            settings = _locked(stack, url, places, clock, sound)
        outside = OUTSIDE.get()
        link, key_of = outside.line(url, clock, places.keys)
        settings = outside.settings(replace(settings, key_of=key_of))
        done = await stop_at_once(link, url.serial, depth, settings)
    text = stopped_sentence(done.sample)
    if not done.is_known:
        text += ", by its own word: without its key nobody can tell who said it"
    if done.failure is not None:
        text += f"; it could not be recorded: {done.failure}"
    return Answer(code=DONE, text=text, data={"state": done.sample.state, "known": done.is_known})


def _no_journal(serial: str) -> JournalPlace:
    raise UsageError(f"the state folder cannot be written, so {serial} has no journal")


def _locked(
    stack: ExitStack | AsyncExitStack,
    url: DeviceUrl,
    places: Places,
    clock: Clock,
    sound: Callable[[Alarm], None],
) -> Settings:
    """Locks a URL now and the serial number once it is known, until the stack ends."""
    if url.scheme != "sim":
        # Every sim:// is a device of its own; all other URLs lead to one device.
        line_lock = places.line_lock(url)
        line_lock.take()
        stack.callback(line_lock.release)

    def journal_of(serial: str) -> JournalPlace:
        serial_lock = places.lock(serial)
        serial_lock.take()
        stack.callback(serial_lock.release)
        return places.journal_of(serial)

    return Settings(clock=clock, journal_of=journal_of, sound=sound)


def find_owner(places: Places, url: DeviceUrl | None, family: str | None) -> OwnerRecord | None:
    """The running owner that a request is meant for; ``None`` if there is none.

    Raises OwnerError when several run and nothing says which is meant, Refused when another device
    than the one that was asked for is owned on that line (SR-25).
    """
    owners = [
        owner
        for owner in places.owners()
        if (url is None or _is_on_line(owner, url)) and (family is None or owner.family == family)
    ]
    if len(owners) > 1:
        listed = "; ".join(f"{owner.serial} at {owner.url}" for owner in owners)
        raise OwnerError(f"several devices are owned: {listed}. Say which, with --device URL")
    owner = owners[0] if owners else None
    if owner is not None and url is not None and url.serial not in (None, owner.serial):
        raise Refused(
            f"{owner.url}: {owner.serial} is the device there that is owned (process {owner.pid}), "
            f"and {url.serial} was asked for: nothing was asked of it (SR-25). Check which device "
            "is connected"
        )
    return owner


def _is_on_line(owner: OwnerRecord, url: DeviceUrl) -> bool:
    if parse_url(owner.url).address != url.address:
        return False
    return url.scheme != "usb" or url.serial in (None, owner.serial)
