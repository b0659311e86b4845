"""Mutators: raw bytes, and trees of values, lines of YAML, frames and chains by their meaning.

Each that knows a form mends what guards it (a CRC, a hash), so that the fuzzer gets behind it.
"""

import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

import cbor2
from cobs import cobs

from .target import Mutator, Raw

_EDGES = tuple(
    sign * (1 << bits) + near
    for bits in (0, 3, 7, 8, 15, 16, 31, 32, 53, 63, 64)
    for near in (-1, 0, 1)
    for sign in (1, -1)
)
_ODD: tuple[Any, ...] = (
    *(True, False, None, "", b"", 1.5, float("nan"), float("inf"), 10**30, -(10**30)),
    *("\x00", "\ud7ff", "a" * 65, "𝟝", bytes(16), b"\xff" * 33, (), {}, [[]]),
)
_BYTES = bytes(range(256))
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)")
_SCALES = (r"\g<1>0", r"\g<1>000", r"0.\1", r"-\1", r"0", r"\g<1>.5")
_ODD_KEYS = ("<<", "? a", "- a", "*a", "&a b", '"a b"', "[a]", "{a: b}", "", "!!str a", "ü", "0x1")


# --- bytes ---------------------------------------------------------------------------------------


def raw_mutator(rng: Random, tokens: Sequence[bytes], max_len: int) -> Raw:
    """The raw mutator of the engine that has no other."""
    return lambda data: _raw(data, rng, tokens)[:max_len]


