"""The Merkle tree over the log's entries, RFC 9162 section 2.1, with SHA-256.

Hashes are 32 bytes. The store keeps the leaves and, of the inner nodes, the roots of complete subtrees at every eighth
level: a proof needs some three times 256 of them, however many leaves there are.

    Peaks                 the state needed to append a leaf and to compute the root
    Plan                  the stored nodes that a proof needs, and the proof once these are read
    verify_inclusion, verify_consistency
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
#: Nodes are stored at the multiples of this level.
STORED_LEVEL: Final = 8
BLOCK: Final = 1 << STORED_LEVEL

#: Nodes read from the store: hash by position by level.
Read = Mapping[int, Mapping[int, bytes]]
Span = tuple[int, int]


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node with these children."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Node(NamedTuple):
    """The root of the complete subtree over the leaves from `position << level` on, `1 << level` of them."""

    level: int
    position: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Peaks:
    """The roots of the complete subtrees that make up a tree of `size` leaves, the largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, size: int, packed: bytes) -> "Peaks":
        """Unpacks peaks of 32 bytes each. Raises `ValueError` unless their number fits `size`."""
        if size < 0 or len(packed) != size.bit_count() * HASH_BYTES:
            raise ValueError(f"not the peaks of a tree of {size}")
        return cls(size, tuple(packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES)))

    @property
    def packed(self) -> bytes:
        return b"".join(self.hashes)

    @property
    def root(self) -> bytes:
        return _folded(self.hashes) if self.hashes else EMPTY_ROOT

    def appended(self, leaf: bytes) -> "tuple[Peaks, list[Node]]":
        """The peaks with one leaf more, and those of the subtrees completed by it that are stored."""
        hashes, hash_, completed = list(self.hashes), leaf, []
        for level in range(1, _trailing_ones(self.size) + 1):
            hash_ = node_hash(hashes.pop(), hash_)
            if level % STORED_LEVEL == 0:
                completed.append(Node(level, self.size >> level, hash_))
        return Peaks(self.size + 1, (*hashes, hash_)), completed


def peaks_of(leaves: Iterable[bytes]) -> Peaks:
    """The peaks of the tree with these leaves."""
    peaks = Peaks()
    for leaf in leaves:
        peaks, _ = peaks.appended(leaf)
    return peaks


@dataclass(frozen=True, slots=True)
class Plan:
    """A proof to be computed: the hash of each of these spans of leaves, in order."""

    spans: tuple[Span, ...]

    @classmethod
    def of_inclusion(cls, index: int, size: int) -> "Plan":
        """Leaf `index` (from 0) is in the tree of `size` leaves: section 2.1.3.1. Raises `ValueError`."""
        if not 0 <= index < size:
            raise ValueError("no such leaf in a tree of this size")
        return cls(tuple(_path(index, 0, size)))

    @classmethod
    def of_consistency(cls, first: int, second: int) -> "Plan":
        """The tree of `first` leaves is a prefix of that of `second`: section 2.1.4.1. Raises `ValueError`."""
        if not 0 < first <= second:
            raise ValueError("the first tree has a leaf at least, and the second no fewer")
        return cls(tuple(_subproof(first, 0, second, True)))

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """The blocks to read, as (level, block): nodes of that level at 256 positions from `block * 256` on.

        A block at the tree's right edge is shorter, which is enough.
        """
        return sorted(
            {
                (_stored(level), (position << (level - _stored(level))) >> STORED_LEVEL)
                for span in self.spans
                for level, position in _subtrees(*span)
            }
        )

    def proof(self, read: Read) -> list[bytes]:
        """The proof, from the stored nodes. Raises `KeyError` when one is missing."""
        return [_folded([_subtree(read, *subtree) for subtree in _subtrees(*span)]) for span in self.spans]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` shows that leaf `index` is in the tree of `size` with this root: section 2.1.3.2."""
    if not 0 <= index < size or not _are_hashes([leaf, root, *proof]):
        return False
    node, last, hash_ = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            hash_ = node_hash(sibling, hash_)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            hash_ = node_hash(hash_, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and hash_ == root


def verify_consistency(first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes) -> bool:
    """Whether `proof` shows the tree of `first` leaves to be the beginning of that of `second`: section 2.1.4.2."""
    if not 0 < first <= second or not _are_hashes([first_root, second_root, *proof]):
        return False
    if first == second:
        return not proof and first_root == second_root
    path = [first_root, *proof] if first.bit_count() == 1 else list(proof)
    if not path:
        return False
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    of_first = of_second = path[0]
    for hash_ in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            of_first, of_second = node_hash(hash_, of_first), node_hash(hash_, of_second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            of_second = node_hash(of_second, hash_)
        node, last = node >> 1, last >> 1
    return last == 0 and of_first == first_root and of_second == second_root


# -- spans of leaves, from `low` (inclusive) to `high` (exclusive) ----------------------------------------------------


def _path(index: int, low: int, high: int) -> Iterator[Span]:
    if high - low == 1:
        return
    middle = low + _split(high - low)
    if index < middle:
        yield from _path(index, low, middle)
        yield middle, high
    else:
        yield from _path(index, middle, high)
        yield low, middle


def _subproof(first: int, low: int, high: int, is_whole: bool) -> Iterator[Span]:
    if first == high - low:
        if not is_whole:
            yield low, high
        return
    half = _split(high - low)
    if first <= half:
        yield from _subproof(first, low, low + half, is_whole)
        yield low + half, high
    else:
        yield from _subproof(first - half, low + half, high, False)
        yield low, low + half


def _split(size: int) -> int:
    """The largest power of two that is smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _subtrees(low: int, high: int) -> Iterator[tuple[int, int]]:
    """The complete subtrees (level, position) that a span of the tree consists of, the largest first."""
    while low < high:
        level = (high - low).bit_length() - 1
        yield level, low >> level
        low += 1 << level


def _subtree(read: Read, level: int, position: int) -> bytes:
    stored = _stored(level)
    width = 1 << (level - stored)
    row = [read[stored][position * width + at] for at in range(width)]
    while len(row) > 1:
        row = [node_hash(left, right) for left, right in list(pairwise(row))[::2]]
    return row[0]


def _folded(hashes: Sequence[bytes]) -> bytes:
    """The root above complete subtrees of decreasing size."""
    hash_ = hashes[-1]
    for left in reversed(hashes[:-1]):
        hash_ = node_hash(left, hash_)
    return hash_


def _stored(level: int) -> int:
    return level - level % STORED_LEVEL


def _trailing_ones(number: int) -> int:
    return ((number + 1) & ~number).bit_length() - 1


def _are_hashes(values: Sequence[bytes]) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
