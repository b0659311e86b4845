"""The owner's door to other terminals: however many ask, it serves so many and always a stop."""

import asyncio
import json
from typing import Any, cast

import pytest

from device_profiles.errors import Uncertain
from device_profiles.quantities import Femtograms, Milliseconds
from firmware_bridge.families.table import AnyController
from hil import requests
from hil.exit_codes import DONE, LINK
from hil.places import OwnerRecord
from hil.requests import AT_ONCE, Answer, BolusRequest, Door, Request, StopRequest, ask_owner


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


@pytest.mark.requirement("SR-32")
@pytest.mark.parametrize(
    ("request_", "ends"),
    [
        (StopRequest(depth="policy"), Uncertain),
        (BolusRequest(dose=Femtograms(1), over=Milliseconds(1)), asyncio.CancelledError),
    ],
)
async def test_a_stop_that_is_cut_before_it_was_sent_is_told_as_none(
    monkeypatch: pytest.MonkeyPatch, request_: Request, ends: type[BaseException]
) -> None:
    knocks = asyncio.Event()

    async def closed(*_: object, **__: object) -> None:
        knocks.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "open_unix_connection", closed)
    owner = OwnerRecord(1, "tcp://127.0.0.1:1", "ITP-A", "pump", "/nowhere", "/nowhere")
    asking = asyncio.create_task(ask_owner(owner, request_))
    await knocks.wait()
    asking.cancel()
    with pytest.raises(ends) as told:
        await asking
    if ends is Uncertain:
        assert "no stop was sent, the device goes on as it was" in str(told.value)
