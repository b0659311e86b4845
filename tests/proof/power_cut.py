"""What a power cut may leave of a journal and its anchor, byte by byte, sector by sector.

A disk keeps what was synced. Of the rest it keeps what it likes: the first bytes, down to every
single one; or whole sectors in any order, the others still empty; and of the anchor, whose two
slots lie in sectors of their own, any line that was ever written to each since its last sync. Of
the file beside them, which holds a checkpoint's state and is never synced, it keeps any state.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from firmware_bridge.families.itp.controller import PumpController
from safety.anchor import SLOT_BYTES, Anchor
from safety.journal_format import Head

from .crash_life import Life, same_every_time
from .crash_outside import Files, Outside, new_outside

SECTOR = 512
SPARSE = 16
"""Of how many positions in the middle of a write one is tried in the quick form."""
SECTORS_SHUFFLED = 5
"""Of more sectors than these only the last are shuffled: a command writes no more."""


@dataclass(frozen=True)
class Scene:
    """One moment of a run: the files, the anchor's writes so far, the doses that were given.

    ``anchored`` counts the writes of the anchor, ``durable`` those up to the last synced one;
    ``states`` are all that checkpoints have written so far.
    """

    step: str
    files: Files
    anchored: int
    durable: int
    doses: tuple[tuple[int, int], ...]
    states: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Cut:
    """What one power cut leaves.

    ``in_order``: the disk kept the first of the unsynced bytes and lost the others, as nearly all
    do with a file that only grows.
    """

    name: str
    journal: bytes
    anchor: bytes
    states: bytes = b""
    in_order: bool = True


class Filmed(Life):
    """A life of which every moment is kept at which files or doses differ."""

    def __init__(self, outside: Outside, *, late_worker: bool) -> None:
        super().__init__(outside, lambda key: False, late_worker=late_worker)
        self.scenes: list[Scene] = []
        self.heads: list[Head] = []
        self._states: dict[bytes, None] = {}
        self._durable = 0

    def step(self, name: str, files: Files | None = None, **left: Any) -> None:
        """One more scene."""
        if files is not None or left or self._ended:
            return  # a variation of this moment; the cuts make their own
        now = self.disk.files
        written = now.anchor_written
        if written is not None and (not self.heads or self.heads[-1] != written):
            self.heads.append(written)
        if now.anchor_synced == written:
            self._durable = len(self.heads)
        elif len(self.heads) == 1:
            self._durable = 1
        if now.states:
            self._states[now.states] = None
        doses = tuple(sorted(self.witness.doses.items()))
        scene = Scene(name, now, len(self.heads), self._durable, doses, tuple(self._states))
        if not self.scenes or _what_is_there(self.scenes[-1]) != _what_is_there(scene):
            self.scenes.append(scene)


def _what_is_there(scene: Scene) -> tuple[Any, ...]:
    return scene.files, scene.anchored, scene.durable, scene.doses


def filmed(
    outside: Outside | None = None, *, late_worker: bool, checkpoints: bool = False
) -> tuple[list[Scene], list[Head]]:
    """The scenes of one host's life, and the heads that it anchored."""

    def look(life: Life, controller: PumpController) -> None:
        """Nothing: what is looked at is what a cut leaves."""

    with same_every_time(checkpoints=checkpoints):
        life = Filmed(outside or new_outside(), late_worker=late_worker)
        life.live(look)
    return life.scenes, life.heads


class AnchorImages:
    """The bytes of an anchor after each of its writes, made by the shipped `Anchor`."""

    def __init__(self, heads: list[Head]) -> None:
        self._after: list[bytes] = [b""]
        with TemporaryDirectory() as folder:
            path = Path(folder) / "anchor"
            anchor = Anchor(path)
            for head in heads:
                anchor.write(head)
                self._after.append(path.read_bytes())

    def whole(self, count: int) -> bytes:
        """The file as the system shows it after so many writes."""
        return self._after[count]

    def left_by_cut(self, durable: int, written: int) -> Iterator[bytes]:
        """Every file that a cut may leave: each slot as of any write since the durable one."""
        images = self._after[durable : written + 1]
        if not images[0]:
            yield from dict.fromkeys(images)
            return
        firsts = dict.fromkeys(image[:SLOT_BYTES] for image in images)
        seconds = dict.fromkeys(image[SLOT_BYTES:] for image in images)
        for first, second in product(firsts, seconds):
            yield first + second

    def torn(self, durable: int, written: int, every: int) -> Iterator[bytes]:
        """The last write torn at every nth byte, over the file before it."""
        if written == durable or written < 2:
            return
        before, after = self._after[written - 1], self._after[written]
        changed = [at for at in range(len(after)) if before[at : at + 1] != after[at : at + 1]]
        for at in range(changed[0], changed[-1] + 1, every):
            yield after[:at] + before[at:]


