"""The journal's file: its user's alone, one process's to write, and read from the disk itself."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from disk_bench import anchored, chapter, intended
from every_event import EVERY_EVENT

from safety import disk as disk_module
from safety.disk import FileDisk, sync_folder
from safety.journal import Anchor, JournalError, parse
from safety.opening import open_journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_a_journal_file_is_its_users_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        disk = FileDisk(path)
        disk.append(b"x")
        disk.sync()
        disk.close()
        disk.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_takes_short_writes_to_their_end(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    disk, anchor = FileDisk(path), Anchor(tmp_path / "anchor")
    assert disk.read() == b""
    journal = open_journal(disk, anchor).journal
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:7])))
        for event in EVERY_EVENT:
            journal.append(event)
    journal.settle()
    assert list(parse(disk.read()).events) == EVERY_EVENT, "and read while it is open"
    journal.close()
    assert open_journal(disk, anchor).problem is None
    disk.close()


@pytest.mark.fault("F67")
def test_a_torn_tail_is_cut_off_the_file(tmp_path: Path, path: Path) -> None:
    data, _ = anchored(chapter(), tmp_path)
    (tmp_path / "longer").mkdir()
    longer, _ = anchored([*chapter(), intended(6)], tmp_path / "longer")
    path.write_bytes(longer[: len(data) + 20])
    disk = FileDisk(path)
    again = open_journal(disk, Anchor(tmp_path / "anchor"))
    again.journal.commit(intended(7))
    disk.close()
    assert list(parse(path.read_bytes()).events) == [*chapter(), intended(7)]


# --- one writer ----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F74")
@pytest.mark.fault("F76")
def test_a_journal_that_another_process_writes_is_refused_until_that_one_ends(
    tmp_path: Path, path: Path
) -> None:
    data, _ = anchored(chapter(), tmp_path)
    path.write_bytes(data)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        disk = FileDisk(path)
        again = open_journal(disk, Anchor(tmp_path / "anchor"))
        assert again.problem is not None
        assert "another process writes it" in again.problem
        with pytest.raises(JournalError, match="another process"):
            again.journal.commit(intended(9))
    finally:
        holder.communicate()
    assert path.read_bytes() == data
    assert open_journal(disk, Anchor(tmp_path / "anchor")).problem is None
    disk.close()


HOLD = (
    "import sys, pathlib; from safety.disk import FileDisk; "
    "FileDisk(pathlib.Path(sys.argv[1])).read(); print('held', flush=True); sys.stdin.read()"
)


@pytest.mark.fault("F76")
def test_of_two_first_writers_one_lives(path: Path) -> None:
    one, other = FileDisk(path), FileDisk(path)
    assert (one.read(), other.read()) == (b"", b"")
    one.append(b"mine")
    with pytest.raises(BlockingIOError, match="another process writes it"):
        other.append(b"not mine")
    one.close()
    assert path.read_bytes() == b"mine"


def test_where_files_cannot_be_locked_the_owners_lock_is_all_there_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_module, "LOCKS", False)
    one, other = FileDisk(path), FileDisk(path)
    one.append(b"a")
    other.append(b"b")
    one.close()
    other.close()
    assert path.read_bytes() == b"ab"


# --- the disk itself -----------------------------------------------------------------------------


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F72")
def test_what_is_read_comes_from_the_disk_and_not_from_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"x")
    forgotten: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *told: forgotten.append(told[3]), raising=False)
    disk = FileDisk(path)
    assert disk.read() == b"x"
    assert forgotten == [os.POSIX_FADV_DONTNEED]
    disk.close()


@pytest.mark.parametrize("odd", ["missing", "failing"])
def test_a_system_that_cannot_forget_is_read_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    path.write_bytes(b"x")

    def fail(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    if odd == "missing":
        monkeypatch.delattr(os, "posix_fadvise", raising=False)
    else:
        monkeypatch.setattr(os, "posix_fadvise", fail, raising=False)
    disk = FileDisk(path)
    assert disk.read() == b"x"
    disk.close()


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F71")
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_read_only_journal_tells_its_past_and_takes_nothing(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    data, _ = anchored(chapter(), tmp_path)
    path.write_bytes(data)
    open_file = os.open

    def read_only(name: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR and name == path:
            raise OSError(number, os.strerror(number))
        return open_file(name, flags, mode)

    monkeypatch.setattr(os, "open", read_only)
    again = open_journal(FileDisk(path), Anchor(tmp_path / "anchor"))
    assert again.problem is None
    assert [one.id for one in again.state.reservations] == [1, 2]
    with pytest.raises(JournalError, match=os.strerror(number)):
        again.journal.commit(intended(9))


@pytest.mark.requirement("SR-56")
@pytest.mark.fault("F71")
def test_a_folder_in_the_place_of_a_journal_is_a_problem(tmp_path: Path) -> None:
    again = open_journal(FileDisk(tmp_path), Anchor(tmp_path / "anchor"))
    assert again.problem is not None
    assert "it cannot be read or mended" in again.problem


def test_a_folder_that_cannot_be_synced_lets_no_file_begin(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        FileDisk(path).append(b"x")


def test_where_folders_cannot_be_synced_nothing_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_module, "FOLDERS_SYNC", False)
    sync_folder(tmp_path / "there is no such folder")
