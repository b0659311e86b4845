"""What the monitor does when it is alone: ends the owner, stops the device, leaves a note.

It has nothing that could start an output: no gate, no journal to write, no Clearance. The one
therapy-like word it knows is Stop.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from device_profiles.errors import LinkError, NeuraxisError, Refused, Uncertain, UsageError
from firmware_bridge.clock import RealClock
from firmware_bridge.driver import Sample
from firmware_bridge.families.itp import wire as itp
from firmware_bridge.families.itp.driver import pump_sample
from firmware_bridge.families.scs import wire as scs
from firmware_bridge.families.scs.driver import stimulator_sample
from firmware_bridge.links.factory import open_link
from firmware_bridge.links.url import DeviceUrl, parse_url
from firmware_bridge.protocol.messages import Reply, StopDepth
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.safe_state import bring_to_safe_state, prove_safe_state
from firmware_bridge.session import Session
from hil.keys import KeyStore
from hil.monitor_core import CATALOGUE
from hil.monitor_line import HOLDER, Hello
from safety.alarms import Alarm
from safety.monitor import stop_depth
from safety.outputs import PumpProgram

LOCK_PATIENCE_S = 5.0
LINK_PATIENCE_S = 15.0
"""How long the monitor tries to reach a device whose owner it has ended."""
TRY_AGAIN_S = 0.2

_SAMPLES: dict[str, Callable[[Reply], Sample]] = {
    scs.FAMILY: stimulator_sample,
    itp.FAMILY: pump_sample,
}


def depth_for(hello: Hello, cause: Alarm, program: PumpProgram | None) -> StopDepth:
    """SR-30, SR-33: a lost host ends a pump's boluses and never its verified basal.

    Evidence of too much is answered as the drug asks (`stop_depth`). Protects a patient whose drug
    may be stopped from losing it because a computer hung. Harm: boluses are closed until the
    program is applied again. Longest denial: until then. Way out: apply again.
    """
    lost_host = cause.code == "owner-lost"
    if lost_host and hello.identity.family == itp.FAMILY:
        return "hold"
    return stop_depth(cause, program)


def rescue(
    hello: Hello, cause: Alarm, program: PumpProgram | None, say: Callable[[str], None]
) -> bool:
    """SR-53: ends the owner and brings its device to the safe state; whether that was seen.

    Protects from an output that nobody drives any more. Harm: a run that only stood still for
    2 s ends. Longest denial: until a person starts again. Way out: start again.
    """
    say(f"HIGH {cause.code} ({cause.requirement}): {cause.text}")
    end_owner(hello.owner)
    depth = depth_for(hello, cause, program)
    try:
        with _locked(hello):
            sample, proved = asyncio.run(_stopped(hello, depth))
            _leave_note(hello, cause, depth, sample.state)
    except Timeout:
        _leave_note(hello, cause, None)
        say("another process has taken charge of the device meanwhile: it was left to that")
        return False
    except (NeuraxisError, OSError) as error:
        problem = str(error) or repr(error)
        _leave_note(hello, cause, depth, problem=problem)
        say(f"the stop could not be confirmed: {problem}. Go to the device")
        return False
    how = "" if proved else ", by a status that nothing proves: this line is UNSEALED, as asked"
    say(f"stopped and confirmed: {hello.identity.serial} is {sample.state}{how}")
    return True


def end_owner(pid: int) -> None:
    """Kills the owner, if it still is this process's parent: nobody else can have its number."""
    if os.getppid() == pid:
        os.kill(pid, signal.SIGKILL)


@contextmanager
def _locked(hello: Hello) -> Iterator[None]:
    """Holds the owner's locks once it is dead, so that no next owner comes in between."""
    taken: list[FileLock] = []
    try:
        for path in hello.locks:
            lock = FileLock(path)
            lock.acquire(timeout=LOCK_PATIENCE_S)
            taken.append(lock)
            text = f"{os.getpid()} ({HOLDER} {hello.owner})"
            Path(path).with_suffix(".pid").write_text(text, "ascii")
        yield
    finally:
        for lock in taken:
            lock.release()


async def _stopped(hello: Hello, depth: StopDepth) -> tuple[Sample, bool]:
    """Stops the device, trying until the line can be had; whether its status proves who says it.

    Raises NeuraxisError.
    """
    url = parse_url(hello.url)
    if url.scheme == "sim":
        raise LinkError("the simulated device was its owner's child and ends with it")
    key, problem = _key_for(hello, url)
    clock = RealClock()
    limit = time.monotonic() + LINK_PATIENCE_S
    try:
        while True:
            try:
                session = Session(open_link(url, clock), CATALOGUE, key=key)
                sample = await _stop(session, hello, depth)
                break
            except (LinkError, Uncertain):
                if time.monotonic() > limit:
                    raise
            await asyncio.sleep(TRY_AGAIN_S)
    finally:
        clock.close()
    if problem is not None:
        raise Uncertain(
            f"the stop was sent and a status says {sample.state}, but nothing proves whose it is: "
            f"{problem}"
        )
    return sample, key is not None


def _key_for(hello: Hello, url: DeviceUrl) -> tuple[DeviceKey | None, str | None]:
    """The device's key, and why there is none where one is needed: that keeps no stop back."""
    if url.unsealed:
        return None, None
    try:
        return KeyStore(Path(hello.keys)).key_of(hello.identity.serial), None
    except (UsageError, OSError) as error:
        return None, str(error)


async def _stop(session: Session, hello: Hello, depth: StopDepth) -> Sample:
    identity = await session.connect()
    try:
        if identity.serial != hello.identity.serial:
            raise Refused(f"{identity.serial} answers now, not {hello.identity.serial}")
        sample_of = _SAMPLES[identity.family]
        sample = await bring_to_safe_state(session, sample_of, depth)
        return await prove_safe_state(session, sample_of, depth) if session.sealed else sample
    finally:
        await session.close()


def _leave_note(
    hello: Hello,
    cause: Alarm,
    depth: StopDepth | None,
    state: str | None = None,
    problem: str | None = None,
) -> None:
    """What the next owner reads into its journal; a disk that fails keeps nobody from stopping.

    Without a ``depth`` nothing was sent; without a ``state`` the safe state was never seen.
    """
    note = {
        "serial": hello.identity.serial,
        "alarm": asdict(cause),
        "depth": depth,
        "state": state,
        "problem": problem,
    }
    folder = Path(hello.records)
    path = folder / f"{hello.identity.serial.encode().hex()}-{time.time_ns()}.json"
    draft = path.with_suffix(".new")
    try:
        draft.write_text(json.dumps(note), "utf-8")
        draft.replace(path)
    except OSError:
        return
