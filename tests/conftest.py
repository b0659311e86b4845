"""What holds for every test: virtual time, no network beyond loopback, nothing left behind."""

import asyncio
import gc
import ipaddress
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_asyncio

from firmware_bridge.clock import VirtualLoop

THREAD_GRACE_S = 2.0
"""How long a thread that has been told to end may take; asyncio's child watchers need a moment."""

hypothesis.settings.register_profile("neuraxis", deadline=None)
hypothesis.settings.register_profile(
    "neuraxis-ci", deadline=None, derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("neuraxis-ci" if os.environ.get("CI") else "neuraxis")


# --- time ------------------------------------------------------------------------------------


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Virtual time, except for tests that are marked ``real_clock``."""
    if item.get_closest_marker("real_clock"):
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualLoop}


# --- the user's folders ----------------------------------------------------------------------


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's state folder for this test: journals, locks and sockets go there."""
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def config_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's settings, keys among them: for the whole run, as a simulated device may last."""
    folder = tmp_path_factory.mktemp("config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder))
        # For fixtures that outlive a test: never the person's own journals.
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield folder


# --- the network -----------------------------------------------------------------------------


class NetworkBlocked(RuntimeError):
    """A test reached beyond this machine. No OSError: code under test must not swallow it."""


def _is_local(host: Any) -> bool:
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(text.split("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuses every connection and name look-up that would leave this machine."""
    look_up = socket.getaddrinfo

    def guard(name: str) -> None:
        original = getattr(socket.socket, name)

        def guarded(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
                raise NetworkBlocked(f"a test tried to {name} to {address!r}")
            return original(self, address)

        monkeypatch.setattr(socket.socket, name, guarded)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_local(host):
            raise NetworkBlocked(f"a test tried to look up {host!r}")
        return look_up(host, *args, **kwargs)

    guard("connect")
    guard("connect_ex")
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)


# --- nothing is left behind ------------------------------------------------------------------


FONTS = (".ttf", ".ttc", ".otf")
"""matplotlib keeps fonts open for the next plot."""


def _open_files() -> set[tuple[int, str]]:
    """Open file descriptors and what they lead to; empty where the system does not tell."""
    found = set()
    folder = Path("/proc/self/fd")
    for entry in os.listdir(folder) if folder.is_dir() else ():
        try:
            target = os.readlink(folder / entry)
        except OSError:
            continue  # the descriptor that listed the folder
        if not target.endswith(FONTS):
            found.add((int(entry), target))
    return found


@pytest.fixture(autouse=True)
def no_thread_or_file_is_left() -> Iterator[None]:
    """Fails a test that leaves a thread or an open descriptor (file, socket, pty) behind."""
    threads = set(threading.enumerate())
    files = _open_files()
    yield
    left_threads = []
    for thread in set(threading.enumerate()) - threads:
        thread.join(THREAD_GRACE_S)
        if thread.is_alive():
            left_threads.append(thread.name)
    if left_threads:
        pytest.fail(f"the test left threads behind: {sorted(left_threads)}", pytrace=False)
    if _open_files() - files:
        gc.collect()  # what only waits for the garbage collector complains by itself
    if left_files := _open_files() - files:
        pytest.fail(f"the test left descriptors open: {sorted(left_files)}", pytrace=False)


@pytest_asyncio.fixture
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    await asyncio.sleep(0)  # lets closing transports say goodbye
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        names = sorted(f"{task.get_name()}: {task.get_coro()!r}" for task in left)
        pytest.fail(f"the test left tasks behind: {names}", pytrace=False)


@pytest.fixture(autouse=True)
def no_task_is_left(request: pytest.FixtureRequest, no_thread_or_file_is_left: None) -> None:
    """Fails an async test that leaves a task running once all its fixtures have ended.

    Depends on the other check so that this one comes first and the loop closes in between.
    """
    if request.node.get_closest_marker("asyncio"):
        request.getfixturevalue("_no_task_is_left")
