"""The tree of RFC 9162: its published vectors, an implementation straight from its text, and another one's."""

import hashlib
import random
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree
from pymerkle import verify_consistency as their_consistency
from pymerkle import verify_inclusion as their_inclusion

from models.merkle import (
    EMPTY_ROOT,
    STORED_LEVEL,
    Peaks,
    Plan,
    Read,
    leaf_hash,
    peaks_of,
    verify_consistency,
    verify_inclusion,
)

#: The eight leaves of Certificate Transparency's own tests, and the roots of the trees of the first 1 to 8 of them.
DATA: Final = [
    bytes.fromhex(each)
    for each in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS: Final = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
#: (index, size) and the path; the sizes are of trees of the leaves above.
INCLUSION: Final = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY: Final = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
#: Around where subtrees that are stored are completed.
SIZES: Final = [1, 2, 3, 127, 128, 255, 256, 257, 300, 511, 512, 513, 1000]


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


def leaves_of(size: int, seed: int = 0) -> list[bytes]:
    chance = random.Random(seed)
    return [leaf_hash(chance.randbytes(chance.randrange(40))) for _ in range(size)]


def stored(leaves: Sequence[bytes], plan: Plan) -> Read:
    """What a store has of this tree, and of that only the blocks that the plan names."""
    everything: dict[int, dict[int, bytes]] = {0: dict(enumerate(leaves))}
    peaks = Peaks()
    for leaf in leaves:
        peaks, completed = peaks.appended(leaf)
        for node in completed:
            if node.level % STORED_LEVEL == 0:
                everything.setdefault(node.level, {})[node.position] = node.hash
    read: dict[int, dict[int, bytes]] = {}
    for level, block in plan.blocks:
        within = {at: hash_ for at, hash_ in everything.get(level, {}).items() if at >> STORED_LEVEL == block}
        read.setdefault(level, {}).update(within)
    return read


# -- the vectors ------------------------------------------------------------------------------------------------------


def test_the_published_roots() -> None:
    leaves = [leaf_hash(data) for data in DATA]
    assert [peaks_of(leaves[:size]).root.hex() for size in range(1, 9)] == ROOTS
    assert (
        peaks_of([]).root.hex()
        == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        == EMPTY_ROOT.hex()
    )


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_the_published_paths(index: int, size: int) -> None:
    leaves = [leaf_hash(data) for data in DATA[:size]]
    plan = Plan.of_inclusion(index, size)
    proof = plan.proof(stored(leaves, plan))
    assert [each.hex() for each in proof] == INCLUSION[index, size]
    assert verify_inclusion(leaves[index], index, size, proof, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("first", "second"), CONSISTENCY)
def test_the_published_consistency_proofs(first: int, second: int) -> None:
    leaves = [leaf_hash(data) for data in DATA[:second]]
    plan = Plan.of_consistency(first, second)
    proof = plan.proof(stored(leaves, plan))
    assert [each.hex() for each in proof] == CONSISTENCY[first, second]
    roots = [bytes.fromhex(ROOTS[size - 1]) for size in (first, second)]
    assert verify_consistency(first, second, proof, *roots)


# -- the text, and another implementation -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_proofs_are_those_of_the_text_and_need_few_nodes(size: int) -> None:
    leaves = leaves_of(size)
    whole = peaks_of(leaves)
    assert whole.root == root(leaves)
    assert Peaks.of(size, whole.packed) == whole
    for index in {0, size // 2, size - 1, *random.Random(size).sample(range(size), min(size, 12))}:
        plan = Plan.of_inclusion(index, size)
        read = stored(leaves, plan)
        assert max(len(nodes) for nodes in read.values()) <= 512 if read else index == 0
        assert plan.proof(read) == path(index, leaves)
        assert verify_inclusion(leaves[index], index, size, path(index, leaves), whole.root)
        plan = Plan.of_consistency(index + 1, size)
        assert plan.proof(stored(leaves, plan)) == subproof(index + 1, leaves)
        assert verify_consistency(index + 1, size, subproof(index + 1, leaves), root(leaves[: index + 1]), whole.root)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(0, 2**32), st.data())
def test_a_second_implementation_agrees_over_random_trees(size: int, seed: int, data: st.DataObject) -> None:
    chance = random.Random(seed)
    entries = [chance.randbytes(chance.randrange(40)) for _ in range(size)]
    theirs = InmemoryTree(algorithm="sha256")
    for each in entries:
        theirs.append_entry(each)
    leaves = [leaf_hash(each) for each in entries]
    whole = peaks_of(leaves)
    assert theirs.get_root() == whole.root
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    proof = theirs.prove_inclusion(index + 1)
    their_inclusion(leaves[index], whole.root, proof)
    plan = Plan.of_inclusion(index, size)
    ours = plan.proof(stored(leaves, plan))
    assert proof.serialize()["path"][1:] == [each.hex() for each in ours]
    before, now = theirs.get_root(first), theirs.get_root()
    their_consistency(before, now, theirs.prove_consistency(first, size))
    plan = Plan.of_consistency(first, size)
    assert verify_consistency(first, size, plan.proof(stored(leaves, plan)), before, now)


# -- what does not hold -----------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 300), st.data())
def test_a_proof_with_anything_changed_does_not_hold(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size, size)
    whole, index = root(leaves), data.draw(st.integers(0, size - 1))
    proof = path(index, leaves)
    assert verify_inclusion(leaves[index], index, size, proof, whole)
    at, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
    changed = bytearray(proof[at])
    changed[bit // 8] ^= 1 << bit % 8
    for wrong in ([*proof[:at], bytes(changed), *proof[at + 1 :]], [*proof, proof[0]], proof[:-1], [*proof[::-1], b""]):
        assert not verify_inclusion(leaves[index], index, size, wrong, whole)
    other = data.draw(st.integers(0, size - 1).filter(lambda number: number != index))
    assert not verify_inclusion(leaves[index], other, size, proof, whole)
    assert not verify_inclusion(leaves[other], index, size, proof, whole)
    assert not verify_inclusion(leaves[index], index, size, proof, leaves[other])


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 300), st.data())
def test_a_consistency_proof_with_anything_changed_does_not_hold(size: int, data: st.DataObject) -> None:
    leaves, first = leaves_of(size, size), data.draw(st.integers(1, size - 1))
    roots = root(leaves[:first]), root(leaves)
    proof = subproof(first, leaves)
    assert verify_consistency(first, size, proof, *roots)
    at = data.draw(st.integers(0, len(proof) - 1))
    changed = [*proof[:at], hashlib.sha256(proof[at]).digest(), *proof[at + 1 :]]
    for wrong in (changed, [*proof, proof[0]], proof[:-1], [b"", *proof[1:]]):
        assert not verify_consistency(first, size, wrong, *roots)
    assert not verify_consistency(first, size, proof, roots[1], roots[0])
    assert not verify_consistency(first, size, proof, leaf_hash(b"another"), roots[1])
    assert not verify_consistency(first, size, proof, roots[0], leaf_hash(b"another"))


