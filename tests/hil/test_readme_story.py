"""The README's story of doubt and survival, played line by line on a simulated pump."""

import re
import shlex
from pathlib import Path

import pytest
from cli_bench import apply, cli, digest_of, journal_of, simulator

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "examples" / "baclofen.yaml"
README = (ROOT / "README.md").read_text("utf-8")
SERIAL = "ITP-0031"


def block(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```console\n(.*?)```", README, re.S)
    assert found is not None
    return found[1]


def faults() -> list[str]:
    after = README[README.index("`doubt.yaml` makes") :]
    lines = after[after.index("```yaml") :].splitlines()[1:5]
    return [line.removeprefix("- {").removesuffix("}") for line in lines]


def steps(name: str) -> list[tuple[str, list[str]]]:
    """Each command of a block with the lines that it is to say."""
    told: list[tuple[str, list[str]]] = []
    for line in block(name).splitlines():
        if line.startswith("$ "):
            told.append((line.removeprefix("$ "), []))
        else:
            told[-1][1].append(line)
    return told


def says(output: str, line: str) -> bool:
    """Whether some line of an output is this one; an ellipsis stands for anything."""
    pattern = ".*".join(map(re.escape, " ".join(line.split()).split("…")))
    flat = [" ".join(one.split()) for one in output.splitlines()]
    return any(re.fullmatch(f"{pattern}.*", one) for one in flat)


def play(name: str, url: str) -> list[int]:
    """Plays a block on a device; the commands' exit codes."""
    codes = []
    for command, lines in steps(name):
        program, *words = shlex.split(command)
        journal = journal_of(SERIAL)
        if program == "truncate":
            with journal.open("r+b") as file:
                file.truncate(journal.stat().st_size + int(words[0].partition("=")[2]))
            continue
        named = {
            "serial:///tmp/baclofen": url,
            "ITP-0031.journal": str(journal),
            "examples/baclofen.yaml": str(FILE),
            "DIGEST": digest_of(FILE, url) if "DIGEST" in words else "",
        }
        answer = cli(*(named.get(word, word) for word in words))
        missing = [line for line in lines if not says(answer.out + answer.err, line)]
        assert missing == [], answer.out + answer.err
        codes.append(answer.code)
    return codes


@pytest.mark.real_clock
@pytest.mark.requirement("SR-21")
@pytest.mark.requirement("SR-62")
@pytest.mark.fault("F30")
@pytest.mark.fault("F73")
def test_the_story_that_the_readme_tells_is_what_happens(tmp_path: Path) -> None:
    with simulator(tmp_path, "pump", *faults(), serial=SERIAL) as device:
        assert apply(FILE, device.url).code == 0
        assert play("doubt", device.url) == [6, 3, 0]
    with simulator(tmp_path, "pump", serial=SERIAL) as device:
        # Its power was off for a moment, so that no bolus runs: a program may change again.
        assert play("survival", device.url) == [3, 0, 0, 0]
