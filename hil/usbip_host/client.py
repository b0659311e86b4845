"""USB/IP, the host's side, as a kernel has it: transfers that wait, and can be taken back.

Written from the protocol's own description and with the standard library alone: it shares no
line with the simulator's side, and runs on any Python.
"""

import shlex
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

ECONNRESET, ENODEV = 104, 19
IMPORT_ERRORS = {2: "another host has it", 4: "there is no such device"}

_VERSION = 0x0111
_OPERATION = struct.Struct(">HHI")
_DEVICE = struct.Struct(">256s32sIIIHHHBBBBBB")
_HEADER = struct.Struct(">IIIII")
_SUBMIT = struct.Struct(">Iiiii8s")
_UNLINK = struct.Struct(">I24x")
_RESULT = struct.Struct(">iiiii8x")
PATIENCE_S = 20


def place_of(command: str) -> tuple[str, int, str]:
    """Host, port and bus id of a `usbip attach` command."""
    words = shlex.split(command)
    options = dict(pairwise(words))
    assert (words[0], "attach" in words) == ("usbip", True)
    return options["-r"], int(options.get("--tcp-port", "3240")), options["-b"]


class ImportRefused(Exception):
    """The server keeps the device; ``status`` says why."""

    def __init__(self, status: int) -> None:
        super().__init__(IMPORT_ERRORS.get(status, f"status {status}"))
        self.status = status


@dataclass
class Transfer:
    """One transfer: over when ``done`` is set; ``status`` is 0 or a negative error number."""

    number: int
    reads: bool
    done: threading.Event = field(default_factory=threading.Event)
    status: int = 0
    data: bytes = b""
    count: int = 0

    def end(self, status: int) -> None:
        """Ends it without data."""
        self.status = status
        self.done.set()


def exported(host: str, port: int) -> list[str]:
    """The bus ids that a server exports."""
    with socket.create_connection((host, port), PATIENCE_S) as line:
        line.sendall(_OPERATION.pack(_VERSION, 0x8005, 0))
        _expect_operation(line, 0x0005)
        (count,) = struct.unpack(">I", _read(line, 4))
        found = []
        for _ in range(count):
            device = _DEVICE.unpack(_read(line, _DEVICE.size))
            found.append(device[1].rstrip(b"\0").decode())
            _read(line, 4 * device[-1])
        assert line.recv(1) == b"", "a server hangs up once it has told its list"
    return found


class UsbipClient:
    """An imported device. Its transfers are submitted from any thread."""

    def __init__(self, host: str, port: int, bus_id: str = "1-1") -> None:
        self._line = socket.create_connection((host, port), PATIENCE_S)
        # As `usbip attach` has it: a transfer does not wait until the one before was acknowledged.
        self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._line.sendall(
                _OPERATION.pack(_VERSION, 0x8003, 0) + bus_id.encode().ljust(32, b"\0")
            )
            _expect_operation(self._line, 0x0003)
            told = _DEVICE.unpack(_read(self._line, _DEVICE.size))
        except BaseException:
            self._line.close()
            raise
        self.bus, self.address, self.speed = told[2], told[3], told[4]
        self._line.settimeout(None)
        self._lock = threading.Lock()
        self._numbers = 0
        self._waiting: dict[int, Transfer] = {}
        self._unlinks: dict[int, Transfer] = {}
        self.gone = threading.Event()
        self._reader = threading.Thread(target=self._read_on, name="usbip client", daemon=True)
        self._reader.start()

    def submit(self, endpoint: int, transfer: int | bytes, setup: bytes = bytes(8)) -> Transfer:
        """Begins a transfer: a read of at most so many bytes, or a write."""
        reads = isinstance(transfer, int)
        length = transfer if isinstance(transfer, int) else len(transfer)
        started = Transfer(self._next(), reads)
        body = _SUBMIT.pack(0, length, 0, 0, 0, setup)
        with self._lock:
            self._waiting[started.number] = started
        data = transfer if isinstance(transfer, bytes) else b""
        self._send(1, started.number, reads, endpoint & 0x0F, body + data)
        if self.gone.is_set():
            started.end(-ENODEV)
        return started

    def take_back(self, transfer: Transfer) -> None:
        """Ends a transfer; it is done afterwards, by its own answer if that was faster."""
        unlink = Transfer(self._next(), reads=False)
        with self._lock:
            self._unlinks[unlink.number] = unlink
        self._send(2, unlink.number, False, 0, _UNLINK.pack(transfer.number))
        while not unlink.done.wait(1):
            if self.gone.is_set():
                break
        with self._lock:
            self._waiting.pop(transfer.number, None)
        if not transfer.done.is_set():
            transfer.end(-ENODEV if self.gone.is_set() else -ECONNRESET)

    def control(self, setup: bytes, transfer: int | bytes) -> Transfer:
        """A control transfer, from its beginning to its end."""
        started = self.submit(0, transfer, setup)
        assert started.done.wait(PATIENCE_S), "a control transfer is answered at once"
        return started

    def close(self) -> None:
        """Detaches the device; idempotent."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._line.close()

    # --- the connection ------------------------------------------------------------------------

    def _next(self) -> int:
        with self._lock:
            self._numbers += 1
            return self._numbers

    def _send(self, command: int, number: int, reads: bool, endpoint: int, rest: bytes) -> None:
        device = self.bus << 16 | self.address
        try:
            with self._lock:
                self._line.sendall(_HEADER.pack(command, number, device, reads, endpoint) + rest)
        except OSError:
            self.gone.set()

    def _read_on(self) -> None:
        try:
            while True:
                self._take_answer()
        except OSError:
            pass
        self.gone.set()
        with self._lock:
            left = [*self._waiting.values(), *self._unlinks.values()]
            self._waiting.clear()
        for transfer in left:
            transfer.end(-ENODEV)

    def _take_answer(self) -> None:
        command, number, _, _, _ = _HEADER.unpack(_read(self._line, _HEADER.size))
        status, count, _, _, _ = _RESULT.unpack(_read(self._line, _RESULT.size))
        with self._lock:
            asked = (self._waiting if command == 3 else self._unlinks).pop(number, None)
        # An answer to what was taken back would mean that the server breaks the protocol.
        assert asked is not None, f"an answer {command} to {number}, which nobody waits for"
        if command == 3:
            asked.count = count
            asked.data = _read(self._line, count) if asked.reads else b""
        asked.end(status)


def _expect_operation(line: socket.socket, code: int) -> None:
    version, answer, status = _OPERATION.unpack(_read(line, _OPERATION.size))
    assert (version, answer) == (_VERSION, code)
    if status:
        raise ImportRefused(status)


def _read(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = line.recv(count - len(data))
        if not more:
            raise ConnectionResetError("the server hung up")
        data += more
    return data
