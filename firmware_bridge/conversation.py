"""A host's side of a conversation: who is there, which session is open, and what is repeated.

Nothing here can change an output. Queries and handshakes are repeated on silence, since doing them
twice is doing them once. The device's side is `families/conversation.py`.
"""

import asyncio
import secrets
from collections.abc import Callable

from device_profiles.errors import LinkLost
from firmware_bridge.exchange import ATTEMPTS, Exchange, R
from firmware_bridge.host_seal import Draw, HostSeal, NotProved
from firmware_bridge.line_words import is_forgotten
from firmware_bridge.links.base import Link
from firmware_bridge.pace import Turn
from firmware_bridge.protocol.catalogue import (
    Catalogue,
)
from firmware_bridge.protocol.messages import (
    PROTOCOL_VERSION,
    AskStatus,
    Challenged,
    Identify,
    Identity,
    Message,
    Open,
    Opened,
    Proved,
    Query,
)
from firmware_bridge.protocol.seal import DeviceKey, SealedLine


def random_session() -> int:
    """A session number that no earlier conversation is likely to have had."""
    return secrets.randbelow(0xFFFF_FFFF) + 1


class Conversation(Exchange):
    """A conversation over an unopened link; `connect` opens it and identifies the device.

    With a ``key`` it is sealed; ``draw`` gives random bytes.
    """

    def __init__(
        self,
        link: Link,
        catalogue: Catalogue,
        new_session: Callable[[], int] = random_session,
        key: DeviceKey | None = None,
        draw: Draw = secrets.token_bytes,
    ) -> None:
        super().__init__(link, catalogue, key, draw)
        self._new_session = new_session
        self._opening = asyncio.Lock()

    async def connect(self) -> Identity:
        """Opens the link and asks who is there; nothing else is sent. Raises LinkError."""
        await self._link.open(self)
        try:
            return await self._meet()
        except BaseException:
            await self._link.close()
            raise

    async def _meet(self) -> Identity:
        return self._understood(await self._ask(Identify(), Identity))

    def _understood(self, identity: Identity) -> Identity:
        if identity.protocol != PROTOCOL_VERSION:
            older = "device" if identity.protocol < PROTOCOL_VERSION else "host"
            raise self._fault(
                f"{identity.serial} speaks protocol {identity.protocol}, this host "
                f"speaks {PROTOCOL_VERSION}; nothing was sent but the question who it is. Update "
                f"the {older}: it is the older one"
            )
        self._identity = identity
        return identity

    async def replace(self, link: Link) -> Identity:
        """Goes on over a new link, since a lost one never comes back; identifies who is there.

        Raises LinkError and DeviceFault; this session then stays as broken as it was.
        """
        before = self._broken
        self._abandon(LinkLost(f"{self.url} was replaced"))
        await self._link.close()
        self._begin_anew(link)
        try:
            return await self.connect()
        except BaseException as error:
            self._broken = self._broken or before or LinkLost(str(error))
            raise

    async def open(self) -> None:
        """Opens a session: frames of earlier conversations are refused from here on.

        On a line on which one was open before, the device is asked who it is once more: it may
        have got other firmware meanwhile. Raises DeviceFault when another one answers, one that
        is not as it was, or one that does not prove that it holds the key.
        """
        async with self._opening:
            if self._seal is None:
                if self._session:
                    await self._identify_again()
                fresh = await self._open_unsealed()
            else:
                self._seal.line = await self._shake_hands(self._seal)
                self._seal.watch = None
                fresh = self._seal.line.session
            # Not sooner: a lowering that overtakes it has to carry the number the device knows.
            self._session = fresh

    async def _open_unsealed(self) -> int:
        """Opens an unsealed session; its number, which no other device can have heard.

        Each `Open` has a number of its own, a repeated one too: a device that was at the end of
        the line for a moment may have taken the one before, and its reply was lost.
        """
        for _ in range(ATTEMPTS):
            await self._pace.turn(Turn.QUERY)
            asked = Open(self._new_session())
            reply = await self._exchange(asked)
            if reply is not None:
                self._checked(asked, reply, Opened)
                return asked.session
        raise self._silence(asked)

    async def _identify_again(self) -> None:
        """SR-25: raises DeviceFault unless the device is all that it said at first.

        Only its starts may be more. What was judged for one firmware is not sent to another.
        """
        known, again = self._identity, await self._ask(Identify(), Identity)
        assert known is not None
        if again.serial != known.serial:
            raise self._another_device(again.serial)
        changed = [
            f"{name} {getattr(again, name)} where it was {getattr(known, name)}"
            for name in ("family", "model", "firmware", "calibration", "simulated", "speed")
            if getattr(again, name) != getattr(known, name)
        ]
        if changed:
            raise self._fault(
                f"{known.serial} is not as it was: {'; '.join(changed)}. Nothing was "
                "sent but the question who it is (SR-25); connect again"
            )

    async def _shake_hands(self, seal: HostSeal) -> SealedLine:
        """Both ends prove that they hold the key; raises DeviceFault."""
        if self._session:
            await self._identify_again()
        assert self._identity is not None
        asked = seal.ask(self._new_session())
        told = await self._ask(asked, Challenged)
        try:
            proof, line = seal.answer(self._identity, asked, told)
        except NotProved:
            raise self._fault(
                f"what answers as {self._identity.serial} does not prove that it holds "
                "that device's key: another key was provisioned, or somebody is between. It was "
                "asked for nothing that needs the key; look at the line, then provision the key "
                "again at the bench"
            ) from None
        seal.opening = True
        try:
            await self._ask(proof, Proved)
        finally:
            seal.opening = False
        return line

    async def _see_again(self, forgotten: SealedLine | None) -> None:
        """A session to see the device's status in, once it has forgotten ours.

        Nothing else is asked in it: what was planned for the old one needs a new connect.
        """
        async with self._opening:
            seal = self._seal
            if seal is not None and forgotten in (seal.watch, seal.line):
                seal.watch = await self._shake_hands(seal)

    async def close(self) -> None:
        """Closes the link; whoever still waits for a reply hears that it is gone."""
        self._abandon(LinkLost(f"{self.url} was closed"))
        await self._link.close()

    # --- queries -----------------------------------------------------------------------------

    async def query(self, query: Query, expected: type[R]) -> R:
        """Asks, and asks again on silence; raises DeviceSilent, LinkLost, DeviceFault."""
        return await self._ask(query, expected)

    async def _ask(self, request: Message, expected: type[R], who: Turn = Turn.QUERY) -> R:
        """An exchange that may be repeated, since doing it twice is doing it once."""
        is_look = isinstance(request, AskStatus) and self._seal is not None
        for _ in range(ATTEMPTS):
            await self._pace.turn(who)
            line = self._line_for(request) if is_look else None
            reply = await self._exchange(request)
            if reply is not None and is_look and is_forgotten(reply):
                await self._see_again(line)
            elif reply is not None:
                return self._checked(request, reply, expected)
        raise self._silence(request)
