"""A power cut at every byte of what was not synced: no sent dose is lost, nothing latches falsely.

The journal's bytes and the anchor's are those that the shipped code writes on the story of
`crash_life`; what a cut leaves of them is then opened by the shipped code.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from unittest import mock

from firmware_bridge.families.itp.controller import PumpController
from safety import opening
from safety.anchor import SLOT_BYTES, Anchor
from safety.events import Intended
from safety.journal import Journal, Receipt
from safety.journal_format import Head, JournalError
from safety.opening import open_journal

from .crash_life import Life, same_every_time
from .crash_outside import Files, FilesAnchor, FilesDisk, FilesStates, Outside, new_outside
from .crash_twins import OrderBug, anchored_before_synced
from .evidence import Effort, Evidence, Planted
from .power_cut import (
    SPARSE,
    AnchorImages,
    Cut,
    Scene,
    cuts_in_order,
    cuts_out_of_order,
    cuts_with_a_ghost,
    cuts_with_any_state,
    filmed,
)

SHOWN = 5
ABOUT_SECONDS = {"quick": 15, "full": 60}


@dataclass
class Findings:
    """What was found at the cuts of some runs."""

    cuts: int = 0
    scenes: int = 0
    wrong: list[str] = field(default_factory=list)
    out_of_order: int = 0
    latched_out_of_order: int = 0

    def take_in(self, scene: Scene, cut: Cut) -> None:
        """Opens what a cut leaves, and notes what is wrong with it."""
        self.cuts += 1
        problem, counted = opened_after(cut)
        place = f"[{scene.step}: {cut.name}]"
        if problem is not None:
            if cut.in_order:
                self.wrong.append(f"latched though nothing synced was lost: {problem} {place}")
            else:
                self.latched_out_of_order += 1
        self.out_of_order += not cut.in_order
        if problem is None:
            self.wrong += [
                f"id {own}: {volume} nL were given, {counted.get(own, 0)} are counted {place}"
                for own, volume in scene.doses
                if volume > counted.get(own, 0)
            ]


def prove(effort: Effort) -> Evidence:
    """Cuts the power at every byte of some runs (quick: every sixteenth, and all near an end)."""
    begun = perf_counter()
    every = 1 if effort == "full" else SPARSE
    found = Findings()
    for run in _runs():
        look_at(*run, every, found)
    lies = lying_disk()
    return Evidence(
        method="powercut",
        covered=(
            f"{found.cuts:,} cuts at {found.scenes} moments of {RUNS} runs, every "
            f"{'byte' if every == 1 else f'{every}th byte and all near an end'}; of them "
            f"{found.out_of_order:,} with sectors out of order or old bytes back, where "
            f"{found.latched_out_of_order:,} latch (a denial, no dose is lost)"
        ),
        violations=tuple(_each_kind_once(found.wrong)),
        planted=(*(cut_twin(bug) for bug in CUT_BUGS), lies),
        not_shown=(
            "that the real disk keeps what fsync promised; file systems that lose a synced file's "
            "name; sectors out of order in the middle of long unsynced rows; what a disk that lied "
            f"has lost together with the anchor ({lies.how_soon})"
        ),
        seconds=perf_counter() - begun,
    )


SHARES = (0.2, 0.5, 0.9)
RUNS = 4 + len(SHARES)


def _runs() -> Iterator[tuple[list[Scene], AnchorImages]]:
    """The story, with a late disk thread and with checkpoints too; second lives after a tear."""
    for late, checkpoints in product((False, True), repeat=2):
        scenes, heads = filmed(late_worker=late, checkpoints=checkpoints)
        yield scenes, AnchorImages(heads)
    for share in SHARES:
        scenes, heads = filmed(_after_a_torn_intent(share), late_worker=True)
        yield scenes, AnchorImages(heads)


def _after_a_torn_intent(share: float) -> Outside:
    """What a kill leaves in the middle of writing the second bolus: a share of its intent."""
    with same_every_time():
        course = Life(new_outside(), lambda key: True, late_worker=True).live(_no_look)
    written = [
        one
        for one in course.crashes.values()
        if one.path == ("killed after intended was appended",)
    ]
    left = written[2]
    torn = left.files.pending[: int(len(left.files.pending) * share)]
    return replace(left, files=left.files._replace(pending=torn))


def _no_look(life: Life, controller: PumpController) -> None:
    """What is looked at here is what a cut leaves."""


def look_at(
    scenes: list[Scene], images: AnchorImages, every: int, found: Findings, *, first: bool = False
) -> None:
    for scene in scenes:
        found.scenes += 1
        for cut in _all_cuts(scene, images, every):
            found.take_in(scene, cut)
            if first and found.wrong:
                return


def _all_cuts(scene: Scene, images: AnchorImages, every: int) -> Iterator[Cut]:
    yield from cuts_in_order(scene, images, every)
    yield from cuts_out_of_order(scene, images)
    yield from cuts_with_a_ghost(scene, images, every)
    yield from cuts_with_any_state(scene, images, every)


def _each_kind_once(wrong: Iterable[str]) -> list[str]:
    kinds: dict[str, str] = {}
    for text in wrong:
        kinds.setdefault(text.partition("[")[0], text)
    return list(kinds.values())[:SHOWN]


# --- what a host finds ---------------------------------------------------------------------------


def opened_after(cut: Cut) -> tuple[str | None, dict[int, int]]:
    """What the shipped code says of the files after a cut: a problem, and each id's most."""
    disk = FilesDisk(Files(cut.journal, states=cut.states))
    opened = open_journal(disk, _ReadAnchor(disk, cut.anchor), FilesStates(disk))
    return opened.problem, {one.id: int(one.most) for one in opened.state.reservations}


