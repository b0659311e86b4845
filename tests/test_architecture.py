"""Promises that no type and no import contract can keep, read off the source itself.

Each search is a function from a file to its violations. It finds none in the project, and it
finds the one that is planted for it.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from traceability import read_register

ROOT = Path(__file__).parent.parent
FLOORS = ("device_profiles", "safety", "firmware_bridge", "hil")

Search = Callable[[str, str], list[str]]
"""From a path below the root and its source to what is wrong with it."""

REQUIREMENTS = set(read_register().requirements)
"""The requirements of the project, as `docs/requirements.yaml` lists them."""
FILE_RULES = {f"FILE-{number:02}" for number in range(1, 10)}


def sources(*folders: str) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


def violations(search: Search, *folders: str) -> list[str]:
    return [found for path, text in sources(*folders) for found in search(path, text)]


# --- only the exchange writes to a link (SR-10) ---------------------------------------------------

WRITERS = ("firmware_bridge/links/", "firmware_bridge/simulator/")
EXCHANGE = "firmware_bridge/exchange.py"
PORTS = re.compile(r"link|port|serial|usb|device|transport|endpoint|socket|sock", re.IGNORECASE)


def writes_to_a_link(path: str, text: str) -> list[str]:
    """Calls of ``write`` (or its kin) on what is, by its name or its type, a link or a port."""
    if path.startswith(WRITERS):
        return []
    tree = ast.parse(text)
    links = _names_of_type(tree, "Link")
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr not in ("write", "writelines", "send", "sendall", "sendto"):
            continue
        receiver = ast.unparse(node.func.value)
        last = receiver.rsplit(".", 1)[-1].partition("(")[0]
        if PORTS.search(last) or last in links:
            found.append(f"{path}:{node.lineno}: {receiver}.{node.func.attr}()")
    if path == EXCHANGE:
        return [one for one in found if "self._link.write()" not in one]
    return found


def _names_of_type(tree: ast.AST, name: str) -> set[str]:
    """Parameters and variables that are annotated with a type, and what they are copied to."""
    typed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            if not re.search(rf"\b{name}\b", ast.unparse(node.annotation)):
                continue
            target = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
            typed.add(target.rsplit(".", 1)[-1])
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Name)
            and node.value.id in typed
        ):
            typed |= {ast.unparse(target).rsplit(".", 1)[-1] for target in node.targets}
    return typed


@pytest.mark.requirement("SR-10")
@pytest.mark.fault("F93")
def test_only_the_session_writes_to_a_link() -> None:
    assert violations(writes_to_a_link, *FLOORS) == []


@pytest.mark.requirement("SR-10")
@pytest.mark.fault("F53")
def test_the_session_writes_therapy_at_one_place() -> None:
    text = (ROOT / EXCHANGE).read_text("utf-8")
    assert text.count("self._link.write(") == 1


@pytest.mark.parametrize(
    "planted",
    [
        "def f(link):\n    link.write(b'')",
        "class A:\n    def f(self):\n        self.session._link.write(b'')",
        "def f(x: Link):\n    x.write(b'')",
        "class A:\n    def __init__(self, wire: Link):\n        self._wire = wire\n"
        "    def f(self):\n        self._wire.write(b'')",
        "import serial\nserial.Serial('COM3').write(b'')",
        "def f(port):\n    port.write(b'')",
        "def f(device):\n    device.write(1, b'')",
        "def f(sock):\n    sock.sendall(b'')",
    ],
)
@pytest.mark.parametrize("path", ["hil/owner.py", "firmware_bridge/controller.py"])
def test_a_planted_write_is_found(planted: str, path: str) -> None:
    assert writes_to_a_link(path, planted)


def test_a_second_way_out_of_the_session_is_found() -> None:
    planted = "class Exchange:\n    def f(self):\n        self._link.send(b'')"
    assert writes_to_a_link(EXCHANGE, planted)


# --- only the gate makes a Clearance, only the journal a Receipt (SR-10) -------------------------


def makes(name: str, maker: str) -> Search:
    """Calls that make an object of a class, outside the one file that may."""

    def search(path: str, text: str) -> list[str]:
        if path == maker:
            return []
        tree = ast.parse(text)
        known = {name}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                known |= {one.asname for one in node.names if one.name == name and one.asname}
            if isinstance(node, ast.Assign) and _last_name(node.value) in known:
                known |= {ast.unparse(target) for target in node.targets}
        found = []
        for node in ast.walk(tree):
            made = isinstance(node, ast.Call) and (
                _last_name(node.func) in known
                or (
                    any(_last_name(one) in known for one in node.args)
                    and _last_name(node.func) in ("__new__", "partial", "map", "copy", "deepcopy")
                )
            )
            derived = isinstance(node, ast.ClassDef) and any(
                _last_name(base) in known for base in node.bases
            )
            if made or derived:
                assert isinstance(node, ast.Call | ast.ClassDef)
                found.append(f"{path}:{node.lineno}: makes a {name}")
        return found

    return search


def _last_name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


MAKERS = [("Clearance", "safety/gate.py"), ("Receipt", "safety/journal.py")]


@pytest.mark.requirement("SR-10")
@pytest.mark.fault("F93")
@pytest.mark.parametrize(("name", "maker"), MAKERS)
def test_each_key_is_made_at_one_place(name: str, maker: str) -> None:
    assert violations(makes(name, maker), *FLOORS, "examples", "benchmarks") == []
    own = makes(name, "nowhere")(maker, (ROOT / maker).read_text("utf-8"))
    assert len(own) == 1, own


@pytest.mark.parametrize(("name", "maker"), MAKERS)
@pytest.mark.parametrize(
    "planted",
    [
        "{0}(1)",
        "import safety\nsafety.module.{0}(1)",
        "from safety.module import {0} as Harmless\nHarmless(1)",
        "object.__new__({0})",
        "Alias = {0}\nAlias(1)",
        "class Mine({0}):\n    pass",
        "list(map({0}, receipts))",
    ],
)
def test_a_planted_key_is_found(name: str, maker: str, planted: str) -> None:
    search = makes(name, maker)
    assert search("firmware_bridge/session.py", planted.format(name))
    assert search(maker, planted.format(name)) == []


# --- no float in a judgement (SR-02) -------------------------------------------------------------

DISPLAY = {
    ("safety/charge.py", "ChargeReport"),
    ("safety/charge.py", "charge_report"),
    ("safety/review.py", "_days"),
}
"""What shows numbers to people; nothing that judges uses them."""
FLOAT_MODULES = {"math", "cmath", "decimal", "statistics", "numpy"}
EXACT = {"ceil", "floor", "gcd", "isqrt"}
"""Of integers and fractions these make integers."""


def floats(path: str, text: str) -> list[str]:
    """Float literals, conversions, annotations, true divisions and their modules."""
    found: list[str] = []

    def look(node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (path, node.name) in DISPLAY:
            return
        what = None
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            what = f"the literal {node.value}"
        elif isinstance(node, ast.Name) and node.id in ("float", "complex", "round", "pow"):
            what = node.id
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            what = "a true division"
        elif isinstance(node, ast.Attribute) and _last_name(node.value) in FLOAT_MODULES:
            what = f"{ast.unparse(node)}"
        elif isinstance(node, ast.Attribute) and node.attr == "truediv":
            what = "a true division"
        elif (
            isinstance(node, ast.ImportFrom)
            and node.module in FLOAT_MODULES
            and not {one.name for one in node.names} <= EXACT
        ):
            what = f"an import from {node.module}"
        if what is not None:
            found.append(f"{path}:{getattr(node, 'lineno', 0)}: {what}")
        for child in ast.iter_child_nodes(node):
            look(child)

    look(ast.parse(text))
    return found


@pytest.mark.requirement("SR-02")
def test_no_judgement_holds_a_float() -> None:
    assert violations(floats, "safety") == []


def test_each_display_helper_exists_and_no_rule_asks_it_for_a_number() -> None:
    for path, name in DISPLAY:
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        assert any(getattr(node, "name", None) == name for node in ast.walk(tree)), name
    users = {
        path
        for path, text in sources("safety", "device_profiles")
        if re.search(r"\b(charge_report|shannon_k|density_uC_per_cm2)\b", text)
    }
    assert users <= {
        "safety/charge.py",
        "safety/review.py",
        "safety/rules_stimulation.py",  # in the words of a finding
        "device_profiles/profile_file.py",
    }, users
    rules = ast.parse((ROOT / "safety/rules_stimulation.py").read_text("utf-8"))
    for node in ast.walk(rules):
        if isinstance(node, ast.Compare):
            compared = ast.unparse(node)
            assert "report." not in compared, compared


@pytest.mark.parametrize(
    "planted",
    [
        "limit = 0.1",
        "limit = 1e3",
        "half = total / 2",
        "total /= 2",
        "limit = float(text)",
        "def f(dose: float) -> int: ...",
        "import math\nroot = math.sqrt(2)",
        "from math import sqrt",
        "dose = round(one)",
        "import operator\noperator.truediv(1, 2)",
    ],
)
def test_a_planted_float_is_found(planted: str) -> None:
    assert floats("safety/rules_infusion.py", planted)
    inside = "\n".join(f"    {line}" for line in planted.splitlines())
    assert floats("safety/charge.py", f"def other():\n{inside}")
    assert floats("safety/charge.py", f"def charge_report():\n{inside}") == []


# --- safety reads no clock (design §1) -----------------------------------------------------------

CLOCK_MODULES = {"time", "datetime", "random", "secrets", "uuid", "sched", "threading"}
CLOCK_CALLS = {"monotonic", "monotonic_ns", "time_ns", "perf_counter", "now", "utcnow", "today"}


def reads_a_clock(path: str, text: str) -> list[str]:
    """Imports and calls that would tell the time, or roll dice."""
    found = []
    for node in ast.walk(ast.parse(text)):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            if module.partition(".")[0] in CLOCK_MODULES:
                found.append(f"{path}: imports {module}")
            if module.startswith("asyncio") and path != "safety/gate.py":
                found.append(f"{path}: imports {module}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = node.func.attr
            stat = called == "stat" or called.startswith("st_")
            if called in CLOCK_CALLS or called == "sleep" or stat:
                found.append(f"{path}:{node.lineno}: calls {ast.unparse(node.func)}")
            if called == "time" and _last_name(node.func.value) != "event":
                found.append(f"{path}:{node.lineno}: calls {ast.unparse(node.func)}")
    return found


def test_the_judge_reads_no_clock() -> None:
    assert violations(reads_a_clock, "safety") == []


@pytest.mark.parametrize(
    "planted",
    [
        "import time",
        "from time import monotonic as m",
        "from datetime import datetime",
        "import asyncio",
        "def f(loop):\n    return loop.time()",
        "def f(clock):\n    return clock.monotonic_ns()",
        "import os\nos.stat('x').st_mtime",
        "import random",
    ],
)
def test_a_planted_clock_is_found(planted: str) -> None:
    assert reads_a_clock("safety/kernel.py", planted)


# --- every rule that is named is a requirement ---------------------------------------------------

RULE = re.compile(r"\b(?:SR|FILE)-\w+")


def unknown_rules(path: str, text: str) -> list[str]:
    """Rule ids, in code, docstrings and comments, that no requirement has."""
    return [
        f"{path}: {rule}"
        for rule in RULE.findall(text)
        if rule not in REQUIREMENTS and rule not in FILE_RULES and not rule.endswith("-nn")
    ]


def test_every_rule_that_a_floor_names_is_a_requirement() -> None:
    assert violations(unknown_rules, *FLOORS) == []


def test_every_rule_of_a_finding_is_written_as_a_literal_or_handed_on() -> None:
    computed = []
    for path, text in sources("safety", "device_profiles"):
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call) or _last_name(node.func) != "Finding":
                continue
            rule = node.args[0] if node.args else None
            for keyword in node.keywords:
                if keyword.arg == "rule":
                    rule = keyword.value
            if isinstance(rule, ast.JoinedStr | ast.BinOp) or rule is None:
                computed.append(f"{path}:{node.lineno}")
    assert computed == []


@pytest.mark.parametrize("planted", ["SR-28", "SR-64", "SR-1", "SR-001", "FILE-10", "SR-XX"])
def test_a_planted_rule_is_found(planted: str) -> None:
    assert unknown_rules("safety/x.py", f'Finding("{planted}", "hard", "bolus", "no")')
    assert unknown_rules("safety/x.py", 'Finding("SR-14", "hard", "bolus", "no")') == []


def test_every_test_that_names_a_requirement_names_a_living_one() -> None:
    named = re.compile(r'requirement\(\s*"([^"]*)"')
    dead = [
        f"{path}: {one}"
        for path, text in sources("tests")
        for one in named.findall(text)
        if one not in REQUIREMENTS and path != "tests/test_architecture.py"
    ]
    assert dead == []
