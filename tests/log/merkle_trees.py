"""Merkle trees and their proofs, straight from the text of RFC 9162, and as a store has them."""

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Final

from models.log.merkle import (
    BLOCK,
    STORED_LEVEL,
    Peaks,
    Plan,
    Read,
    leaf_hash,
)

#: The eight leaves of Certificate Transparency's own tests, and the roots of the trees of the first 1 to 8 of them.
DATA: Final = [
    bytes.fromhex(each)
    for each in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
#: Around where subtrees that are stored are completed.
SIZES: Final = [1, 2, 3, 127, 128, 255, 256, 257, 300, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 65_793]

# -- straight from the text -------------------------------------------------------------------------------------------


def root(leaves: Sequence[bytes]) -> bytes:
    """MTH of section 2.1.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    half = largest_power(len(leaves))
    return hashlib.sha256(b"\x01" + root(leaves[:half]) + root(leaves[half:])).digest()


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    half = largest_power(len(leaves))
    if index < half:
        return [*path(index, leaves[:half]), root(leaves[half:])]
    return [*path(index - half, leaves[half:]), root(leaves[:half])]


def subproof(first: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of section 2.1.4.1."""
    if first == len(leaves):
        return [] if whole else [root(leaves)]
    half = largest_power(len(leaves))
    if first <= half:
        return [*subproof(first, leaves[:half], whole), root(leaves[half:])]
    return [*subproof(first - half, leaves[half:], False), root(leaves[:half])]


def largest_power(size: int) -> int:
    half = 1
    while half * 2 < size:
        half *= 2
    return half


def sides_of_path(index: int, size: int) -> list[str]:
    """On which side of the leaf each hash of PATH stands: all that a proof tells of an index and a size."""
    if size == 1:
        return []
    half = largest_power(size)
    if index < half:
        return [*sides_of_path(index, half), "right"]
    return [*sides_of_path(index - half, size - half), "left"]


def sides_of_subproof(first: int, second: int) -> list[str]:
    """The same of SUBPROOF, of the tree that both have in common."""
    if first == second:
        return []
    half = largest_power(second)
    if first <= half:
        return [*sides_of_subproof(first, half), "right"]
    return [*sides_of_subproof(first - half, second - half), "left"]


# -- trees, and what a store has of them ------------------------------------------------------------------------------


class Tree:
    """The leaves, the nodes that a store keeps, by level, and what the peaks were at each size."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves
        self.rows: dict[int, list[bytes]] = {0: list(leaves)}
        self.peaks = [Peaks()]
        for leaf in leaves:
            peaks, completed = self.peaks[-1].appended(leaf)
            self.peaks.append(peaks)
            for node in completed:
                if node.level % STORED_LEVEL == 0:
                    row = self.rows.setdefault(node.level, [])
                    assert node.position == len(row)
                    row.append(node.hash)

    def root(self, size: int) -> bytes:
        return self.peaks[size].root

    def read(self, plan: Plan, size: int) -> Read:
        """What a store had when the tree had this size, and of that only the blocks that the plan names."""
        read: dict[int, dict[int, bytes]] = {}
        for level, block in plan.blocks:
            positions = range(block * BLOCK, min((block + 1) * BLOCK, size >> level))
            read.setdefault(level, {}).update({at: self.rows[level][at] for at in positions})
        return read

    def path(self, index: int, size: int, now: int | None = None) -> list[bytes]:
        plan = Plan.of_inclusion(index, size)
        return plan.proof(self.read(plan, now or size))

    def subproof(self, first: int, second: int, now: int | None = None) -> list[bytes]:
        plan = Plan.of_consistency(first, second)
        return plan.proof(self.read(plan, now or second))


@cache
def grown() -> Tree:
    """One tree for all tests, no two leaves of which are the same: those of fewer leaves are its beginning."""
    return Tree([leaf_hash(f"{number}".encode()) for number in range(max(SIZES))])


def published() -> Tree:
    return Tree([leaf_hash(data) for data in DATA])
