"""Device URLs: what is understood, and what the sentence says when it is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.errors import UsageError
from firmware_bridge.clock import VirtualClock, VirtualLoop
from firmware_bridge.links.factory import open_link
from firmware_bridge.links.url import EXAMPLES, DeviceUrl, parse_url, serial_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("serial:///dev/ttyUSB0?baud=9600", {"port": "/dev/ttyUSB0", "baud": 9_600}),
        ("serial:///dev/pts/3", {"port": "/dev/pts/3", "baud": 115_200}),
        ("serial://COM3", {"port": "COM3"}),
        ("serial:///dev/a%20b?serial=NX%201", {"port": "/dev/a b", "serial": "NX 1"}),
        ("usb://1209:0001", {"vendor": 0x1209, "product": 1, "serial": None}),
        ("usb://1A86:55d3?serial=S", {"vendor": 0x1A86, "product": 0x55D3, "serial": "S"}),
        ("tcp://127.0.0.1:7000", {"host": "127.0.0.1", "tcp_port": 7_000}),
        ("tcp://[::1]:7000?serial=S", {"host": "::1", "tcp_port": 7_000, "serial": "S"}),
        ("rfc2217://box:23?baud=57600", {"host": "box", "tcp_port": 23, "baud": 57_600}),
        ("sim://stimulator?seed=1", {"family": "stimulator", "seed": 1, "speed": None}),
        ("sim://pump?speed=3600&serial=P", {"family": "pump", "speed": 3_600, "serial": "P"}),
    ],
)
def test_what_is_understood(text: str, expected: dict[str, object]) -> None:
    url = parse_url(text)
    assert {name: getattr(url, name) for name in expected} == expected
    assert str(url) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/dev/ttyUSB0", "write serial:///dev/ttyUSB0"),
        ("COM3", "write serial://COM3"),
        ("", "write for example serial:///dev/ttyUSB0"),
        ("stimulator", "or sim://stimulator"),
        ("ble://device", "no link has the scheme 'ble'"),
        ("socket://127.0.0.1:7000", "write tcp://127.0.0.1:7000"),
        ("SIM://pump", "no link has the scheme 'SIM'"),
        ("serial://", "names no port"),
        ("serial://dev/ttyUSB0", "three slashes; write serial:///dev/ttyUSB0"),
        ("serial:///dev/ttyUSB0?baud=fast", "baud is 'fast'"),
        ("serial:///dev/ttyUSB0?baud=1", "from 50 to"),
        ("serial:///dev/ttyUSB0?speed=2", "no parameter 'speed'; it takes serial, unsealed, baud"),
        ("usb://1209", "no pair of a vendor and a product"),
        ("usb://1209:1", "four hexadecimal digits"),
        ("tcp://host", "not HOST:PORT"),
        ("tcp://host:0", "from 1 to 65535"),
        ("tcp://host:65536", "from 1 to 65535"),
        ("tcp://host:70/path", "not HOST:PORT"),
        ("tcp://me@host:70", "not HOST:PORT"),
        ("tcp://host:70 ", "space"),
        ("usbip:127.0.0.1:3240", "usbip attach"),
        ("sim://robot", "only stimulator and pump"),
        ("sim://pump?seed=1&seed=1", "'seed' is given twice"),
        ("sim://pump?seed=-1", "seed is '-1'"),
        ("sim://pump?speed=0", "from 1 to"),
        ("sim://pump?serial=", "'serial' is empty"),
        ("sim://pump?seed", "NAME=VALUE"),
        ("sim://pump?serial=%ff", "NAME=VALUE"),
        (f"sim://pump?serial={'S' * 65}", "1 to 64 characters"),
        ("sim://pump?serial=%0a", "invisible character"),
        ("tcp://a..b:7101", "cannot be the name of a machine"),
        (f"rfc2217://{'a' * 70}:7101", "cannot be the name of a machine"),
    ],
)
def test_what_is_refused_names_the_reason_and_an_example(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_url(text)
    sentence = str(caught.value)
    assert reason in sentence
    assert "write " in sentence


@given(st.text(max_size=60), st.sampled_from(["", *(f"{scheme}://" for scheme in EXAMPLES)]))
def test_any_text_is_a_url_or_a_usage_error(text: str, scheme: str) -> None:
    try:
        url = parse_url(scheme + text)
    except UsageError:
        return
    assert url == parse_url(str(url))


@pytest.mark.parametrize("example", EXAMPLES.values())
def test_the_examples_are_urls(example: str) -> None:
    assert isinstance(parse_url(example), DeviceUrl)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tcp://127.0.0.1:7101", "tcp://LOCALHOST:07101?serial=S"),
        ("tcp://127.0.0.1:7101", "tcp://127.1:7101"),
        ("tcp://localhost:7101", "tcp://[::1]:7101?unsealed=yes"),
        ("tcp://10.0.0.7:7101", "tcp://[::ffff:10.0.0.7]:7101"),
        ("rfc2217://Box.lab:23", "rfc2217://box.LAB:23?baud=9600"),
        ("usb://1209:000A", "usb://1209:000a?serial=S"),
        ("serial:///dev/../dev/ttyS9", "serial:///dev/ttyS9?baud=9600"),
    ],
)
def test_one_line_has_one_address_however_it_is_written(one: str, other: str) -> None:
    assert parse_url(one).address == parse_url(other).address


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tcp://127.0.0.1:7101", "tcp://127.0.0.1:7102"),
        ("tcp://10.0.0.7:7101", "tcp://10.0.0.8:7101"),
        ("tcp://box:23", "rfc2217://box:23"),
        ("usb://1209:0001", "usb://1209:0002"),
    ],
)
def test_two_lines_have_two_addresses(one: str, other: str) -> None:
    assert parse_url(one).address != parse_url(other).address


def test_a_port_with_odd_characters_survives() -> None:
    assert parse_url(serial_url("/dev/a b?c")).port == "/dev/a b?c"


def test_real_lines_refuse_virtual_time() -> None:
    loop = VirtualLoop()
    with pytest.raises(UsageError, match="real clock"):
        open_link(parse_url("tcp://127.0.0.1:7000"), VirtualClock(loop))
    loop.close()
