"""``python -m firmware_bridge.simulator``: one simulated device as a child process.

When the device can be reached, one line of JSON on standard output says where.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from device_profiles.errors import LinkError, NeuraxisError
from firmware_bridge.clock import RealClock
from firmware_bridge.simulator.families import MACHINES
from firmware_bridge.simulator.faults import describe_faults
from firmware_bridge.simulator.ports import LISTEN_FORMS
from firmware_bridge.simulator.run import Listening, SimulatorOptions, run_simulator

_USAGE, _LINK = 2, 4


def main(arguments: list[str] | None = None) -> int:
    """Runs a simulator to its end; the exit code."""
    options = SimulatorOptions(**vars(_parser().parse_args(arguments)))
    clock = RealClock()
    try:
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
    parser.add_argument(
        "--until-parent-ends",
        action="store_true",
        help="end with standard input, once the output is at zero",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