def cuts_in_order(scene: Scene, images: AnchorImages, every: int) -> Iterator[Cut]:
    """The unsynced end cut at every nth byte and near each end; the anchor's torn at each byte.

    In the sparsest forms an end is its own byte only.
    """
    synced, pending = scene.files.synced, scene.files.pending
    newest = images.whole(scene.anchored)
    oldest = images.whole(scene.durable)
    size = len(pending)
    header, last = (9, 34) if every <= SPARSE else (2, 2)
    positions = [at for at in range(size + 1) if at % every == 0 or at < header or size - at < last]
    for at in positions:
        for name, anchor in dict.fromkeys((("newest", newest), ("oldest", oldest))):
            what = f"{at} of {size} unsynced bytes, {name} anchor"
            yield Cut(what, synced + pending[:at], anchor, scene.files.states)
    for at in dict.fromkeys((0, size)):
        journal = synced + pending[:at]
        for anchor in images.left_by_cut(scene.durable, scene.anchored):
            yield Cut(f"{at} of {size} unsynced bytes, mixed anchor", journal, anchor)
        for anchor in images.torn(scene.durable, scene.anchored, 1 if every <= SPARSE else 8):
            yield Cut(f"{at} of {size} unsynced bytes, torn anchor", journal, anchor)


def cuts_out_of_order(scene: Scene, images: AnchorImages) -> Iterator[Cut]:
    """Whole sectors of the unsynced end, in every order in which a disk may have taken them."""
    synced, pending = scene.files.synced, scene.files.pending
    anchor = images.whole(scene.anchored)
    whole = synced + pending
    first = len(synced) // SECTOR
    sectors = range(first, -(-len(whole) // SECTOR))[-SECTORS_SHUFFLED:]
    for kept in product((False, True), repeat=len(sectors)):
        lost = [sector for sector, stays in zip(sectors, kept, strict=True) if not stays]
        if not lost or not any(kept):
            continue
        journal = bytearray(whole)
        for sector in lost:
            begin = max(sector * SECTOR, len(synced))
            end = min((sector + 1) * SECTOR, len(whole))
            journal[begin:end] = bytes(end - begin)
        yield Cut(f"sectors {lost} of {list(sectors)} lost", bytes(journal), anchor, in_order=False)


def cuts_with_a_ghost(scene: Scene, images: AnchorImages, every: int) -> Iterator[Cut]:
    """A torn end that was cut off, and the disk has not taken note: new bytes lie over old ones."""
    synced, pending, ghost = scene.files.synced, scene.files.pending, scene.files.ghost
    if not ghost:
        return
    anchor = images.whole(scene.anchored)
    for at in range(0, len(pending) + 1, every):
        for name, rest in (("old bytes", ghost[at:]), ("zeros", bytes(len(ghost[at:])))):
            journal = synced + pending[:at] + rest
            yield Cut(f"{at} new bytes, then {name}", journal, anchor, in_order=False)


def cuts_with_any_state(scene: Scene, images: AnchorImages, every: int) -> Iterator[Cut]:
    """Beside the journal lies a state of any checkpoint, or the newest torn, or nothing."""
    if not scene.states:
        return
    newest = scene.states[-1]
    torn = (newest[:at] for at in range(0, len(newest), 32 * every))
    anchor = images.whole(scene.anchored)
    for state in (*scene.states, *torn):
        for at in dict.fromkeys((0, len(scene.files.pending))):
            journal = scene.files.synced + scene.files.pending[:at]
            yield Cut(f"{at} unsynced bytes, a state of {len(state)} bytes", journal, anchor, state)
