"""`sim://`: the simulator as a child process."""

import asyncio
import sys

import pytest
from link_probe import Probe

from device_profiles.errors import LinkError
from firmware_bridge.clock import RealClock
from firmware_bridge.links import child_link
from firmware_bridge.links.child_link import ChildLink, simulator_command
from firmware_bridge.links.factory import open_link
from firmware_bridge.links.url import parse_url
from firmware_bridge.protocol.catalogue import (
    Catalogue,
    Envelope,
)
from firmware_bridge.protocol.frames import FrameDecoder, encode_frame
from firmware_bridge.protocol.messages import (
    Identify,
    Identity,
)

pytestmark = pytest.mark.real_clock

STIMULATOR = parse_url("sim://stimulator")

ECHO = """
import json, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
print(json.dumps({"listening": f"tcp://127.0.0.1:{port}", "serial": "S"}), flush=True)
connection, _ = listener.accept()
while data := connection.recv(100):
    if data == b"die":
        sys.exit("I was told to die")
    connection.sendall(data)
connection.close()
listener.close()
sys.stdin.read()
"""


def child(script: str) -> ChildLink:
    """A link to a child that runs ``script`` instead of the simulator."""
    return ChildLink(STIMULATOR, [sys.executable, "-c", script])


async def refusal(link: ChildLink) -> str:
    """The sentence with which opening fails."""
    with pytest.raises(LinkError) as caught:
        await link.open(Probe())
    await link.close()
    return str(caught.value)


def test_the_command_line_carries_what_the_url_says() -> None:
    command = simulator_command(parse_url("sim://pump?seed=7&speed=60&serial=P-1"))
    assert command[1:5] == ["-m", "firmware_bridge.simulator", "pump", "--listen"]
    assert "--until-parent-ends" in command
    assert command[-6:] == ["--serial-number", "P-1", "--seed", "7", "--speed", "60"]


async def test_bytes_go_there_and_back_and_the_child_ends_with_the_link() -> None:
    link, probe = child(ECHO), Probe()
    await link.open(probe)
    link.write(b"hello")
    assert await probe.bytes_received(5) == b"hello"
    process = link._child
    assert process is not None
    await link.close()
    await link.close()
    assert process.returncode == 0
    assert probe.errors == []


async def test_a_child_that_dies_is_a_loss_with_its_last_words() -> None:
    link, probe = child(ECHO), Probe()
    await link.open(probe)
    link.write(b"die")
    error = str(await probe.loss())
    assert "sim://stimulator is gone" in error
    assert "I was told to die" in error
    await link.close()


async def test_a_child_that_ends_at_once_is_quoted() -> None:
    sentence = await refusal(child("import sys; sys.exit('no such option')"))
    assert "ended before it announced its port (it said: no such option)" in sentence


async def test_a_child_that_announces_nonsense() -> None:
    sentence = await refusal(child("print('ready', flush=True); input()"))
    assert "the simulator announced b'ready" in sentence


async def test_a_child_that_announces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_link, "START_TIMEOUT_S", 0.0)
    sentence = await refusal(child("input()"))
    assert "did not announce its port within 0 s" in sentence


async def test_a_program_that_does_not_exist() -> None:
    assert "did not start" in await refusal(ChildLink(STIMULATOR, ["/nowhere/python"]))


async def test_opening_that_is_cancelled_leaves_no_child() -> None:
    link = child("input()")
    opening = asyncio.create_task(link.open(Probe()))
    await asyncio.sleep(0)  # the child starts before anything is waited for
    process = link._child
    assert process is not None
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert process.returncode is not None


@pytest.mark.parametrize("kind", ["stimulator", "pump"])
async def test_the_bundled_simulator_identifies_itself(kind: str) -> None:
    clock, catalogue, decoder, probe = RealClock(), Catalogue(), FrameDecoder(), Probe()
    link = open_link(parse_url(f"sim://{kind}?seed=1&speed=2&serial=NX-CHILD"), clock)
    await link.open(probe)
    link.write(encode_frame(catalogue.encode(Envelope(0, 1, Identify()))))
    bodies: list[bytes] = []
    while not bodies:
        bodies = decoder.feed(await probe.bytes_received(1))
        probe.data.clear()
    identity = catalogue.decode(bodies[0]).message
    assert isinstance(identity, Identity)
    assert (identity.serial, identity.speed) == ("NX-CHILD", 2)
    await link.close()
    clock.close()
