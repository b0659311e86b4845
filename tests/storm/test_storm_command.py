"""`neuraxis storm` as a person runs it: what it tells, keeps and leaves when it is interrupted."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from device_profiles.errors import UsageError
from hil.app import app
from hil.commands import storm as storm_command
from hil.commands import storm_shrink
from hil.commands.storm_progress import EVERY_S, Advance, Lines
from hil.storm import runner
from hil.storm.draw import draw
from hil.storm.plan import Plan
from hil.storm.plan_file import read_plan
from hil.storm.record import Record
from hil.storm.run import run_storm
from hil.storm.runner import Chunk, Outcome, Tally, parse_seeds

ROOT = Path(__file__).resolve().parents[2]
KNOWN = Path(__file__).parent / "known"
FAILING = Outcome(draw(7, "pump"), ("something was wrong",), "c0ffee")
INTERRUPTIONS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a..b",
        "5..1",
        "-1..3",
        "1..",
        "1..99999999999999",
        "1..999999999999",
        f"1..{'9' * 5_000}",
    ],
)
def test_a_bad_range_of_seeds_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        parse_seeds(text)


def test_a_range_of_seeds_has_both_ends() -> None:
    assert parse_seeds("3..5") == range(3, 6)
    assert parse_seeds("17") == range(17, 18)


# --- the command ---------------------------------------------------------------------------------


def run_command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hil.cli", "storm", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)


@pytest.mark.real_clock
def test_the_command_runs_seeds_and_tells_what_was_reached(tmp_path: Path) -> None:
    done = run_command("--seeds", "1..4", "--jobs", "2", "--format", "json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["seeds"] == 8
    assert told["failing"] == []
    assert told["reached"]["pump: apply: done"] > 0


@pytest.mark.real_clock
def test_the_command_replays_a_plan_and_refuses_a_bad_one(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(replace(draw(5, "pump"), minutes=60).text(), encoding="utf-8")
    first, second = (run_command("--plan", str(path), folder=tmp_path) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert "digest " in first.stdout
    path.write_text("storm: pump\nseed: 1\nminutes: 10\nacts: 5", encoding="utf-8")
    bad = run_command("--plan", str(path), folder=tmp_path)
    assert bad.returncode == 2
    assert "plan.yaml:4: acts is a list" in bad.stderr


WITH_A_BUG = """
import sys
from hil.cli import main
from tests.storm.planted_road import ROAD_BUGS, planted
with planted(ROAD_BUGS["any device's word counts"]):
    main()
