"""Device URLs: which line leads to the device, and which device must answer on it."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from socket import inet_aton
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from device_profiles.errors import UsageError
from device_profiles.serial_number import check_serial_number

Scheme = Literal["serial", "usb", "tcp", "rfc2217", "sim"]

DEFAULT_BAUD = 115_200
USB_VENDOR = 0x1209
USB_PRODUCT = 0x0001

EXAMPLES: dict[Scheme, str] = {
    "serial": "serial:///dev/ttyUSB0?baud=115200",
    "usb": "usb://1209:0001",
    "tcp": "tcp://127.0.0.1:7000",
    "rfc2217": "rfc2217://127.0.0.1:7000",
    "sim": "sim://stimulator?seed=1",
}
SIMULATED = ("stimulator", "pump")


@dataclass(frozen=True, slots=True)
class DeviceUrl:
    """A device URL, parsed.

    ``port`` is a serial port's path or name; ``host`` and ``tcp_port`` belong to ``tcp`` and
    ``rfc2217``; ``vendor`` and ``product`` to ``usb``; ``family`` (``stimulator`` or ``pump``),
    ``seed`` and ``speed`` to ``sim``. Fields of other schemes keep their defaults. ``serial`` is
    the serial number of the device that must answer; ``None`` takes any. ``unsealed``: a person
    has asked for a conversation that nothing authenticates.
    """

    text: str
    scheme: Scheme
    serial: str | None = None
    port: str = ""
    baud: int = DEFAULT_BAUD
    host: str = ""
    tcp_port: int = 0
    vendor: int = USB_VENDOR
    product: int = USB_PRODUCT
    family: str = ""
    seed: int | None = None
    speed: int | None = None
    unsealed: bool = False

    @property
    def address(self) -> str:
        """What two URLs of the same line have in common, however they are written.

        Boards of one make share that of USB: only their serial numbers tell them apart.
        """
        match self.scheme:
            case "serial":
                return f"serial:{os.path.realpath(self.port)}"
            case "usb":
                return f"usb://{self.vendor:04x}:{self.product:04x}"
            case "tcp" | "rfc2217":
                return f"{self.scheme}://{_machine(self.host)}:{self.tcp_port}"
            case "sim":
                return f"sim://{self.family}"

    def __str__(self) -> str:
        """The URL as it was written."""
        return self.text


def parse_url(text: str) -> DeviceUrl:
    """The URL in ``text``; raises UsageError with what is wrong and an example to write."""
    name, separator, rest = text.partition("://")
    if not separator:
        raise UsageError(_no_scheme(text))
    scheme = next((known for known in EXAMPLES if known == name), None)
    if name == "socket":  # pyserial's own word for it
        raise _wrong(text, "a line behind TCP has the scheme 'tcp' here", f"tcp://{rest}")
    if scheme is None:
        raise _wrong(text, f"no link has the scheme {name!r}", *EXAMPLES.values())
    if any(character.isspace() or not character.isprintable() for character in text):
        raise _wrong(text, "it holds a space or an invisible character", EXAMPLES[scheme])
    address, _, query = rest.partition("?")
    parameters = _parameters(text, scheme, query, has_query="?" in rest)
    serial = parameters.pop("serial", None)
    unsealed = parameters.pop("unsealed", "no")
    if unsealed not in ("yes", "no"):
        raise _wrong(text, f"unsealed is {unsealed!r}, not yes or no", EXAMPLES[scheme])
    parsed = _PARSERS[scheme](text, address, serial, parameters)
    return replace(parsed, unsealed=unsealed == "yes")


def serial_url(port: str) -> str:
    """The URL of a serial port's path or name."""
    return f"serial://{quote(port, safe='/:')}"


# --- one parser a scheme -----------------------------------------------------------------------


def _parse_serial(
    text: str, address: str, serial: str | None, parameters: dict[str, str]
) -> DeviceUrl:
    port = unquote(address)
    if not port or port == "/":
        raise _wrong(text, "it names no port", EXAMPLES["serial"], "serial://COM3")
    if not port.isprintable():
        raise _wrong(text, "its path holds an invisible character", EXAMPLES["serial"])
    if "/" in port and not port.startswith("/"):
        raise _wrong(
            text,
            f"the path {port!r} is not absolute: a path needs three slashes",
            serial_url(f"/{port}"),
        )
    baud = _integer(text, "serial", "baud", parameters, 50, 12_000_000)
    return DeviceUrl(text, "serial", serial, port=port, baud=baud or DEFAULT_BAUD)


def _parse_usb(
    text: str, address: str, serial: str | None, parameters: dict[str, str]
) -> DeviceUrl:
    found = re.fullmatch(r"([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})", address, re.ASCII)
    if found is None:
        raise _wrong(
            text,
            f"{address!r} is no pair of a vendor and a product, four hexadecimal digits each",
            EXAMPLES["usb"],
        )
    vendor, product = (int(digits, 16) for digits in found.groups())
    return DeviceUrl(text, "usb", serial, vendor=vendor, product=product)