class _ReadAnchor(FilesAnchor):
    """An anchor of which only the bytes are there."""

    def __init__(self, disk: FilesDisk, image: bytes) -> None:
        super().__init__(disk)
        self._image = image

    def read(self) -> Head | None:
        found = head_in(self._image)
        if isinstance(found, JournalError):
            raise found
        return found


@lru_cache(maxsize=100_000)
def head_in(image: bytes) -> Head | JournalError | None:
    """What the shipped `Anchor` reads in a file of these bytes; none is no file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "anchor"
        if image:
            path.write_bytes(image)
        try:
            return Anchor(path).read()
        except JournalError as error:
            return error


# --- planted bugs --------------------------------------------------------------------------------


def never_synced() -> AbstractContextManager[Any]:
    """The journal trusts the system to write its bytes some day."""
    return mock.patch.object(FilesDisk, "sync")


def synced_after_sending() -> AbstractContextManager[Any]:
    """An intent is written at once and reaches the disk with the next entry."""

    def commit(self: Journal, intent: Intended) -> Receipt:
        self.append(intent)
        return Receipt(self.head, intent)

    return mock.patch.object(Journal, "commit", commit)


@contextmanager
def anchored_in_place() -> Iterator[None]:
    """The anchor has one slot, and each head is written over the one before."""

    def write(self: Anchor, head: Head) -> None:
        path: Path = vars(self)["_path"]
        if not path.exists():
            shipped(self, head)
        vars(self)["_next"] = 0
        shipped(self, head)
        image = path.read_bytes()
        path.write_bytes(image[:SLOT_BYTES])

    shipped = Anchor.write
    with mock.patch.object(Anchor, "write", write):
        yield


def believed_unseen() -> AbstractContextManager[Any]:
    """A state that lies beside the journal is taken for that of its last checkpoint."""
    return mock.patch.object(opening, "is_of", return_value=True)


CUT_BUGS = (
    OrderBug("the journal is never synced", never_synced),
    OrderBug("an intent is synced after its command was sent", synced_after_sending),
    OrderBug("the anchor is written before the journal is synced", anchored_before_synced),
    OrderBug("the anchor is written over in one place", anchored_in_place),
    OrderBug("a checkpoint's state is believed without its digest", believed_unseen),
)


def cut_twin(bug: OrderBug) -> Planted:
    """Whether a planted bug shows at any cut of one run, and at the how manieth."""
    found = Findings()
    with bug.planted():
        scenes, heads = filmed(late_worker=False, checkpoints=True)
        look_at(scenes, AnchorImages(heads), SPARSE, found, first=True)
    if not found.wrong:
        return Planted(bug.name, found=False, how_soon=f"not at {found.cuts:,} cuts")
    return Planted(bug.name, found=True, how_soon=f"cut {found.cuts:,}: {found.wrong[0]}")


def lying_disk() -> Planted:
    """A disk that says it has synced and then loses it: who notices?

    The journal falls back to what was synced at any earlier moment. The anchor lies elsewhere and
    keeps its newest head, or it has lost what was never synced of it, too.
    """
    scenes, heads = filmed(late_worker=False)
    images = AnchorImages(heads)
    shown = unseen = 0
    for index, scene in enumerate(scenes):
        for earlier in {one.files.synced for one in scenes[:index]}:
            for anchor in dict.fromkeys(
                (images.whole(scene.anchored), images.whole(scene.durable))
            ):
                problem, counted = opened_after(Cut("", earlier, anchor))
                lost = any(volume > counted.get(own, 0) for own, volume in scene.doses)
                shown += lost and problem is not None
                unseen += lost and problem is None
    how = f"of {shown + unseen:,} losses of a sent dose the anchor shows {shown:,}"
    if unseen:
        how += f"; at {unseen:,} the anchor was lost too"
    return Planted("a disk lies about its sync", found=shown > 0, how_soon=how)
