"""Symbolic execution of the pure predicates: crosshair looks for inputs that break a contract.

A search, not a verification: "confirmed" means that crosshair walked every path and z3 found no
counter-example on any; what it could not walk in its time is reported as not confirmed.
"""

import ast
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from .evidence import Effort, Evidence, Planted

ROOT = Path(__file__).parents[2]
CONTRACTS = Path(__file__).with_name("contracts.py")
MODULE = "tests.proof.contracts"
PROCESSOR_SECONDS = {"quick": 4, "full": 15}
"""For one contract, in processor time, so that a busy machine changes no answer."""
WALL_SECONDS = 600
"""Only so that a hung crosshair ends at all."""
LINE = re.compile(r"^(?P<file>.+?):(?P<line>\d+): (?P<kind>error|info|warning): (?P<text>.*)$")

CALL = re.compile(r"when calling (\w+)\(")


@dataclass(frozen=True, slots=True)
class Contract:
    """A function of contracts.py and the lines that it covers."""

    name: str
    about: str
    lines: range

    @property
    def is_twin(self) -> bool:
        """Whether it holds a planted bug."""
        return self.name.startswith("twin_")


def contracts(effort: Effort) -> list[Contract]:
    """The contracts to try, in the order of the file."""
    tree = ast.parse(CONTRACTS.read_text("utf-8"))
    return [
        Contract(
            node.name, ast.get_docstring(node) or "", range(node.lineno, (node.end_lineno or 0) + 1)
        )
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and (effort == "full" or not node.name.startswith("long_"))
    ]


def answers(tried: list[Contract], effort: Effort) -> tuple[dict[str, str], str]:
    """What crosshair says of each contract by name, and what it complained about, if it did."""
    command = [
        sys.executable,
        "-m",
        "crosshair",
        "check",
        "--analysis_kind=asserts",
        "--report_all",
    ]
    command.append(f"--per_condition_timeout={PROCESSOR_SECONDS[effort]}")
    command += [f"{MODULE}.{contract.name}" for contract in tried]
    # Hash seeds would change the order of its search from run to run.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    try:
        run = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}, f"it did not end within {WALL_SECONDS} s"
    told: dict[str, str] = {}
    for line in run.stdout.splitlines():
        parts = LINE.match(line)
        if parts is None:
            continue
        called = CALL.search(parts["text"])
        number = int(parts["line"]) if parts["file"].endswith(CONTRACTS.name) else -1
        for contract in tried:
            # What is raised in shipped code is told with its own place, and with the call.
            if contract.name == called[1] if called else number in contract.lines:
                told[contract.name] = f"{parts['kind']}: {parts['text']}"
    complaint = run.stderr.strip().splitlines()[-1:] if run.returncode not in (0, 1) else []
    return told, "".join(complaint)


def prove(effort: Effort) -> Evidence:
    """No contract is broken, and every twin's is."""
    begun = perf_counter()
    tried = contracts(effort)
    told, complaint = answers(tried, effort)
    real = [contract for contract in tried if not contract.is_twin]
    violations = [f"crosshair failed: {complaint}"] if complaint else []
    for contract in real:
        answer = told.get(contract.name)
        if answer is None:
            violations.append(f"{contract.name}: crosshair said nothing of it")
        elif answer.startswith("error"):
            violations.append(f"{contract.name}: {answer}")
    confirmed = [one for one in real if "Confirmed" in told.get(one.name, "")]
    open_ones = [one.name for one in real if one not in confirmed]
    planted = []
    for twin in tried:
        if twin.is_twin:
            answer = told.get(twin.name, "nothing")
            found = answer.startswith("error")
            planted.append(
                Planted(twin.about, found, answer.partition("when calling ")[2] or answer)
            )
    return Evidence(
        method="symbolic execution (crosshair)",
        covered=(
            f"{len(real)} contracts of shipped functions: {len(confirmed)} confirmed over all "
            f"paths, {len(open_ones)} not confirmed within {PROCESSOR_SECONDS[effort]} s each"
            + (f" ({', '.join(open_ones)})" if open_ones else "")
        ),
        violations=tuple(violations),
        planted=tuple(planted),
        not_shown=(
            "the rules that return findings, anything with a clock or a file; Shannon's k, whose "
            "200th powers are beyond z3 and are tried at their borders by the solver's method"
        ),
        seconds=perf_counter() - begun,
    )
