"""(e) How many days of a simulated pump pass in a second of the virtual clock."""

from pathlib import Path
from time import perf_counter_ns

from benchmarks.device import complain, scratch_folder
from benchmarks.examples import INFUSION
from benchmarks.harness import Row, percentile
from device_profiles.quantities import Milliseconds
from firmware_bridge.clock import VirtualClock, run_virtual
...
