"""Verification of a log: entries against leaves, the tree, an older checkpoint, and entries kept elsewhere.

Findings are sentences that name the entries. An older checkpoint shows only that some entry before it was changed; the
entries kept by a witness show which ones.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Final, NamedTuple

from models.log.log_entries import canonical
from models.log.merkle import Node, Peaks, leaf_hash
from models.log.signed_notes import Checkpoint

#: Changed entries that are named one by one; more are counted.
MOST_NAMED: Final = 20

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as a store has it, with its stored leaf; entries of an export have none."""

    entry: Entry
    leaf: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredFigures:
    """The store's own figures of its log: number of events, the peaks, and the stored inner nodes."""

    events: int
    peaks: bytes
    nodes: frozenset[Node]


@dataclass
class Audit:
    """The state of a verification and its findings. Signatures of the checkpoints in `older` have been verified."""

    older: Sequence[Checkpoint] = ()
    known: Sequence[Entry] = ()
    peaks: Peaks = field(default_factory=Peaks)
    nodes: set[Node] = field(default_factory=set)
    bodies: list[bytes] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    _last: int = 0
    _roots: dict[int, bytes] = field(default_factory=dict)

    def read(self, stored: StoredEntry) -> None:
        """Adds the next entry, in order of number."""
        entry, number = stored.entry, stored.entry["number"]
        if number != self._last + 1:
            self._report(_span(self._last + 1, number - 1, "is missing", "are missing"))
        self._last = number
        leaf = leaf_hash(canonical(dict(entry)))
        if stored.leaf is not None and stored.leaf != leaf:
            self._report(f"Entry {number} was changed: its leaf was made of another one.")
        self.peaks, completed = self.peaks.appended(leaf)
        self.nodes.update(completed)
        if any(checkpoint.size == self.peaks.size for checkpoint in self.older):
            self._roots[self.peaks.size] = self.peaks.root
        if self.known:
            self.bodies.append(_content_digest(entry))

    def ended(self, figures: StoredFigures | None = None) -> list[str]:
        """The findings, once all entries are read; `figures` are the store's own figures."""
        if figures is not None:
            self._compare_with_figures(figures)
        for checkpoint in self.older:
            self._compare_checkpoint(checkpoint)
        if self.known:
            self.found += _differences([_content_digest(entry) for entry in self.known], self.bodies)
        return self.found

    def _compare_with_figures(self, figures: StoredFigures) -> None:
        if figures.events != self._last:
            self._report(f"{figures.events} entries were counted, the last that is there is number {self._last}.")
        elif figures.peaks != self.peaks.packed:
            self._report("The tree's peaks are not those of the entries.")
        if figures.nodes != self.nodes:
            wrong = sorted({(node.level, node.position) for node in figures.nodes ^ self.nodes})
            self._report(f"The tree's nodes are not those of the entries, the first at {wrong[0]}.")

    def _compare_checkpoint(self, checkpoint: Checkpoint) -> None:
        size = self.peaks.size
        if checkpoint.size > size:
            self._report(f"The log was cut off or rolled back: it has {size} entries, a checkpoint {checkpoint.size}.")
        elif checkpoint.size and self._roots[checkpoint.size] != checkpoint.root:
            self._report(f"The first {checkpoint.size} entries are not those of the checkpoint: the log was rewritten.")

    def _report(self, sentence: str) -> None:
        self.found.append(sentence)


def _content_digest(entry: Entry) -> bytes:
    """A digest of an entry without its number, by which it is recognised at another position."""
    return hashlib.sha256(canonical({name: value for name, value in entry.items() if name != "number"})).digest()


def _differences(before: Sequence[bytes], after: Sequence[bytes]) -> Iterator[str]:
    """The changes that lead from the entries kept elsewhere to those in the log; appended entries are no change."""
    same = next((at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), None)
    if same is None and len(after) >= len(before):
        return
    start = min(len(before), len(after)) if same is None else same
    compared = SequenceMatcher(None, before[start:], after[start:], autojunk=False)
    changes = [
        _Change(first + start, last + start, before[first + start : last + start], after[at + start : until + start])
        for what, first, last, at, until in compared.get_opcodes()
        if what != "equal" and not (first == len(before) - start and what == "insert")
    ]
    gone: Counter[bytes] = Counter()
    come: Counter[bytes] = Counter()
    for change in changes:
        gone.update(change.gone)
        come.update(change.come)
    if gone == come and changes:
        yield f"Entries {changes[0].first + 1} to {max(change.last for change in changes)} were put into another order."
        return
    for change in changes:
        yield from change.sentences(is_last=change.last == len(before))


class _Change(NamedTuple):
    """A difference: the kept entries from index `first` (from 0, inclusive) to `last` (exclusive) were replaced.

    `gone` holds their digests, `come` the digests of the entries in their place.
    """

    first: int
    last: int
    gone: Sequence[bytes]
    come: Sequence[bytes]

    def sentences(self, is_last: bool) -> Iterator[str]:
        if not self.gone:
            yield _span(self.first + 1, self.first + len(self.come), "was inserted", "were inserted")
        elif not self.come:
            one, many = ("was cut off", "were cut off") if is_last else ("was removed", "were removed")
            yield _span(self.first + 1, self.last, one, many)
        elif len(self.gone) == len(self.come):
            for number in range(self.first + 1, min(self.last, self.first + MOST_NAMED) + 1):
                yield f"Entry {number} was changed: it is not the one that was kept apart."
            if len(self.gone) > MOST_NAMED:
                yield f"{len(self.gone) - MOST_NAMED} more were changed."
        else:
            yield f"Entries {self.first + 1} to {self.last} were replaced by {len(self.come)} others."


def _span(first: int, last: int, one: str, many: str) -> str:
    return f"Entry {first} {one}." if first == last else f"Entries {first} to {last} {many}."
