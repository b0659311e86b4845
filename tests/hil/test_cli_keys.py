"""Keys of devices from the command line: kept for one user, never shown, asked for aloud."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from cli_bench import INFUSION, cli, journal_of, key_of, key_store, running, simulator, until

from device_profiles.errors import UsageError
from firmware_bridge.key_file import read_key
from firmware_bridge.links.url import parse_url
from hil.keys import KeyStore


@pytest.fixture(autouse=True)
def config_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has no keys yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "neuraxis" / "keys"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- the store -----------------------------------------------------------------------------------


def test_a_new_key_is_kept_for_its_user_alone_and_never_shown(
    tmp_path: Path, config_of_its_own: Path
) -> None:
    copy = tmp_path / "for-the-probe"
    old = os.umask(0)
    try:
        made = cli("keys", "new", "ITP-7", "--out", copy)
    finally:
        os.umask(old)
    assert made.code == 0, made.said
    kept = config_of_its_own / "ITP-7.key"
    assert (mode(kept), mode(copy), mode(config_of_its_own)) == (0o600, 0o600, 0o700)
    assert kept.read_bytes() == copy.read_bytes()
    secret = kept.read_text("ascii").strip()
    assert len(bytes.fromhex(secret)) == 32
    answers = [made, cli("keys", "list"), cli("keys", "list", "--format", "json")]
    answers += [cli("keys", "new", "ITP-7"), cli("keys", "add", "ITP-7", copy)]
    answers += [cli("keys", "remove", "ITP-7")]
    assert all(secret not in answer.said for answer in answers)
    assert answers[1].out == "ITP-7\n"
    assert answers[2].json["serials"] == ["ITP-7"]
    assert [answer.code for answer in answers] == [0, 0, 0, 2, 0, 0]
    assert "no keys yet" in cli("keys", "list").out
    assert cli("keys", "remove", "ITP-7").code == 2


def test_no_two_keys_are_alike_and_none_takes_the_place_of_another(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert cli("keys", "new", "S-1", "--out", one).code == 0
    assert cli("keys", "new", "S-2", "--out", two).code == 0
    assert one.read_bytes() != two.read_bytes()
    before = key_store().path_of("S-1").read_bytes()
    refused = cli("keys", "add", "S-1", two)
    assert (refused.code, "keys remove S-1" in refused.said) == (2, True)
    assert cli("keys", "new", "S-3", "--out", one).code == 2
    assert "S-3" not in key_store().serials()
    assert key_store().path_of("S-1").read_bytes() == before


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_can_reach_is_refused_with_the_remedy(tmp_path: Path, bits: int) -> None:
    file = tmp_path / "key"
    assert cli("keys", "new", "S-1", "--out", file).code == 0
    file.chmod(bits)
    refused = cli("keys", "add", "S-9", file)
    assert (refused.code, f"chmod 600 {file}" in refused.said) == (2, True)
    key_store().path_of("S-1").chmod(bits)
    with pytest.raises(UsageError, match="chmod 600"):
        key_store().key_of("S-1")


def test_a_folder_of_keys_that_others_can_enter_is_refused(config_of_its_own: Path) -> None:
    assert cli("keys", "new", "S-1").code == 0
    config_of_its_own.chmod(0o750)
    for command in (["list"], ["new", "S-2"]):
        refused = cli("keys", *command)
        assert (refused.code, f"chmod 700 {config_of_its_own}" in refused.said) == (2, True)


@pytest.mark.parametrize(
    "text", [b"", b"00" * 31 + b"\n", b"00" * 32, b"zz" * 32 + b"\n", b"00" * 33 + b"\n"]
)
def test_what_is_no_key_is_refused_and_not_repeated(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(text)
    file.chmod(0o600)
    refused = cli("keys", "add", "S-1", file)
    assert (refused.code, "holds no device key" in refused.said) == (2, True)
    assert not text.strip() or text.decode().strip() not in refused.said


def test_a_copy_that_cannot_be_written_leaves_no_key_behind(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("something else")
    for copy, words in (("there", "exists: a key never"), ("no/folder", "cannot be written")):
        made = cli("keys", "new", "ITP-7", "--out", tmp_path / copy)
        assert made.code == 2
        assert words in made.err
        assert "ITP-7" not in cli("keys", "list").out
    assert (tmp_path / "there").read_text() == "something else"


def test_a_full_disk_leaves_no_half_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        made = cli("keys", "new", "ITP-7")
    assert made.code == 2
    assert "cannot be written: No space left on device" in made.err
    assert cli("keys", "new", "ITP-7").code == 0


def test_a_link_to_a_key_is_none(tmp_path: Path) -> None:
    file, link = tmp_path / "key", tmp_path / "link"
    assert cli("keys", "new", "S-1", "--out", file).code == 0
    link.symlink_to(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_key(link)
    with pytest.raises(UsageError, match="is no file"):
        read_key(tmp_path)


@pytest.mark.parametrize("serial", ["../evil", "a/b", "..", "S 1", "Ä"])
def test_a_serial_number_leads_to_no_other_folder(tmp_path: Path, serial: str) -> None:
    store = KeyStore(tmp_path / "keys")
    store.make(serial)
    assert store.path_of(serial).resolve().parent == (tmp_path / "keys").resolve()
    assert store.serials() == (serial,)
    assert store.find(serial) == store.key_of(serial)


# --- with a device -------------------------------------------------------------------------------


@pytest.mark.real_clock
def test_a_simulated_device_is_sealed_with_a_key_that_the_user_then_has(tmp_path: Path) -> None:
    port = tmp_path / "port"
    listen = ("--listen", f"pty:{port}", "--serial-number", "S-1")
    with running(tmp_path, "sim", "simulate", "stimulator", *listen) as device:
        device.until_it_says("S-1")
        status = cli("status", "--device", f"serial://{port}")
        assert (status.code, "line sealed" in status.said) == (0, True)
        assert key_store().serials() == ("S-1",)
        secret = key_store().path_of("S-1").read_text("ascii").strip()
        assert secret not in device.said + status.said
        assert cli("keys", "remove", "S-1").code == 0
        lost = cli("status", "--device", f"serial://{port}")
        assert lost.code == 2
        assert "there is no key for S-1" in lost.said
        assert "neuraxis keys add S-1 FILE" in lost.said
        stopped = cli("stop", "--device", f"serial://{port}")
        assert stopped.code == 0, "a stop needs no key"
        assert "it could not be recorded: there is no key" in stopped.said
        refused = cli("status", "--device", f"serial://{port}?unsealed=yes")
        assert (refused.code, "unsealed" in refused.said) == (5, True)


@pytest.mark.real_clock
def test_a_board_in_bring_up_is_spoken_to_unsealed_only_when_asked(tmp_path: Path) -> None:
    with simulator(tmp_path, "pump", sealed=False) as device:
        url = device.url
        assert cli("status", "--device", url).code == 2
        key_of(device.serial)
        downgrade = cli("status", "--device", url)
        assert (downgrade.code, "no-key" in downgrade.said) == (5, True)
        asked = cli("status", "--device", f"{url}?unsealed=yes")
        assert asked.code == 0, asked.said
        assert "UNSEALED" in asked.err
        assert "UNSEALED" in asked.out
        assert "dropped frames           none" in asked.out
        answer = cli("status", "--device", f"{url}?unsealed=yes", "--format", "json")
        assert answer.json["sealed"] is False
        planned = cli("plan", INFUSION, "--device", f"{url}?unsealed=yes")
        assert (planned.code, "UNSEALED" in planned.err) == (0, True)
        assert "line:    UNSEALED" in planned.out
        told = cli("plan", INFUSION, "--device", f"{url}?unsealed=yes", "--format", "json")
        assert told.json["sealed"] is False
        shown = cli("journal", "show", journal_of(device.serial))
        assert f"connected to {device.serial} over an UNSEALED line (itp-20" in shown.out


@pytest.mark.real_clock
@pytest.mark.parametrize("sealed", [True, False])
def test_a_run_shows_whether_its_line_is_sealed(tmp_path: Path, sealed: bool) -> None:
    with simulator(tmp_path, "pump", sealed=sealed) as device:
        url = device.url if sealed else f"{device.url}?unsealed=yes"
        args = ("run", INFUSION, "--device", url, "--yes", "--for", "100 ms")
        run = cli(*args)
        assert run.code == 0, run.said
        assert ("ITP-A (UNSEALED)  running" in run.out) is not sealed
        told = cli(*args, "--format", "json")
        events = [json.loads(line) for line in told.out.splitlines()]
        samples = [one for one in events if one["event"] == "sample"]
        assert {one["sealed"] for one in samples} == {sealed}
        shown = cli("journal", "show", journal_of(device.serial))
        assert ("UNSEALED" in shown.out) is not sealed


@pytest.mark.real_clock
def test_simulate_takes_a_key_and_refuses_to_be_both(tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert cli("keys", "new", "S-2", "--out", file).code == 0
    listen = ("--listen", "tcp:127.0.0.1:0", "--serial-number", "S-2", "--key", str(file))
    both = cli("simulate", "pump", *listen, "--unsealed")
    assert both.code == 2
    assert cli("keys", "new", "S-3").code == 0
    other = ("--listen", "tcp:127.0.0.1:0", "--serial-number", "S-3", "--key", str(file))
    assert cli("simulate", "pump", *other).code == 2
    with running(tmp_path, "sim", "simulate", "pump", *listen) as device:
        device.until_it_says("S-2")
        url = json.loads(device.said)["listening"]
        assert cli("status", "--device", url).code == 0


@pytest.mark.real_clock
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the list of processes")
def test_the_key_of_a_simulator_of_ones_own_is_in_no_list_of_processes(tmp_path: Path) -> None:
    args = ("run", INFUSION, "--for", "3 s", "--yes", "--device", "sim://pump")
    with running(tmp_path, "run", *args) as run:
        children: list[Path] = []

        def started() -> bool:
            children[:] = [
                path
                for path in Path("/proc").glob("[0-9]*")
                if _parent(path) == run.pid and b"firmware_bridge.simulator" in _read(path)
            ]
            return bool(children)

        until(started, "the simulator")
        shown = b"".join(_read(path) + _read(path, "environ") for path in children)
        run.until_it_says("applied")
        assert b"--key-on-stdin" in shown
        assert not [word for word in shown.replace(b"\n", b"\0").split(b"\0") if _is_key(word)]
        run.end()
    assert key_store().serials() == (), "it is nobody else's business"


def _read(path: Path, name: str = "cmdline") -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError:
        return b""


def _parent(path: Path) -> int:
    words = _read(path, "stat").rpartition(b")")[2].split()
    return int(words[1]) if len(words) > 1 else 0


def _is_key(word: bytes) -> bool:
    try:
        return len(bytes.fromhex(word.decode().rpartition("=")[2])) == 32
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("url", "unsealed"),
    [
        ("serial:///dev/ttyUSB0", False),
        ("serial:///dev/ttyUSB0?unsealed=yes&baud=9600", True),
        ("tcp://127.0.0.1:7000?unsealed=no", False),
        ("usb://1209:0001?unsealed=yes", True),
    ],
)
def test_only_a_url_that_says_so_is_unsealed(url: str, unsealed: bool) -> None:
    assert parse_url(url).unsealed is unsealed


@pytest.mark.parametrize("url", ["sim://pump?unsealed=yes", "tcp://127.0.0.1:1?unsealed=maybe"])
def test_a_url_that_cannot_be_unsealed_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="unsealed"):
        parse_url(url)
