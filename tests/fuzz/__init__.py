"""Fuzzing: everything that reads bytes of others, under a coverage-guided fuzzer.

`python -m tests.fuzz` runs the targets (`target_*.py`); `test_fuzz.py` is their short form.
"""

import sys
from pathlib import Path

# The benches of the other tests, from which the seeds are built.
for _folder in ("", "safety", "simulator"):
    sys.path.append(str(Path(__file__).parents[1] / _folder))