"""


@pytest.mark.real_clock
def test_a_plan_is_told_in_its_order_with_what_was_asked_sent_and_done(tmp_path: Path) -> None:
    plan = ("--plan", str(KNOWN / "planted" / "retry-on-time-out.yaml"), "--story")
    told = run_command(*plan, folder=tmp_path).stdout.splitlines()
    parts = (
        "A asks for request 1: apply 100",
        "frame >  Commit id 1001",
        "device   acted (id 1001)",
        "frame <  Done id 1001",
        "A is told of request 1 (id 1001): done",
    )
    found = [next(at for at, line in enumerate(told) if part in line) for part in parts]
    assert found == sorted(found)
    as_json = json.loads(run_command(*plan, "--format", "json", folder=tmp_path).stdout)
    assert {"at", "where", "text"} == set(as_json["story"][0])


@pytest.mark.real_clock
def test_a_failure_prints_the_command_that_replays_it(tmp_path: Path) -> None:
    known = KNOWN / "plug-moved-while-opening.yaml"
    done = subprocess.run(
        [sys.executable, "-c", WITH_A_BUG, "storm", "--plan", str(known)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"again: neuraxis storm --plan {known}" in done.stdout


@pytest.mark.real_clock
def test_a_smaller_plan_is_saved_in_a_new_folder_and_its_command_can_be_pasted(
    tmp_path: Path,
) -> None:
    bug = WITH_A_BUG.replace("any device's word counts", "retry on time-out")
    known = KNOWN / "planted" / "retry-on-time-out.yaml"
    folder = tmp_path / "two words"
    done = subprocess.run(
        [sys.executable, "-c", bug, "storm", "--plan", known, "--shrink", "--save", folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (saved,) = folder.iterdir()
    assert f"again: neuraxis storm --plan '{saved}'" in done.stderr


@pytest.mark.real_clock
@pytest.mark.parametrize(("number", "code"), INTERRUPTIONS)
def test_storms_that_are_interrupted_show_what_they_found_and_leave_no_process(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "hil.cli", "storm", "--seeds", "1..100000", "--jobs", "2"]
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        storms = subprocess.Popen(command, env=environment, stdout=out, stderr=err, process_group=0)
        _await_children(storms.pid, 2)
        storms.send_signal(number)
        assert storms.wait(60) == code
    assert "of 200000 storms were run" in (tmp_path / "err").read_text()
    assert "a second and core" in (tmp_path / "out").read_text()
    with pytest.raises(ProcessLookupError):
        os.killpg(storms.pid, 0)


def _await_children(process: int, count: int) -> None:
    children = Path(f"/proc/{process}/task/{process}/children")
    until = monotonic() + 30
    while len(children.read_text().split()) < count:
        assert monotonic() < until, "no workers came"
        sleep(0.05)


def test_a_signal_that_comes_while_workers_are_forked_is_heeded_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def engine(chunks: Sequence[Chunk]) -> Iterator[Tally]:
        with suppress(KeyboardInterrupt):  # as Python does in what it calls around a fork
            os.kill(os.getpid(), signal.SIGTERM)
        yield Tally(20)
        yield Tally(20)

    monkeypatch.setattr(storm_command, "on_cores", lambda jobs: engine)
    ended = CliRunner().invoke(app, ["storm", "--seeds", "1..40", "--device", "pump"])
    assert ended.exit_code == 143
    assert "interrupted: 20 of 40 storms were run" in ended.stderr


@pytest.mark.real_clock
def test_workers_end_when_the_process_that_owns_them_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hil.cli", "storm", "--seeds", "1..100000", "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    storms = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE)
    _await_children(storms.pid, 2)
    storms.kill()
    # Only once every process that has the other end of this pipe is gone does it come to its end.
    storms.communicate(timeout=60)
    assert storms.returncode == -signal.SIGKILL


def test_a_worker_that_was_killed_loses_no_failing_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def engine(chunks: Sequence[Chunk]) -> Iterator[Tally]:
        yield Tally(20, 1.0, failing=(FAILING,))
        raise BrokenExecutor

    monkeypatch.setattr(storm_command, "on_cores", lambda jobs: engine)
    ended = CliRunner().invoke(app, ["storm", "--seeds", "1..40", "--device", "pump"])
    assert ended.exit_code == 1
    assert "20 of 40 storms were run" in ended.stderr
    assert "again: neuraxis storm --device pump --seeds 7" in ended.stdout
    assert "digest c0ffee" in ended.stdout, "whoever runs it again sees whether it is the same"


# --- while it runs -------------------------------------------------------------------------------


def test_a_failing_seed_is_told_as_soon_as_it_is_found_and_many_are_not_all_told() -> None:
    said, moved = io.StringIO(), list[tuple[int, int]]()
    advance = Advance(Console(file=said, width=200), 1, lambda *now: moved.append(now))
    advance(Tally(20))
    assert said.getvalue() == ""
    advance(Tally(20, failing=(FAILING,)))
    again = "neuraxis storm --device pump --seeds 7 --days 1"
    assert said.getvalue() == f"pump, seed 7 fails; again: {again}\n"
    advance(Tally(20, failing=(FAILING,) * 20))
    assert len(said.getvalue().splitlines()) == 10
    assert moved == [(20, 0), (40, 1), (60, 21)]


def test_where_there_is_no_terminal_a_line_a_minute_says_how_far_it_is() -> None:
    said, now = io.StringIO(), 0.0
    lines = Lines(Console(file=said, width=200), 90_000, lambda: now)
    for seconds in range(0, int(2.5 * EVERY_S), 10):
        now = float(seconds)
        lines(500 * seconds or 20, 0)
    assert said.getvalue().splitlines() == [
        "30,000 of 90,000 storms, 0 failing, about 2 min left",
        "60,000 of 90,000 storms, 0 failing, about 1 min left",
    ]


# --- a smaller plan ------------------------------------------------------------------------------


def shrinks(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str, number: int | None = None
) -> Result:
    """The command, in which a seed fails, and its plan is made smaller until a signal comes."""

    def engine(chunks: Sequence[Chunk]) -> Iterator[Tally]:
        yield Tally(20, 1.0, failing=(FAILING,))

    def shrink(plan: Plan, told: Callable[[Plan], None]) -> Plan:
        small = replace(plan, acts=plan.acts[:2])
        told(small)
        if number is not None:
            os.kill(os.getpid(), number)
        return small

    monkeypatch.setattr(storm_command, "on_cores", lambda jobs: engine)
    monkeypatch.setattr(storm_shrink, "shrink", shrink)
    command = ["storm", "--seeds", "1..20", "--device", "pump", "--shrink", "--save", str(folder)]
    return CliRunner().invoke(app, [*command, *more])


@pytest.mark.parametrize("number", [number for number, _ in INTERRUPTIONS])
def test_a_signal_while_a_plan_is_made_smaller_keeps_the_smallest_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    ended = shrinks(monkeypatch, tmp_path / "new", number=number)
    assert ended.exit_code == 1, "a storm that fails is severer than a signal"
    assert "interrupted: the smallest plan so far is kept" in ended.stderr
    saved = tmp_path / "new" / "storm-pump-7.yaml"
    assert f"2 acts are left; again: neuraxis storm --plan {saved}" in ended.stderr
    assert read_plan(saved).acts == FAILING.plan.acts[:2]


def test_a_smaller_plan_is_named_in_the_one_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = shrinks(monkeypatch, tmp_path, "--format", "json")
    assert ended.exit_code == 1
    assert json.loads(ended.stdout)["shrunk"] == str(tmp_path / "storm-pump-7.yaml")


def test_a_smaller_plan_takes_no_other_plans_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "storm-pump-7.yaml").write_text("edited by somebody")
    for _ in range(2):
        assert shrinks(monkeypatch, tmp_path).exit_code == 1
    names = ["storm-pump-7.2.yaml", "storm-pump-7.3.yaml", "storm-pump-7.yaml"]
    assert sorted(path.name for path in tmp_path.glob("*.yaml")) == names
    assert (tmp_path / "storm-pump-7.yaml").read_text() == "edited by somebody"


@pytest.mark.parametrize("folder", ["/dev/full", __file__])
def test_a_folder_that_cannot_be_one_is_refused_before_a_storm_is_run(
    monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    ended = shrinks(monkeypatch, Path(folder), "--format", "json")
    assert ended.exit_code == 2
    assert f"--save {folder} cannot be a folder" in json.loads(ended.stdout)["text"]
    assert "shrinking" not in ended.stderr


def test_a_smaller_plan_that_cannot_be_saved_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "storm-pump-7.yaml").symlink_to("nowhere")
    ended = shrinks(monkeypatch, tmp_path, "--format", "json")
    assert ended.exit_code == 1
    assert json.loads(ended.stdout)["shrunk"] is None
    assert replace(FAILING.plan, acts=FAILING.plan.acts[:2]).text() in ended.stderr


# --- what does not go together -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--plan", "x", "--seeds", "1", "--jobs", "2"), "leave out --seeds, --jobs, or --plan"),
        (("--plan", "x", "--device", "both"), "leave out --device, or --plan"),
        (("--plan", "x", "--days", "1"), "leave out --days, or --plan"),
        (("--plan", "x", "--cluster", "y"), "leave out --cluster, or --plan"),
        (("--cluster", "tcp://y", "--jobs", "2"), "--jobs is for this machine"),
        (("--cluster", ""), "--cluster needs the address of a scheduler"),
        (("--save", "x"), "--save says where --shrink puts its plan"),
        (("--story",), "--plan FILE"),
    ],
)
def test_an_option_that_would_say_nothing_is_refused(options: tuple[str, ...], says: str) -> None:
    ended = CliRunner().invoke(app, ["storm", *options])
    assert ended.exit_code == 2
    assert says in ended.stderr


@pytest.mark.real_clock
def test_a_plan_from_a_pipe_is_told_and_judged_in_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    reads, writes = os.pipe()
    os.write(writes, (KNOWN / "planted" / "retry-on-time-out.yaml").read_bytes())
    os.close(writes)
    ran: list[Plan] = []

    def counted(plan: Plan) -> Record:
        ran.append(plan)
        return run_storm(plan)

    monkeypatch.setattr(runner, "run_storm", counted)
    ended = CliRunner().invoke(app, ["storm", "--plan", f"/dev/fd/{reads}", "--story"])
    os.close(reads)
    assert ended.exit_code == 0, ended.stderr
    assert "A asks for request 1: apply 100" in ended.stdout
    assert "nothing was wrong" in ended.stdout
    assert len(ran) == 1


# --- on a cluster --------------------------------------------------------------------------------

ON_A_CLUSTER = """
from distributed import LocalCluster
from hil.storm.runner import chunks_of, in_this_process, on_cluster

if __name__ == "__main__":
    chunks = chunks_of(("pump",), range(1, 41), 1)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        tallies = list(on_cluster(cluster.scheduler_address)(chunks))
    print(sum(one.seeds for one in tallies), sum(len(one.failing) for one in tallies))
"""


@pytest.mark.real_clock
def test_the_same_command_spreads_over_a_dask_cluster(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    script = tmp_path / "on_a_cluster.py"
    script.write_text(ON_A_CLUSTER, encoding="utf-8")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.split() == ["40", "0"], done.stderr[-2_000:]


@pytest.mark.real_clock
def test_a_cluster_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    done = run_command("--seeds", "1", "--cluster", "tcp://127.0.0.1:9", folder=tmp_path)
    assert done.returncode == 2
    assert "neuraxis: " in done.stderr
    assert "Traceback" not in done.stderr
