"""YAML to placed text: refusals of design §5, places, and a reader that nothing crashes."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.document import DEEPEST_NESTING, Document, parse_document, read_document
from device_profiles.placed import Keys, Text, location_of, node_at, place_at, without


def parsed(text: str | bytes) -> Document:
    return parse_document("file.yaml", text if isinstance(text, bytes) else text.encode())


def rules(document: Document) -> list[tuple[str, int, int]]:
    return [(finding.rule, finding.line, finding.column) for finding in document.findings]


def test_every_scalar_stays_the_text_that_was_written() -> None:
    root = parsed("a: no\nb: 010\nc: 1e3\nd: ~\ne: true\nf: 2026-11-02T09:30+01:00\n").root
    assert isinstance(root, Keys)
    assert [entry.value for entry in root.entries if isinstance(entry.value, Text)] == [
        entry.value for entry in root.entries
    ]
    texts = [entry.value.value for entry in root.entries if isinstance(entry.value, Text)]
    assert texts == ["no", "010", "1e3", "~", "true", "2026-11-02T09:30+01:00"]


def test_a_value_knows_its_path_line_and_column() -> None:
    root = parsed("# head\nprograms:\n  - areas:\n      - {amplitude: 4.2 mA}\n").root
    assert root is not None
    place = place_at(root, ("programs", 0, "areas", 0, "amplitude"))
    assert place == ("programs[0].areas[0].amplitude", 4, 21)


def test_an_empty_value_is_placed_at_its_key_and_not_at_what_follows() -> None:
    root = parsed("a:\n\n\nb: 1\n").root
    assert root is not None
    assert place_at(root, ("a",)) == ("a", 1, 1)


def test_a_missing_key_is_placed_at_its_parent_under_its_own_path() -> None:
    root = parsed("fill:\n  volume: 18 mL\nlist:\n  - x: 1\n").root
    assert root is not None
    assert place_at(root, ("fill", "at")) == ("fill.at", 1, 1)
    assert place_at(root, ("list", 0, "y")) == ("list[0].y", 4, 5)
    assert place_at(root, ("nothing", 2, "x")) == ("nothing[2].x", 1, 1)


def test_what_is_left_after_pruning_keeps_the_place_it_had_in_the_file() -> None:
    root = parsed("list:\n  - a: 1\n  - a: 2\n").root
    assert root is not None
    left = without(root, {("list", 0)})
    assert place_at(left, ("list", 0, "a")) == ("list[1].a", 3, 8)


@given(st.lists(st.text(min_size=1, max_size=12).filter(str.isprintable), min_size=1, max_size=4))
def test_a_path_of_any_keys_leads_back_to_its_node(keys: list[str]) -> None:
    place = place_at(Keys((), parsed("a: 1").root.place), tuple(keys))  # type: ignore[union-attr]
    assert location_of(place.path) == tuple(keys)


@pytest.mark.fault("F21")
@pytest.mark.fault("F25")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", [("FILE-01", 1, 1)]),
        (b"# only a comment\n", [("FILE-01", 1, 1)]),
        (b"\xef\xbb\xbfa: 1\n", [("FILE-01", 1, 1)]),
        (b"\xff\xfea\x00", [("FILE-01", 1, 1)]),
        (b"a: 1\nb: \xe9\n", [("FILE-01", 2, 4)]),
        (b"a: 1\nb:\t2\n\tc\n", [("FILE-02", 2, 3), ("FILE-02", 3, 1)]),
        (b"a: \x00\n", [("FILE-02", 1, 4)]),
        (b"a: \x1b[31m\n", [("FILE-02", 1, 4)]),
        ("a: 4.2\u202emA\n".encode(), [("FILE-02", 1, 7)]),
        (b"a: 'x\n", [("FILE-02", 2, 1)]),
        (b"a: b: c\n", [("FILE-02", 1, 5)]),
        (b"a: [1, 2\n", [("FILE-02", 2, 1)]),
        (b"? [a]\n: b\n", [("FILE-02", 1, 3)]),
        (b"a: 1\nb: 2\na: 3\n", [("FILE-03", 3, 1)]),
        (b"a: {b: 1, b: 2}\n", [("FILE-03", 1, 11)]),
        (b"a: &x 1\nb: *x\n", [("FILE-04", 1, 4), ("FILE-04", 2, 4)]),
        (b"<<: {a: 1}\n", [("FILE-04", 1, 1)]),
        (b"a: !!str 1\n", [("FILE-04", 1, 4)]),
        (b"a: !mine 1\n", [("FILE-04", 1, 4)]),
        (b"%YAML 1.1\n---\na: 1\n", [("FILE-04", 1, 1)]),
        (b"a: 1\n---\nb: 1\n", [("FILE-04", 2, 1)]),
    ],
)
def test_what_these_files_do_without_is_refused_at_its_place(
    text: bytes, expected: list[tuple[str, int, int]]
) -> None:
    assert rules(parsed(text)) == expected


def test_all_findings_are_given_and_the_sound_rest_is_kept() -> None:
    document = parsed("a: &x 1\nb: *x\na: 2\nc: !t 3\n")
    assert [rule for rule, _, _ in rules(document)] == ["FILE-04", "FILE-04", "FILE-03", "FILE-04"]
    assert document.root is not None
    assert node_at(document.root, ("c",)) is not None
    assert document.holes == {"b"}


def test_one_explicit_document_is_no_second_one() -> None:
    assert rules(parsed("---\na: 1\n...\n")) == []


@pytest.mark.fault("F25")
def test_a_file_of_more_than_one_mebibyte_is_refused() -> None:
    assert rules(parsed(b"#" * (1 << 20) + b"\n")) == [("FILE-01", 1, 1)]


@pytest.mark.fault("F25")
@pytest.mark.parametrize("opening", ["[", "{", "- ", "? ", "{a: ", "[["])
def test_nesting_that_is_too_deep_is_refused_without_a_crash(opening: str) -> None:
    document = parsed(opening * 1_000)
    assert document.root is None
    assert {finding.rule for finding in document.findings} == {"FILE-02"}


def test_nesting_up_to_the_limit_is_read() -> None:
    deep = "[" * DEEPEST_NESTING + "x" + "]" * DEEPEST_NESTING
    assert parsed(deep).findings == ()


@pytest.mark.fault("F25")
@pytest.mark.parametrize("pattern", ["!", "&a", "a:\n", "a,", "- \n", "'", '"\\x41', "a\n", "%\n"])
def test_a_hostile_file_of_full_size_is_answered_within_seconds(pattern: str) -> None:
    began = time.perf_counter()
    parsed((pattern * (1 << 18))[: 1 << 18])
    assert time.perf_counter() - began < 5


@pytest.mark.fault("F25")
def test_a_file_that_cannot_be_opened_is_a_finding_with_a_clear_sentence(tmp_path: Path) -> None:
    missing = read_document(tmp_path / "none.yaml")
    directory = read_document(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    odd = read_document(Path("a\x00b"))
    for document in (missing, directory, read_document(pipe), odd):
        assert [finding.rule for finding in document.findings] == ["FILE-01"]
    assert "there is no file" in missing.findings[0].message
    assert "is a directory" in directory.findings[0].message


def test_a_file_without_permission_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret.yaml"
    file.write_text("a: 1\n")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "may not be read" in read_document(file).findings[0].message


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("a: 1\n")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "real.yaml")
    assert read_document(tmp_path / "link.yaml").findings == ()


def test_the_lines_for_the_caret_are_those_that_the_places_count() -> None:
    document = parsed("a: 1\r\nb: 2\rc: 3\nd: 4\r\n")
    assert document.root is not None
    for entry in document.root.entries if isinstance(document.root, Keys) else ():
        assert document.lines[entry.place.line - 1].startswith(entry.key)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_tree_or_a_finding(content: bytes) -> None:
    document = parsed(content)
    assert document.root is not None or document.findings


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab:-?[]{},&*!|>'\"%@`#<. \n", max_size=60))
def test_any_yaml_like_text_gives_a_tree_or_a_finding(text: str) -> None:
    document = parsed(text)
    assert document.root is not None or document.findings
