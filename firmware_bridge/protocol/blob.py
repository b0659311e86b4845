"""Programs as bytes: canonical CBOR of a strict record, and the digest both peers compare."""

import hashlib
from typing import Any, TypeVar

import cbor2
from pydantic import BaseModel, ConfigDict, ValidationError

from firmware_bridge.protocol.messages import DIGEST_BYTES, MessageError

Record = TypeVar("Record", bound="ProgramRecord")


class ProgramRecord(BaseModel):
    """A record inside a program: strict, closed, frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def encode_program(record: ProgramRecord) -> bytes:
    """The canonical bytes of a program."""
    return cbor2.dumps(record.model_dump(mode="python"), canonical=True)


def decode_program(cls: type[Record], blob: bytes) -> Record:
    """The program in ``blob``; raises MessageError unless it is in canonical form and range."""
    try:
        value: Any = cbor2.loads(blob)
        record = cls.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise MessageError(f"program, {place}: {first['msg']}") from error
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError) as error:
        raise MessageError(f"program is no CBOR: {error}") from error
    if encode_program(record) != blob:
        raise MessageError("program is not in canonical form")
    return record


def digest_of(*blobs: bytes) -> bytes:
    """The digest of programs, one after the other."""
    digest = hashlib.sha256()
    for blob in blobs:
        digest.update(blob)
    return digest.digest()[:DIGEST_BYTES]
