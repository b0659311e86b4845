"""`make demo`: two simulated devices on serial lines, two therapies, one refusal, one lost reply.

Every step is a call of the real command line, shown with its real output; nobody is asked
anything. The results stay in ``demo-output``; everything else is temporary.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console
from rich.text import Text

from device_profiles.errors import NeuraxisError
from hil.check import check_file, wall_now
from hil.demo_story import DEVICES, FAULTS, SERIALS, STEPS, Step
from hil.exit_codes import INTERRUPTED, TERMINATED
from hil.plot import PumpPlot, StimulatorPlot, plot_both
from safety.commands import ProgramPump, ProgramStimulator
from safety.limits import pump_limits

NEURAXIS = str(Path(sys.executable).parent / "neuraxis")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
RESULTS = Path("demo-output")
WIDTH = 100
"""Columns where the output goes to no terminal."""
STEP_PATIENCE_S = 30.0
END_PATIENCE_S = 10.0
ASK_AGAIN_S = 0.3
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class DemoError(Exception):
    """A step did not go as it must; the text names the step, its output has been shown."""


class Demo:
    """One run of the demo, with its temporary files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._console = Console(highlight=False, soft_wrap=True)
        terminal = self._console.is_terminal
        width = shutil.get_terminal_size().columns if terminal else WIDTH
        self._environment = {
            **os.environ,
            # Nothing of the demo's may reach journals, locks and keys of the person's own devices.
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "COLUMNS": str(width),
            **({"FORCE_COLOR": "1"} if terminal else {}),
        }
        self._names = {
            **{path.stem: os.path.relpath(path) for path in EXAMPLES.glob("*.yaml")},
            **{family: f"serial://{folder / family}" for family in DEVICES},
            "pump_journal": str(self._journal("pump")),
        }

    def run(self) -> None:
        """Plays every step; raises DemoError at the first that goes wrong."""
        self._folder.joinpath("faults.yaml").write_text(FAULTS, "utf-8")
        self._head("Two devices, each a process of its own behind a serial line of its own.")
        with ExitStack() as simulators:
            for started in [
                simulators.enter_context(self._simulator(family, options))
                for family, options in DEVICES.items()
            ]:
                started()
            for step in STEPS:
                self._play(step)
        self._keep_results()

    # --- the devices -------------------------------------------------------------------------

    @contextmanager
    def _simulator(self, family: str, options: str) -> Iterator[Callable[[], None]]:
        """A simulated device; what is given waits until it can be reached."""
        command = f"simulate {family} " + options.format(folder=self._folder, family=family)

        def started() -> None:
            assert process.stdout is not None
            line = process.stdout.readline()
            self._show_command(f"{command} &")
            self._show_output(line)
            if '"listening"' not in line:
                raise DemoError(f"the step `neuraxis {command}` opened no port, see above")

        # In a session of its own: Ctrl-C must not take the device from under a running therapy.
        with self._process(command, subprocess.PIPE, own_session=True) as process:
            yield started

    # --- the steps ---------------------------------------------------------------------------

    def _play(self, step: Step) -> None:
        if step.heading:
            self._head(step.heading)
        command = self._filled(step)
        self._show_command(command)
        if step.meanwhile:
            self._play_live(step, command)
            return
        output, code = self._call(command)
        self._show_output(output, code)
        found = self._found(step, output, code)
        if found is None:
            raise DemoError(
                f"the step `neuraxis {command}` was to end with code {step.code} and to say "
                f"{step.says!r}; it ended with code {code} and the output above"
            )
        if step.keeps:
            self._names[step.keeps] = found[1]

    def _play_live(self, step: Step, command: str) -> None:
        """A step whose output goes straight to the screen, while another terminal asks."""
        with self._process(command, None) as process:
            asked = [(self._filled(one), *self._answer(one)) for one in step.meanwhile]
            code = self._ended(process, command)
        if code != step.code:
            raise DemoError(f"the step `neuraxis {command}` ended with code {code}, see above")
        self._head("Meanwhile, in another terminal:")
        for one, output, answered in asked:
            self._show_command(one)
            self._show_output(output, answered)

    def _answer(self, step: Step) -> tuple[str, int]:
        """The output and code of a command that is repeated until it says what it should."""
        command, patience = self._filled(step), time.monotonic() + STEP_PATIENCE_S
        while True:
            output, code = self._call(command)
            if self._found(step, output, code) is not None:
                return output, code
            if time.monotonic() > patience:
                raise DemoError(f"`neuraxis {command}` never said {step.says!r}, but:\n{output}")
            time.sleep(ASK_AGAIN_S)

    def _found(self, step: Step, output: str, code: int) -> re.Match[str] | None:
        return re.search(step.says, ANSI.sub("", output)) if code == step.code else None

    def _filled(self, step: Step) -> str:
        names = {name: shlex.quote(value) for name, value in self._names.items()}
        return step.command.format_map(names)

    # --- processes ---------------------------------------------------------------------------

    def _call(self, command: str) -> tuple[str, int]:
        with self._process(command, subprocess.PIPE) as process:
            try:
                output, _ = process.communicate(timeout=STEP_PATIENCE_S)
            except subprocess.TimeoutExpired as error:
                raise DemoError(f"the step `neuraxis {command}` did not end") from error
        return output, process.returncode

    def _ended(self, process: "subprocess.Popen[str]", command: str) -> int:
        try:
            return process.wait(STEP_PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"the step `neuraxis {command}` did not end") from error

    @contextmanager
    def _process(
        self, command: str, stdout: int | None, *, own_session: bool = False
    ) -> Iterator["subprocess.Popen[str]"]:
        """A command of ours; it has ended when this has, by its own safe end if it must."""
        with subprocess.Popen(
            [NEURAXIS, *shlex.split(command)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            env=self._environment,
            start_new_session=own_session,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.terminate()
                try:
                    process.wait(END_PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()

    # --- what is shown and kept --------------------------------------------------------------

    def _head(self, text: str) -> None:
        self._print(Text(f"\n{text}", style="bold"))

    def _show_command(self, command: str) -> None:
        self._print(Text(f"$ neuraxis {command}", style="cyan"))

    def _show_output(self, output: str, code: int = 0) -> None:
        if output:
            self._print(Text.from_ansi(output.rstrip()))
        if code:
            self._print(Text(f"(exit code {code})", style="dim"))

    def _print(self, text: Text) -> None:
        self._console.print(text)
        self._console.file.flush()  # what a child prints comes after it

    def _journal(self, family: str) -> Path:
        serial = SERIALS[family]
        return self._folder / "state" / "neuraxis" / "journals" / f"{serial}.journal"

    def _keep_results(self) -> None:
        self._head("What was physically delivered, by the simulators' own truth:")
        RESULTS.mkdir(exist_ok=True)
        for family in DEVICES:
            shutil.copy(self._folder / f"{family}.truth.jsonl", RESULTS)
            shutil.copy(self._journal(family), RESULTS)
        png = RESULTS / "delivered.png"
        _plot(png)
        self._print(Text(f"  {png}"))
        self._head("Journals, to be read with `neuraxis journal show`:")
        for family in DEVICES:
            self._print(Text(f"  {RESULTS / self._journal(family).name}"))


def _plot(png: Path) -> None:
    now = wall_now()
    stimulation = check_file(EXAMPLES / "stimulation.yaml", None, now)
    infusion = check_file(EXAMPLES / "infusion.yaml", None, now)
    assert isinstance(stimulation.command, ProgramStimulator)
    assert isinstance(infusion.command, ProgramPump)
    limits, _ = pump_limits(infusion.command.therapy, infusion.command.formulary)
    plot_both(
        StimulatorPlot(
            RESULTS / "stimulator.truth.jsonl",
            SERIALS["stimulator"],
            stimulation.therapy.patient,
            stimulation.command.programs,
            stimulation.command.profile,
        ),
        PumpPlot(RESULTS / "pump.truth.jsonl", SERIALS["pump"], infusion.therapy.patient, limits),
        png,
    )


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is to end the demo as cleanly as Ctrl-C does."""


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def main() -> int:
    """Runs the demo in the current folder; its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    begun = time.monotonic()
    print("neuraxis: a demo on simulated devices. Research prototype, not a medical device.")
    try:
        with tempfile.TemporaryDirectory(prefix="neuraxis-") as folder:
            Demo(Path(folder)).run()
    except (DemoError, NeuraxisError, OSError) as error:
        print(f"\nneuraxis demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as reason:
        print("\nneuraxis demo: interrupted; everything it started has ended", file=sys.stderr)
        return TERMINATED if isinstance(reason, Terminated) else INTERRUPTED
    print(f"\nThe demo took {time.monotonic() - begun:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
