"""Wrong twins: defects planted in the code under test, each of which its target has to find."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

from proof.mutation_patches import function_of


@dataclass(frozen=True, slots=True)
class Twin:
    """A defect: in ``function`` of ``module``, ``new`` stands where ``old`` should.

    ``runs`` are the executions in which the guided fuzzer must find it; ``short`` tells whether
    the unguided short form of `make test` finds it too.
    """

    name: str
    target: str
    module: str
    function: str
    old: str
    new: str
    runs: int = 200_000
    short: bool = True


_FRAMES = "firmware_bridge.protocol.frames"
TWINS: tuple[Twin, ...] = (
    Twin(
        "half a CRC",
        "frames",
        _FRAMES,
        "decode_frame",
        'zlib.crc32(body) != int.from_bytes(crc, "little")',
        'zlib.crc32(body) & 0xFFFF != int.from_bytes(crc[:2], "little")',
    ),
    Twin(
        "a frame one byte too short",
        "frames",
        _FRAMES,
        "decode_frame",
        "not CRC_BYTES <= len(plain)",
        "not CRC_BYTES - 1 <= len(plain)",
        short=False,
    ),
    Twin(
        "a second form of a frame",
        "frames",
        _FRAMES,
        "decode_frame",
        " or cobs.encode(plain) != frame",
        "",
    ),
    Twin(
        "a body too long to be sent",
        "frames",
        _FRAMES,
        "decode_frame",
        "<= MAX_BODY + CRC_BYTES",
        "",
    ),
    Twin(
        "a cut stream loses a byte",
        "frames",
        _FRAMES,
        "FrameDecoder.feed",
        "self._append(rest)",
        "self._append(rest if len(rest) != 5 else rest[1:])",
    ),
    Twin(
        "CBOR that is not canonical",
        "messages",
        "firmware_bridge.protocol.catalogue",
        "Catalogue.decode",
        "if again != body:",
        "if len(again) > len(body):",
    ),
    Twin(
        "a program in another order",
        "program",
        "firmware_bridge.protocol.blob",
        "decode_program",
        "if encode_program(record) != blob:",
        "if len(encode_program(record)) != len(blob):",
    ),
    Twin(
        "a reader that raises KeyError",
        "therapy",
        "device_profiles.therapy_file",
        "_kind_of",
        'node = root.get("therapy")',
        'node = {entry.key: entry.value for entry in root.entries}["therapy"]',
        runs=20_000,
    ),
    Twin(
        "a soft limit above the hard one",
        "formulary",
        "device_profiles.formulary_file",
        "_soft_above_hard",
        "soft > hard",
        "soft > 50 * hard",
        runs=20_000,
        short=False,
    ),
    Twin(
        "an opener that ignores a byte of the hash",
        "journal",
        "safety.journal_format",
        "read_chain",
        "digest != data[end - HASH_BYTES : end]",
        "digest[1:] != data[end - HASH_BYTES + 1 : end]",
        short=False,
    ),
    Twin(
        "an anchor that no journal is held against",
        "journal",
        "safety.journal_format",
        "_against",
        "if anchored.entries > chain.count:",
        "if anchored.entries > chain.count + 1:",
    ),
    Twin(
        "a state that the chain has not summed up",
        "checkpoint",
        "safety.checkpoint",
        "is_of",
        "return checkpoint == summed_up(encoded, checkpoint.at)",
        "return len(checkpoint.digest) == 32",
        runs=10_000,
    ),
    Twin(
        "an anchor's check of two digits",
        "anchor",
        "safety.anchor",
        "_head_in",
        "!= match[4]",
        "[:2] != match[4][:2]",
        short=False,
    ),
    Twin(
        "a socket that hangs",
        "socket",
        "hil.requests",
        "Door.answer",
        "line = await reader.readline()",
        'line = await reader.readline()\n            while line == b"\\n":\n                pass',
        short=False,
    ),
    Twin(
        "a socket that grows",
        "socket",
        "hil.requests",
        "Door.answer",
        "request = _REQUESTS.validate_json(line)",
        "_pump.__dict__.setdefault(len(_pump.__dict__), line * 64)\n"
        "                request = _REQUESTS.validate_json(line)",
        short=False,
    ),
    Twin(
        "a port of zero",
        "url",
        "firmware_bridge.links.url",
        "_host_and_port",
        "not host or not port or",
        "not host or port is None or",
        short=False,
    ),
    Twin(
        "a bolus of any flow",
        "device",
        "firmware_bridge.families.itp.factory",
        "check_bolus",
        "if highest * over + volume * DAY_MS > FACTORY.flow_max * over:",
        "if over > DAY_MS:",
        runs=20_000,
    ),
)


def twin_of(name: str) -> Twin:
    """The twin of a name."""
    return next(one for one in TWINS if one.name == name)


def plant(twin: Twin, atheris: Any = None) -> None:
    """From now on this process runs the defect."""
    module = importlib.import_module(twin.module)
    assert module.__file__ is not None
    function = function_of(module, twin.function)
    assert function is not None, f"{twin.name}: there is no {twin.function}"
    lines = Path(module.__file__).read_text("utf-8").splitlines(keepends=True)
    begin = function.__code__.co_firstlineno - 1
    before, after = "".join(lines[:begin]), "".join(lines[begin:])
    assert twin.old in after, f"{twin.name}: what it replaces is gone"
    text = before + after.replace(twin.old, twin.new, 1)
    wrong = compile(text, module.__file__, "exec", dont_inherit=True)
    code = _code_of(wrong, twin.function)
    assert code is not None
    function.__code__ = code
    if atheris is not None:
        atheris.instrument_func(function)


def _code_of(code: CodeType, name: str) -> CodeType | None:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == name:
                return constant
            if (found := _code_of(constant, name)) is not None:
                return found
    return None
