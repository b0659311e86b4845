"""People whom the system does not know: no name, no home, no folder that can be made."""

import os
import pwd

import pytest
from cli_bench import cli, process

pytestmark = pytest.mark.real_clock

STIMULATOR = ("--device", "sim://stimulator")


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> str:
    """A user who has a number and nothing else, as in a container."""

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    return f"uid {os.getuid()}"


@pytest.fixture
def homeless(stranger: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Such a user of whom nobody said where the state is to lie."""
    monkeypatch.delenv("XDG_STATE_HOME")
    return stranger


def test_a_user_without_a_name_is_recorded_by_number(stranger: str) -> None:
    looked = cli("acknowledge", "seen", *STIMULATOR)
    assert (looked.code, stranger in looked.out) == (0, True), looked.said
    assert cli("pause", *STIMULATOR).code == 0
    assert cli("mri", "prepare", "sim://stimulator").code == 0
    reason = ("--override", "SR-41", "--reason", "a test")
    assert cli("impedance", *STIMULATOR, *reason).code == 0


@pytest.mark.parametrize("args", [["status", *STIMULATOR], ["journal", "why"]])
def test_without_a_home_a_command_says_which_variable_names_a_folder(
    homeless: str, args: list[str]
) -> None:
    answer = cli(*args)
    assert answer.code == 2
    assert f"no home folder is known for {homeless}" in answer.err
    assert "set XDG_STATE_HOME" in answer.err


@pytest.mark.requirement("SR-32")
@pytest.mark.usefixtures("homeless")
def test_a_stop_that_finds_no_home_says_that_none_was_sent() -> None:
    answer = cli("stop", *STIMULATOR)
    assert answer.code == 6
    assert "none was sent, the device goes on as it was" in answer.err
    assert "set XDG_STATE_HOME" in answer.err


def test_who_only_reads_needs_no_folder_to_write_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/nowhere")
    assert process("devices").code == 0  # libusb keeps descriptors open
    assert "nothing was refused in the journals of this user" in cli("journal", "why").err
