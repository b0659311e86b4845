"""Signals while a command is loaded, and when its exit code stands already."""

import signal
import subprocess
import sys
import textwrap

import pytest
from cli_bench import PATIENCE_S, Answer, cli

pytestmark = pytest.mark.real_clock

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WHILE_LOADING = """
    import os, sys
    class Signalled:
        def find_spec(self, name, path=None, target=None):
            if name == "hil.app":
                os.kill(os.getpid(), {number})
    sys.meta_path.insert(0, Signalled())
    from hil.cli import main
    main()
"""
AFTER_THE_WORK = """
    import asyncio, os
    run = asyncio.run
    def signalled(work):
        code = run(work)
        os.kill(os.getpid(), {number})
        return code
    asyncio.run = signalled
    from hil.cli import main
    main()
"""
AT_THE_END = """
    import atexit, os
    atexit.register(os.kill, os.getpid(), {number})
    from hil.cli import main
    main()
"""


def signalled(script: str, number: signal.Signals, *args: str) -> Answer:
    """A command that is sent a signal at a place of its life."""
    code = textwrap.dedent(script).format(number=int(number))
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.mark.requirement("SR-32")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_stop_interrupted_while_it_is_loaded_says_that_none_was_sent(
    number: signal.Signals,
) -> None:
    ended = signalled(WHILE_LOADING, number, "stop", "--device", "sim://stimulator")
    assert ended == Answer(
        6,
        "",
        "neuraxis: interrupted before it began: no stop was sent, the device goes on as it was\n",
    )


@pytest.mark.parametrize("number", SIGNALS)
def test_another_command_interrupted_while_it_is_loaded_has_asked_nothing(
    number: signal.Signals,
) -> None:
    ended = signalled(WHILE_LOADING, number, "status", "--device", "sim://stimulator")
    assert ended == Answer(
        128 + number, "", "neuraxis: interrupted before it began: nothing was asked of a device\n"
    )


@pytest.mark.parametrize(
    ("script", "number", "args", "code"),
    [
        (AFTER_THE_WORK, signal.SIGINT, ("stop", "--device", "sim://stimulator"), 0),
        (AFTER_THE_WORK, signal.SIGTERM, ("stop", "--device", "sim://stimulator"), 0),
        (AT_THE_END, signal.SIGTERM, ("stop", "--device", "sim://stimulator"), 0),
        (AT_THE_END, signal.SIGTERM, ("amplitude", "1 mA", "--device", "sim://stimulator"), 3),
        (AT_THE_END, signal.SIGHUP, ("check", "nowhere.yaml"), 2),
    ],
    ids=["work-int", "work-term", "end-stop", "end-refused", "end-usage"],
)
def test_a_signal_after_its_end_changes_no_exit_code(
    script: str, number: signal.Signals, args: tuple[str, ...], code: int
) -> None:
    ended = signalled(script, number, *args)
    assert ended.code == code
    assert "Traceback" not in ended.err


def test_a_command_in_the_process_of_a_test_leaves_it_its_signals() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    assert cli("stop", "--device", "sim://stimulator").code == 0
    assert [signal.getsignal(number) for number in SIGNALS] == before
