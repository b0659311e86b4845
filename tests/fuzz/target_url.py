"""Device URLs: a text is refused with an example to write, or it is a URL of one device."""

from collections.abc import Iterator

from device_profiles.errors import UsageError
from firmware_bridge.links.url import EXAMPLES, SIMULATED, parse_url, serial_url

from .target import Target, expect

_PORTS = 65_535


def check(data: bytes) -> None:
    """What is accepted is in range, says so again, and has an address."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        url = parse_url(text)
    except UsageError as error:
        words = str(error)
        expect("://" in words, "a URL was refused without an example to write")
        expect(len(words) < 32 * len(text) + 1_000, "a refusal is much longer than its URL")
        return
    expect(str(url) == text and parse_url(str(url)) == url, "a URL is not its own text")
    expect(bool(url.address), "a URL has no address")
    expect(url.serial != "", "a serial number is empty")
    match url.scheme:
        case "serial":
            expect(bool(url.port) and 50 <= url.baud <= 12_000_000, "a port is out of range")
            again = parse_url(serial_url(url.port))
            expect(again.port == url.port, "a port is another one when it is written as a URL")
        case "tcp" | "rfc2217":
            expect(bool(url.host) and 0 < url.tcp_port <= _PORTS, "a host is out of range")
        case "usb":
            expect(0 <= url.vendor <= 0xFFFF and 0 <= url.product <= 0xFFFF, "ids out of range")
        case "sim":
            expect(url.family in SIMULATED, "a simulator of an unknown family")
            expect(url.speed is None or 1 <= url.speed <= 1_000_000, "a speed is out of range")


def seeds() -> Iterator[bytes]:
    """The examples, and each parameter once."""
    for example in EXAMPLES.values():
        yield example.encode()
    for text in (
        "serial://COM3?baud=9600&serial=ITP-0001",
        "serial:///dev/serial/by-id/usb-%C3%BC?serial=S",
        "tcp://[::1]:7000?serial=SCS-0001",
        "rfc2217://host.example:65535?baud=50",
        "sim://pump?seed=4294967295&speed=1000000&serial=a%20b",
        "/dev/ttyUSB0",
        "com3",
    ):
        yield text.encode()


TARGET = Target(
    name="url",
    check=check,
    seeds=seeds,
    tokens=(
        *(f"{scheme}://".encode() for scheme in EXAMPLES),
        *(b"baud=", b"serial=", b"seed=", b"speed=", b"?", b"&", b"%00", b"%2F", b"[::1]", b"@"),
        *(b"#", b"pump", b"stimulator", b":7000", b"//", b"%", "\u0661".encode(), b"COM3"),
    ),
    max_len=512,
    runs=3_000_000,
    short=3_000,
    rate=30_000,
)