def _raw(data: bytes, rng: Random, tokens: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(1 << rng.randrange(3)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(8):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << rng.randrange(8)
            case 1 if changed:
                changed[at % len(changed)] = rng.choice(_BYTES)
            case 2:
                del changed[at : at + rng.randrange(1, 9)]
            case 3:
                changed[at:at] = rng.randbytes(rng.randrange(1, 5))
            case 4:
                changed[at:at] = changed[at : at + rng.randrange(1, 65)]
            case 5 if tokens:
                changed[at:at] = rng.choice(tokens)
            case 6 if tokens:
                token = rng.choice(tokens)
                changed[at : at + len(token)] = token
            case _:
                changed[at : at + 1] = bytes([rng.randrange(256)])
    return bytes(changed)


# --- trees: CBOR and JSON ------------------------------------------------------------------------


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a tree with each of its keys."""
    keys: Sequence[Any] = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _changed_value(value: Any, rng: Random, raw: Raw) -> Any:
    choice = rng.randrange(6)
    if type(value) is int and choice < 4:
        return (value + rng.choice((-1, 1)), value * 2, rng.choice(_EDGES), -value)[choice]
    if isinstance(value, str) and choice < 3:
        return raw(value.encode("utf-8", "replace")).decode("utf-8", "ignore")
    if isinstance(value, bytes) and choice < 3:
        return raw(value)
    if isinstance(value, list) and value and choice < 3:
        return [*value, value[-1]] if choice else value[::-1]
    return rng.choice(_EDGES) if choice == 3 else rng.choice(_ODD)


def mutate_tree(value: Any, rng: Random, raw: Raw) -> Any:
    """The tree with one or a few nodes changed; containers are changed in place."""
    root = [value]
    for _ in range(1 + rng.randrange(3) // 2):
        places = list(_places(root))
        holder, key = rng.choice(places)
        match rng.randrange(9):
            case 0 if holder is not root:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[_changed_value(key, rng, raw) if type(key) is str else 0] = holder[key]
            case 2 if isinstance(holder, dict):
                holder[key] = holder.pop(key)  # to the end
            case 3:
                other, its = rng.choice(places)
                if not isinstance(other[its], dict | list):
                    holder[key] = other[its]
            case _:
                holder[key] = _changed_value(holder[key], rng, raw)
        if not root:
            return None
    return root[0]


def _in_form(
    read: Callable[[bytes], Any],
    write: Callable[[Any], bytes],
    data: bytes,
    rng: Random,
    raw: Raw,
) -> bytes:
    if rng.randrange(3) == 0:
        return raw(data)
    try:
        value = read(data)
        if isinstance(value, dict | list):
            return write(mutate_tree(value, rng, raw))
        return raw(data)
    except Exception:  # whatever a strange tree makes a codec raise: change the bytes instead
        return raw(data)


def _write_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


cbor_mutator: Mutator = partial(_in_form, cbor2.loads, cbor2.dumps)
_canonical: Mutator = partial(_in_form, cbor2.loads, partial(cbor2.dumps, canonical=True))
json_mutator: Mutator = partial(_in_form, json.loads, _write_json)


def canonical_mutator(data: bytes, rng: Random, raw: Raw) -> bytes:
    """Changes a tree and mostly keeps the order of its keys right."""
    return (_canonical if rng.randrange(5) else cbor_mutator)(data, rng, raw)


# --- lines: YAML ---------------------------------------------------------------------------------


def lines_of(data: bytes) -> int:
    """How many lines these bytes have, whatever ends them."""
    return len(re.split(rb"\r\n|\r|\n", data))


def yaml_mutator(
    data: bytes, rng: Random, raw: Raw, *, words: Sequence[str], whole: Sequence[bytes]
) -> bytes:
    """Changes whole lines, keys, values and indentation; often of one of the ``whole`` files.

    What a file is refused for hides what comes after it, so a small change of a good one goes far.
    """
    if rng.randrange(3) == 0:
        data = rng.choice(whole)
    if rng.randrange(4) == 0:
        return raw(data)
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(1 + rng.randrange(3)):
        at = rng.randrange(len(lines))
        key, colon, value = lines[at].partition(": ")
        match rng.randrange(11):
            case 0 if len(lines) > 1:
                del lines[at]
                at = 0
            case 1:
                lines.insert(at, lines[rng.randrange(len(lines))])
            case 2:
                lines[at] = " " * rng.randrange(5) + lines[at]
            case 3:
                lines[at] = lines[at][rng.randrange(1, 5) :]
            case 4:
                lines[at] = f"{key}{colon}{raw(value.encode()).decode('utf-8', 'ignore')}"
            case 5 if words:
                lines[at] = f"{key}: {rng.choice(words)}"
            case 9 | 10:
                lines[at] = key + colon + _NUMBER.sub(rng.choice(_SCALES), value, count=1)
            case 6:
                digits = "".join(rng.choice("0123456789") if c.isdigit() else c for c in value)
                lines[at] = key + colon + digits
            case 7:
                indent = key[: len(key) - len(key.lstrip(" "))]
                lines[at] = f"{indent}{rng.choice(_ODD_KEYS)}: {value}"
            case 8:
                other = rng.choice(lines).partition(": ")[2]
                lines[at] = key + colon + other
            case _:
                lines[at] = raw(lines[at].encode()).decode("utf-8", "ignore")
    return "\n".join(lines).encode()


# --- frames --------------------------------------------------------------------------------------


def sealed(body: bytes) -> bytes:
    """A frame with the right CRC, whatever the length of the body, its zero byte included."""
    code: bytes = cobs.encode(body + zlib.crc32(body).to_bytes(4, "little"))
    return code + b"\x00"


def frame_mutator(data: bytes, rng: Random, raw: Raw) -> bytes:
    """Changes a body behind its CRC, the code around it, or the order of the frames.

    The first byte says how the stream is cut; the stream follows.
    """
    choice = rng.randrange(8)
    if choice < 3 or not data:
        return raw(data)
    head, pieces = data[:1], data[1:].split(b"\x00")
    at = rng.randrange(len(pieces))
    try:
        body = cobs.decode(pieces[at])[:-4]
    except cobs.DecodeError:
        body = pieces[at]
    match choice:
        case 3 | 4:
            pieces[at] = sealed(raw(body))[:-1]
        case 5:
            size = rng.choice((250, 254, 508, 4_096, 4_097, rng.randrange(4_200)))
            filling = bytes([rng.choice((0, 1, 0xFF)), rng.randrange(256)])
            pieces[at] = sealed((body + filling * size)[:size])[:-1]
        case 6:
            pieces[at] = sealed(body)[:-1] + rng.choice((b"\x01", b"\x01\x01", b"\xff", b"\x02"))
        case _:
            pieces.insert(rng.randrange(len(pieces)), pieces[at])
    return head + b"\x00".join(pieces)
