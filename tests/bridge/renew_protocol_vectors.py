"""Writes the bytes of every vector in `docs/protocol.md` anew, from what the vector says.

``python tests/bridge/renew_protocol_vectors.py`` after a change of the protocol; look at the
difference before it is committed: it is what a device in the field does not know.
"""

import re
from pathlib import Path

from protocol_document import PATH, Block, blocks, from_diagnostic

from firmware_bridge.families.itp import wire as itp
from firmware_bridge.families.scs import wire as scs
from firmware_bridge.protocol.catalogue import (
    Catalogue,
    Envelope,
)
from firmware_bridge.protocol.frames import encode_frame
from firmware_bridge.protocol.messages import (
    COMMON_MESSAGES,
    Challenged,
    Handshake,
    Identify,
    Identity,
    Message,
    Opened,
    Proved,
    Reply,
)
from firmware_bridge.protocol.seal import DeviceKey, End, SealedLine
from firmware_bridge.protocol.seal import Handshake as Said
from firmware_bridge.simulator.device import SimulatedDevice
from firmware_bridge.simulator.families import MACHINES

CATALOGUE = Catalogue((*scs.MESSAGES, *itp.MESSAGES))
MESSAGES = {cls.__name__: cls for cls in (*COMMON_MESSAGES, *scs.MESSAGES, *itp.MESSAGES)}
NEVER_SEALED = (Identify, Identity, Handshake, Opened, Challenged, Proved)


def example() -> tuple[DeviceKey, Said]:
    """The key and the handshake of the document's examples."""
    (block,) = blocks("handshake")
    values = block.values()
    said = Said(
        Identity(**from_diagnostic(values["identity"])),
        int(values["session"]),
        bytes.fromhex(values["host nonce"]),
        bytes.fromhex(values["device nonce"]),
    )
    return DeviceKey(bytes.fromhex(values["key"])), said


def handshake_bytes() -> dict[str, str]:
    """What follows from the key and the handshake of the examples."""
    key, said = example()
    host, device = said.keys(key)
    return {
        "device proof": said.proof(key, "device").hex(),
        "host proof": said.proof(key, "host").hex(),
        "host key": host.hex(),
        "device key": device.hex(),
        "keys transcript": said.transcript("neuraxis 4 session keys").hex(),
        "device transcript": said.transcript("neuraxis 4 proof of the device").hex(),
        "host transcript": said.transcript("neuraxis 4 proof of the host").hex(),
    }


def vector_bytes(block: Block) -> dict[str, str]:
    """The bytes of a message's vector, from its fields."""
    values = block.values()
    cls: type[Message] = MESSAGES[values["message"]]
    message = cls(**from_diagnostic(values["fields"]))
    sequence = int(values["sequence"])
    body = CATALOGUE.encode(Envelope(int(values["session"]), sequence, message))
    found = {"body": body.hex(), "frame": encode_frame(body).hex()}
    if not isinstance(message, NEVER_SEALED):
        key, said = example()
        end: End = "device" if isinstance(message, Reply) else "host"
        line: SealedLine = said.line(key, end)
        body = CATALOGUE.encode(Envelope(said.session, sequence, message))
        found["sealed"] = encode_frame(line.seal(body, sequence)).hex()
    return found


def worked_session(block: Block) -> list[str]:
    """The worked unsealed session: the device answers each frame of the host anew."""
    device = SimulatedDevice(
        MACHINES["stimulator"], wall_ms=1_767_225_600_000, serial="NX-0001", seed=0
    )
    lines: list[str] = []
    for line in block.lines:
        if line.startswith("#"):
            lines.append(line)
        elif " ms host: " in line:
            time, _, frame = line.partition(" ms host: ")
            answer = device.receive(bytes.fromhex(frame), int(time))
            lines += [line, *([f"{time} ms device: {answer.hex()}"] if answer else [])]
    return lines


def example_device() -> SimulatedDevice:
    """The simulated stimulator of the worked sealed session."""
    key, said = example()
    return SimulatedDevice(
        MACHINES["stimulator"],
        wall_ms=1_767_225_600_000,
        serial=said.identity.serial,
        key_of=lambda _: key,
        draw=lambda _: said.device_nonce,
    )


def sealed_session(block: Block) -> list[str]:
    """The worked sealed session: a request in words becomes its frames."""
    key, said = example()
    host, device = said.line(key, "host"), example_device()
    proof = said.proof(key, "host").hex()
    lines: list[str] = []
    last = ""
    for line in block.lines:
        if not line.startswith("# "):
            continue
        lines.append(line)
        words = re.search(r"\{(plain|sealed|again|old) (\d+) (\w*) ?(.*)\}$", line)
        assert words is not None, line
        how, time, name, fields = words.groups()
        sequence = sum(one.startswith("#") for one in lines)
        if how != "again":
            given = fields.replace("PROOF", f"h'{proof}'")
            given = given.replace("NONCE", f"h'{said.host_nonce.hex()}'")
            message = MESSAGES[name](**from_diagnostic(given or "{}"))
            session = {"plain": 0, "sealed": said.session, "old": 5}[how]
            body = CATALOGUE.encode(Envelope(session, sequence, message))
            if how == "sealed":
                body = host.seal(body, sequence)
            if how == "old":
                body = Said(said.identity, 5, said.host_nonce, said.device_nonce).line(
                    key, "host"
                ).seal(body, sequence)  # fmt: skip
            last = encode_frame(body).hex()
        lines.append(f"{time} ms host: {last}")
        answer = device.receive(bytes.fromhex(last), int(time))
        if answer:
            lines.append(f"{time} ms device: {answer.hex()}")
    return lines


def renewed(text: str) -> str:
    """The document with every vector's bytes made anew."""
    pages = text.splitlines()
    changes: list[tuple[Block, list[str]]] = []
    for block in blocks("vector"):
        kept = [one for one in block.lines if one.split(":")[0] not in ("body", "frame", "sealed")]
        fresh = [f"{name}: {value}" for name, value in vector_bytes(block).items()]
        changes.append((block, kept + fresh))
    for block in blocks("handshake"):
        fresh_bytes = handshake_bytes()
        kept = [one for one in block.lines if one.split(":")[0] not in fresh_bytes]
        fresh = [f"{name}: {value}" for name, value in fresh_bytes.items()]
        changes.append((block, kept + fresh))
    for block in blocks("session"):
        changes.append((block, worked_session(block)))
    for block in blocks("sealed-session"):
        changes.append((block, sealed_session(block)))
    for block, lines in sorted(changes, key=lambda change: -change[0].line):
        pages[block.line : block.line + len(block.lines)] = lines
    return "\n".join(pages) + "\n"


if __name__ == "__main__":
    Path(PATH).write_text(renewed(PATH.read_text("utf-8")), "utf-8")
