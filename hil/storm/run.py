"""Runs one plan: a fresh loop, the host's dice in the seed's hand, and what is remembered."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from unittest import mock

from firmware_bridge.clock import VirtualLoop
from hil.storm.life import Storm
from hil.storm.plan import Plan
from hil.storm.quick import QuickLoop, quickened
from hil.storm.record import Record


@contextmanager
def decided_by(random: Random) -> Iterator[None]:
    """The host's own dice are thrown by the seed."""

    def token(size: int) -> str:
        return random.randbytes(size).hex()

    with (
        mock.patch.object(secrets, "randbelow", random.randrange),
        mock.patch.object(secrets, "token_hex", token),
    ):
        yield


def run_storm(plan: Plan, *, quick: bool = True) -> Record:
    """Runs a plan to its end on a fresh virtual loop; ``quick`` changes nothing but the speed."""
    loop = QuickLoop() if quick else VirtualLoop()
    with ExitStack() as stack:
        stack.enter_context(decided_by(Random(f"host's dice {plan.seed}")))
        if quick:
            stack.enter_context(quickened())
        runner = stack.enter_context(asyncio.Runner(loop_factory=lambda: loop))
        storm = Storm(plan, loop)
        # Not what the task returns: a runner that ends writes out its task with its result.
        runner.run(storm.run())
        return storm.record
