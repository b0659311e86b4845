"""The owner's door to other terminals: however many ask, it serves so many and always a stop."""

import asyncio
import json
from typing import Any, cast

import pytest

from firmware_bridge.families.table import AnyController
from hil import requests
from hil.exit_codes import DONE, LINK
from hil.requests import AT_ONCE, Answer, Door, StopRequest


class Writer:
    """The asker's end of a connection: what it was told."""

    def __init__(self) -> None:
        self.told = b""

    def write(self, data: bytes) -> None:
        self.told += data

    async def drain(self) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        """Nothing to close."""


async def asked(door: Door, request: str) -> dict[str, Any]:
    reader, writer = asyncio.StreamReader(), Writer()
    reader.feed_data(json.dumps({"request": request}).encode() + b"\n")
    await door.answer(reader, cast("asyncio.StreamWriter", writer))
    told: dict[str, Any] = json.loads(writer.told)
    return told


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F90")
async def test_ten_thousand_askers_are_served_a_hundred_at_once_and_a_stop_before_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free, served = asyncio.Event(), 0

    async def slow(controller: object, request: object) -> Answer:
        nonlocal served
        served += 1
        if not isinstance(request, StopRequest):
            await free.wait()
        return Answer(code=DONE, text="served")

    monkeypatch.setattr(requests, "serve", slow)
    door = Door(cast("AnyController", None))
    askers = [asyncio.create_task(asked(door, "status")) for _ in range(10_000)]
    await asyncio.sleep(1)
    assert served == AT_ONCE
    assert (await asked(door, "stop"))["text"] == "served"
    free.set()
    told = await asyncio.gather(*askers)
    refused = [one for one in told if one["code"] == LINK]
    assert len(refused) == 10_000 - AT_ONCE
    assert "a stop is always taken" in refused[0]["text"]
    assert (await asked(door, "status"))["code"] == DONE
