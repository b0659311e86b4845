"""`sim://`: the bundled simulator as a child process, spoken to over loopback.

The child's standard input is a pipe. Its first line is the key that was made for this run: nobody
else can read it there, as they could in a command line or an environment. Then nobody writes to it
any more, and its end tells the child that this
process has closed the link or died, however it died. The child then lives until its lease has
ended, as a real device would. It gets no signal of this terminal, so that Ctrl-C reaches the
host alone, which then stops the device in its own way.
"""

import asyncio
import json
import secrets
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from typing import IO

from device_profiles.errors import LinkError, LinkLost, UsageError
from firmware_bridge.links.base import Receiver
from firmware_bridge.links.tcp_link import TcpLink
from firmware_bridge.links.url import DeviceUrl, parse_url
from firmware_bridge.protocol.seal import KEY_BYTES, DeviceKey

START_TIMEOUT_S = 20.0
EXIT_PATIENCE_S = 10.0
"""How long `close` waits for the child to end; a longer lease ends on its own."""
LAST_WORDS = 2_000
"""Bytes of the child's standard error that an error message repeats."""


def new_key() -> DeviceKey:
    """A key that nobody has had before."""
    return DeviceKey(secrets.token_bytes(KEY_BYTES))


def simulator_command(url: DeviceUrl, *, sealed: bool = True) -> list[str]:
    """The command line of the simulator that a ``sim://`` URL asks for.

    Each is a device of its own, new from the factory: without ``?serial=`` it gets a serial
    number that no other has, so that its journal is not another's.
    """
    command = [sys.executable, "-m", "firmware_bridge.simulator", url.family]
    command += ["--listen", "tcp:127.0.0.1:0", "--until-parent-ends"]
    command += ["--key-on-stdin"] if sealed else []
    for option, value in (
        ("--serial-number", url.serial or f"SIM-{secrets.token_hex(3).upper()}"),
        ("--seed", url.seed),
        ("--speed", url.speed),
    ):
        if value is not None:
            command += [option, str(value)]
    return command


def _hand_over(child: "subprocess.Popen[bytes]", key: DeviceKey) -> None:
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it has ended already, and will be found so
        child.stdin.write(key.secret.hex().encode("ascii") + b"\n")
        child.stdin.flush()


class ChildLink(TcpLink):
    """A simulator of one's own, started by `open`."""

    REMEDY = "The simulated device ended: connect again to start a new one."

    def __init__(
        self, url: DeviceUrl, command: list[str] | None = None, key: DeviceKey | None = None
    ) -> None:
        super().__init__(url.text, "127.0.0.1", 0)
        self._command = command or simulator_command(url)
        self.key = new_key() if command is None else key
        """The key that the device gets; ``None``: the command asks for none."""
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._exited = asyncio.Event()

    async def open(self, receiver: Receiver) -> None:
        """See `Link.open`; starts the simulator first."""
        child = self._start()
        try:
            self._port = await self._announced_port(child)
            await super().open(receiver)
        except BaseException:
            # It has never been spoken to, so it has nothing to bring to an end.
            child.kill()
            await self.close()
            raise

    async def close(self) -> None:
        """See `Link.close`; waits for the child as long as its lease may reasonably last."""
        await super().close()
        child, self._child = self._child, None
        if child is None:
            return
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        try:
            async with asyncio.timeout(EXIT_PATIENCE_S):
                await self._exited.wait()
        except TimeoutError:
            pass
        finally:
            if self._errors is not None:
                self._errors.close()

    def _start(self) -> subprocess.Popen[bytes]:
        # A file never fills up, as a pipe would; appending, since both ends share one position.
        self._errors = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115 - open until close()
        group = 0
        if sys.platform == "win32":
            group = subprocess.CREATE_NEW_PROCESS_GROUP
        try:
            child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                creationflags=group,
            )
        except OSError as error:
            self._errors.close()
            raise LinkError(
                f"{self.url} could not be opened: {self._command[0]} did not start: "
                f"{error.strerror or error}. Check the Python installation."
            ) from error
        self._child = child
        if self.key is not None:
            _hand_over(child, self.key)
        loop = asyncio.get_running_loop()
        threading.Thread(
            target=self._wait_for_exit, args=(child, loop), name=f"wait {self.url}", daemon=True
        ).start()
        return child

    def _wait_for_exit(
        self, child: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop
    ) -> None:
        child.wait()
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._exited.set)

    async def _announced_port(self, child: subprocess.Popen[bytes]) -> int:
        """The port that the child's first line announces."""
        assert child.stdout is not None
        reading = asyncio.get_running_loop().run_in_executor(None, child.stdout.readline)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await asyncio.shield(reading)
        except TimeoutError as error:
            raise LinkError(
                f"{self.url} could not be opened: the simulator did not announce its port within "
                f"{START_TIMEOUT_S:g} s{self._last_words()}. Try again on a less busy machine."
            ) from error
        finally:
            if not reading.done():
                child.kill()  # ends the line, and so the thread that waits for it
                await asyncio.wait([reading])
        if not line:
            raise LinkError(
                f"{self.url} could not be opened: the simulator ended before it announced its "
                f"port{self._last_words()}. Run it by hand to see more: {' '.join(self._command)}"
            )
        try:
            return parse_url(json.loads(line)["listening"]).tcp_port
        except (ValueError, LookupError, TypeError, AttributeError, UsageError) as error:
            raise LinkError(
                f"{self.url} could not be opened: the simulator announced {line[:200]!r} instead "
                'of {"listening": "tcp://127.0.0.1:PORT", …}. Check that it is the same version.'
            ) from error

    def _lose(self, reason: str, cause: BaseException | None = None) -> LinkLost:
        return super()._lose(reason + self._last_words(), cause)

    def _last_words(self) -> str:
        """What the child wrote on its standard error, ready to follow a sentence."""
        if self._errors is None or self._errors.closed:
            return ""
        self._errors.seek(0, 2)
        self._errors.seek(max(0, self._errors.tell() - LAST_WORDS))
        words = self._errors.read().decode(errors="replace").strip()
        return f" (it said: {words})" if words else ""
