"""``python -m firmware_bridge.simulator``: one simulated device as a child process.

When the device can be reached, one line of JSON on standard output says where.
"""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from device_profiles.errors import LinkError, NeuraxisError
from firmware_bridge.clock import RealClock
from firmware_bridge.key_file import KEY_LINE, key_of_text, read_key
from firmware_bridge.protocol.seal import DeviceKey
from firmware_bridge.simulator.families import MACHINES
from firmware_bridge.simulator.faults import describe_faults
from firmware_bridge.simulator.ports import LISTEN_FORMS
from firmware_bridge.simulator.run import Listening, SimulatorOptions, run_simulator

_USAGE, _LINK = 2, 4


def main(arguments: list[str] | None = None) -> int:
    """Runs a simulator to its end; the exit code."""
    given = vars(_parser().parse_args(arguments))
    file, on_stdin = given.pop("key"), given.pop("key_on_stdin")
    clock = RealClock()
    try:
        key = key_from_stdin() if on_stdin else read_key(file) if file is not None else None
        options = SimulatorOptions(**given, key_of=lambda serial: key)
        asyncio.run(run_simulator(options, clock, _announce))
    except NeuraxisError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return _LINK if isinstance(error, LinkError) else _USAGE
    except KeyboardInterrupt:
        return 0
    finally:
        clock.close()
    return 0


def _announce(listening: Listening) -> None:
    print(json.dumps(listening.as_json()), flush=True)


def key_from_stdin() -> DeviceKey:
    """The key that a parent hands over as the first line of standard input, seen by nobody else.

    Raises UsageError. Not a byte beyond it is read: the rest of the input has another reader.
    """
    line = b""
    while len(line) < KEY_LINE and (piece := os.read(0, KEY_LINE - len(line))):
        line += piece
    return key_of_text(line, "standard input")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m firmware_bridge.simulator",
        description="Simulates one device. A research prototype, not a medical device.",
        epilog=describe_faults(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("family", choices=sorted(MACHINES))
    parser.add_argument("--listen", required=True, metavar="PORT", help=LISTEN_FORMS)
    parser.add_argument("--serial-number", metavar="S")
    parser.add_argument("--state", type=Path, metavar="FILE", help="memory that survives")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="what physically happened")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--speed", type=int, default=1, metavar="X", help="of therapy time")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="what goes wrong, and when")
    parser.add_argument("--error-ppm", type=int, default=0, metavar="N", help="a pump's accuracy")
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--key", type=Path, metavar="FILE", help="its key; without: unsealed")
    key.add_argument("--key-on-stdin", action="store_true", help="its key comes from the parent")
    parser.add_argument(
        "--until-parent-ends",
        action="store_true",
        help="end with standard input, once the output is at zero",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