def _parse_tcp(
    text: str, address: str, serial: str | None, parameters: dict[str, str]
) -> DeviceUrl:
    host, port = _host_and_port(text, "tcp", address)
    return DeviceUrl(text, "tcp", serial, host=host, tcp_port=port)


def _parse_rfc2217(
    text: str, address: str, serial: str | None, parameters: dict[str, str]
) -> DeviceUrl:
    host, port = _host_and_port(text, "rfc2217", address)
    baud = _integer(text, "rfc2217", "baud", parameters, 50, 12_000_000)
    return DeviceUrl(text, "rfc2217", serial, host=host, tcp_port=port, baud=baud or DEFAULT_BAUD)


def _parse_sim(
    text: str, address: str, serial: str | None, parameters: dict[str, str]
) -> DeviceUrl:
    if address not in SIMULATED:
        raise _wrong(
            text,
            f"the simulator has no device {address!r}, only stimulator and pump",
            EXAMPLES["sim"],
            "sim://pump",
        )
    seed = _integer(text, "sim", "seed", parameters, 0, 0xFFFF_FFFF)
    speed = _integer(text, "sim", "speed", parameters, 1, 1_000_000)
    return DeviceUrl(text, "sim", serial, family=address, seed=seed, speed=speed)


_PARSERS: dict[Scheme, Callable[[str, str, str | None, dict[str, str]], DeviceUrl]] = {
    "serial": _parse_serial,
    "usb": _parse_usb,
    "tcp": _parse_tcp,
    "rfc2217": _parse_rfc2217,
    "sim": _parse_sim,
}

_ALLOWED: dict[Scheme, tuple[str, ...]] = {
    "serial": ("serial", "unsealed", "baud"),
    "usb": ("serial", "unsealed"),
    "tcp": ("serial", "unsealed"),
    "rfc2217": ("serial", "unsealed", "baud"),
    "sim": ("serial", "seed", "speed"),
}


# --- pieces ------------------------------------------------------------------------------------


def _parameters(text: str, scheme: Scheme, query: str, *, has_query: bool) -> dict[str, str]:
    example = EXAMPLES[scheme]
    if not has_query:
        return {}
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, strict_parsing=True, encoding="utf-8", errors="strict"
        )
    except ValueError:
        raise _wrong(text, "what follows the ? is not NAME=VALUE&NAME=VALUE", example) from None
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name not in _ALLOWED[scheme]:
            known = ", ".join(_ALLOWED[scheme])
            raise _wrong(text, f"{scheme}:// has no parameter {name!r}; it takes {known}", example)
        if name in parameters:
            raise _wrong(text, f"the parameter {name!r} is given twice", example)
        if not value:
            raise _wrong(text, f"the parameter {name!r} is empty", example)
        parameters[name] = value
    try:
        check_serial_number(parameters.get("serial", "any"))
    except UsageError as error:
        raise _wrong(text, str(error), example) from None
    return parameters


def _integer(
    text: str, scheme: Scheme, name: str, parameters: dict[str, str], low: int, high: int
) -> int | None:
    value = parameters.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", value, re.ASCII) or not low <= int(value) <= high:
        raise _wrong(
            text,
            f"{name} is {value!r}, not a whole number from {low} to {high}",
            EXAMPLES[scheme],
        )
    return int(value)


def _host_and_port(text: str, scheme: Scheme, address: str) -> tuple[str, int]:
    example = EXAMPLES[scheme]
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or not port or parts.path or parts.fragment or "@" in address:
        raise _wrong(text, f"{address!r} is not HOST:PORT, with a port from 1 to 65535", example)
    if not can_be_host(host):
        raise _wrong(text, f"{host!r} cannot be the name of a machine", example)
    return host, port


def can_be_host(name: str) -> bool:
    """Whether a name can be asked for at all; the resolver would raise what is no OSError."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True


def _machine(host: str) -> str:
    """One spelling of a machine, as far as that is known without asking the network."""
    try:
        number = ip_address(host)
    except ValueError:
        try:
            number = ip_address(inet_aton(host))  # 127.1 is a number too
        except OSError:
            return host.lower()
    if isinstance(number, IPv6Address) and number.ipv4_mapped is not None:
        number = number.ipv4_mapped
    return "localhost" if number.is_loopback or number.is_unspecified else str(number)


def _no_scheme(text: str) -> str:
    if (text.startswith("/dev/") and text.isprintable()) or re.fullmatch(
        r"COM[0-9]+", text, re.IGNORECASE | re.ASCII
    ):
        port = text if text.startswith("/") else text.upper()
        return f"{text!r} is a port, not a device URL: write {serial_url(port)}"
    if text.startswith("usbip:"):
        return (
            f"{text!r} is where a simulator listens, not a device URL: `usbip attach` makes a "
            f"USB device of it: write {EXAMPLES['usb']}"
        )
    return f"{text!r} is no device URL: write for example {' or '.join(EXAMPLES.values())}"


def _wrong(text: str, reason: str, *examples: str) -> UsageError:
    return UsageError(f"{text!r} is no device URL: {reason}; write {' or '.join(examples)}")