@pytest.mark.parametrize(
    ("index", "size"), [(-1, 1), (1, 1), (0, 0), (0, -1), (10**400, 10**401), (5, 2**64), (2**64, 2)]
)
def test_hostile_numbers_are_only_false(index: int, size: int) -> None:
    leaf = leaf_hash(b"x")
    for proof in ([], [leaf], [leaf] * 200):
        assert not verify_inclusion(leaf, index, size, proof, leaf)
        assert not verify_consistency(index, size, proof, leaf, hashlib.sha256(leaf).digest())


@pytest.mark.parametrize(("size", "packed"), [(1, b""), (0, b"1" * 32), (3, b"1" * 32), (2, b"1" * 31), (-1, b"")])
def test_peaks_that_do_not_fit_are_refused(size: int, packed: bytes) -> None:
    with pytest.raises(ValueError, match="peaks"):
        Peaks.of(size, packed)


@pytest.mark.parametrize(("first", "second"), [(0, 5), (6, 5), (-1, 5)])
def test_what_is_not_there_has_no_plan(first: int, second: int) -> None:
    with pytest.raises(ValueError, match=r"tree|leaf"):
        Plan.of_consistency(first, second)
    with pytest.raises(ValueError, match="leaf"):
        Plan.of_inclusion(second, second)
