"""Methods of proof: each hunts for what the judge must never do, in a way of its own."""

import sys
from pathlib import Path

# The benches and the oracle of the judge's own tests serve the proofs too.
sys.path.append(str(Path(__file__).parents[1] / "safety"))
