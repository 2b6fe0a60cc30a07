"""The tree of RFC 9162 against published vectors, a literal implementation of its text, and another library."""

import hashlib
import random
from itertools import permutations
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree, InvalidProof
from pymerkle import verify_consistency as their_consistency
from pymerkle import verify_inclusion as their_inclusion

from models.log.merkle import (
    EMPTY_ROOT,
    STORED_LEVEL,
    Peaks,
    Plan,
    leaf_hash,
    peaks_of,
    verify_consistency,
    verify_inclusion,
)
from tests.log.merkle_trees import (
    DATA,
    SIZES,
    Tree,
    grown,
    path,
    published,
    root,
    sides_of_path,
    sides_of_subproof,
    subproof,
)

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
#: Numbers that no tree has, and some that one could have.
NUMBERS: Final = (
    st.integers(-3, 40) | st.integers(-(2**70), 2**70) | st.sampled_from([2**63, 2**64, 10**400, -(10**400)])
)
HASHES: Final = st.binary(max_size=40) | st.binary(min_size=32, max_size=32)


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
    proof = published().path(index, size)
    assert [each.hex() for each in proof] == INCLUSION[index, size]
    assert verify_inclusion(leaf_hash(DATA[index]), index, size, proof, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("first", "second"), CONSISTENCY)
def test_the_published_consistency_proofs(first: int, second: int) -> None:
    proof = published().subproof(first, second)
    assert [each.hex() for each in proof] == CONSISTENCY[first, second]
    roots = [bytes.fromhex(ROOTS[size - 1]) for size in (first, second)]
    assert verify_consistency(first, second, proof, *roots)


# -- comparison with the text and another implementation --------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_proofs_are_those_of_the_text(size: int) -> None:
    tree, leaves = grown(), grown().leaves[:size]
    whole = peaks_of(leaves)
    assert whole.root == root(leaves)
    assert Peaks.of(size, whole.packed) == whole
    some = random.Random(size).sample(range(size), min(size, 12)) if size < 2000 else []
    for index in {0, size // 2 - 1, size - 1, *some} - {-1}:
        proof = path(index, leaves)
        assert tree.path(index, size) == proof
        assert verify_inclusion(leaves[index], index, size, proof, whole.root)
        proof = subproof(index + 1, leaves)
        assert tree.subproof(index + 1, size) == proof
        assert verify_consistency(index + 1, size, proof, root(leaves[: index + 1]), whole.root)


@settings(deadline=None)
@given(st.data())
def test_proofs_of_a_tree_are_the_same_however_far_the_log_has_grown(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 3000))
    index, now = data.draw(st.integers(0, size - 1)), data.draw(st.integers(size, max(SIZES)))
    tree, leaves = grown(), grown().leaves[:size]
    whole, before = tree.root(size), tree.root(index + 1)
    assert whole == root(leaves)
    assert tree.path(index, size, now) == tree.path(index, size) == path(index, leaves)
    assert tree.subproof(index + 1, size, now) == tree.subproof(index + 1, size) == subproof(index + 1, leaves)
    assert verify_inclusion(leaves[index], index, size, tree.path(index, size), whole)
    assert verify_consistency(index + 1, size, tree.subproof(index + 1, size), before, whole)


@given(st.integers(1, 2**53), st.data())
def test_a_proof_needs_two_blocks_of_a_level_at_most(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    for plan in (Plan.of_inclusion(index, size), Plan.of_consistency(index + 1, size)):
        levels = [level for level, _ in plan.blocks]
        assert all(level % STORED_LEVEL == 0 and levels.count(level) <= 2 for level in levels)


@settings(deadline=None)
@given(st.integers(2, 3000), st.data())
def test_without_a_block_that_the_plan_names_there_is_no_proof(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 2))
    for plan in (Plan.of_inclusion(index, size), Plan.of_consistency(index + 1, size)):
        level, block = data.draw(st.sampled_from(plan.blocks))
        read = grown().read(plan, size)
        lacking = {at: hash_ for at, hash_ in read[level].items() if at >> STORED_LEVEL != block}
        with pytest.raises(KeyError):
            plan.proof({**read, level: lacking})


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(0, 2**32), st.data())
def test_a_second_implementation_agrees_over_random_trees(size: int, seed: int, data: st.DataObject) -> None:
    chance = random.Random(seed)
    entries = [chance.randbytes(chance.randrange(40)) for _ in range(size)]
    theirs = InmemoryTree.init_from_entries(entries)
    tree = Tree([leaf_hash(each) for each in entries])
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    before, now = tree.peaks[first], tree.root(size)
    assert (theirs.get_root(first), theirs.get_root()) == (before.root, now)

    inclusion = theirs.prove_inclusion(index + 1)
    their_inclusion(tree.leaves[index], now, inclusion)
    assert inclusion.path[1:] == tree.path(index, size)

    # Their proof contains the complete subtrees of the first tree; it omits the first tree if that is complete itself.
    consistency = theirs.prove_consistency(first, size)
    their_consistency(before.root, now, consistency)
    common = [each for each, mask in zip(consistency.path, consistency.subset, strict=True) if mask]
    assert tuple(common[::-1]) == (before.hashes if first < size else (now,))
    assert verify_consistency(first, size, tree.subproof(first, size), before.root, now)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.data())
def test_a_second_implementation_refuses_what_ours_does(size: int, data: st.DataObject) -> None:
    theirs = InmemoryTree.init_from_entries([f"{number}".encode() for number in range(size)])
    tree, whole = grown(), theirs.get_root()
    index, other = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True))
    for leaf, claimed in ((tree.leaves[other], whole), (tree.leaves[index], theirs.get_root(size - 1))):
        assert not verify_inclusion(leaf, index, size, tree.path(index, size), claimed)
        assert refuses(their_inclusion, leaf, claimed, theirs.prove_inclusion(index + 1))
    first, wrong = theirs.get_root(index + 1), theirs.get_root(other + 1)
    for before, now in ((wrong, whole), (first, leaf_hash(b"another"))):
        assert not verify_consistency(index + 1, size, tree.subproof(index + 1, size), before, now)
        assert refuses(their_consistency, before, now, theirs.prove_consistency(index + 1, size))


def refuses(verify: Any, *arguments: object) -> bool:
    try:
        verify(*arguments)
    except InvalidProof:
        return True
    return False


# -- invalid proofs ---------------------------------------------------------------------------------------------------


def test_with_any_byte_changed_no_published_proof_holds() -> None:
    tree, roots = published(), [bytes.fromhex(each) for each in ROOTS]
    for index in range(8):
        sound = [tree.leaves[index], roots[7], *tree.path(index, 8)]
        for leaf, whole, *proof in changed_anywhere(sound):
            assert not verify_inclusion(leaf, index, 8, proof, whole)
    for first in range(1, 9):
        sound = [roots[first - 1], roots[7], *tree.subproof(first, 8)]
        for before, now, *proof in changed_anywhere(sound):
            assert not verify_consistency(first, 8, proof, before, now)


def changed_anywhere(hashes: list[bytes]) -> list[list[bytes]]:
    """The same with one byte changed, for every byte."""
    return [
        [*hashes[:at], hash_[:byte] + bytes([hash_[byte] ^ 1 << byte % 8]) + hash_[byte + 1 :], *hashes[at + 1 :]]
        for at, hash_ in enumerate(hashes)
        for byte in range(len(hash_))
    ]


@settings(deadline=None)
@given(st.integers(2, 3000), st.data())
def test_a_proof_with_anything_changed_does_not_hold(size: int, data: st.DataObject) -> None:
    tree, leaves = grown(), grown().leaves
    index, other = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True))
    whole, proof = tree.root(size), tree.path(index, size)
    assert verify_inclusion(leaves[index], index, size, proof, whole)
    for wrong in data.draw(changes(proof)):
        assert not verify_inclusion(leaves[index], index, size, wrong, whole)
    assert not verify_inclusion(leaves[index], other, size, proof, whole)
    assert not verify_inclusion(leaves[other], index, size, proof, whole)
    assert not verify_inclusion(leaves[index], index, size, proof, leaves[other])
    assert not verify_inclusion(leaves[index], index, size, tree.path(other, size), whole)


@settings(deadline=None)
@given(st.integers(2, 3000), st.data())
def test_a_consistency_proof_with_anything_changed_does_not_hold(size: int, data: st.DataObject) -> None:
    tree = grown()
    first, other = data.draw(st.lists(st.integers(1, size), min_size=2, max_size=2, unique=True).map(sorted))
    roots = tree.root(first), tree.root(size)
    proof = tree.subproof(first, size)
    assert verify_consistency(first, size, proof, *roots)
    for wrong in data.draw(changes(proof)):
        assert not verify_consistency(first, size, wrong, *roots)
    assert not verify_consistency(first, size, proof, *roots[::-1])
    assert not verify_consistency(first, size, proof, tree.root(other), roots[1])
    assert not verify_consistency(first, size, proof, roots[0], leaf_hash(b"another"))
    assert not verify_consistency(first, size, tree.subproof(other, size), *roots)


def changes(proof: list[bytes]) -> st.SearchStrategy[list[list[bytes]]]:
    """Altered proofs: other bytes, another order, another length."""

    def with_a_bit_changed(at: int, bit: int) -> list[bytes]:
        changed = bytearray(proof[at])
        changed[bit // 8] ^= 1 << bit % 8
        return [*proof[:at], bytes(changed), *proof[at + 1 :]]

    bits = st.builds(with_a_bit_changed, st.integers(0, len(proof) - 1), st.integers(0, 255))
    orders = st.permutations(proof)
    shorter = st.integers(0, len(proof) - 1).map(lambda at: proof[:at] + proof[at + 1 :])
    longer = st.builds(
        lambda at, hash_: [*proof[:at], hash_, *proof[at:]],
        st.integers(0, len(proof)),
        st.sampled_from([*proof, b"", bytes(32)]),
    )
    of_another_length = st.builds(
        lambda at, end: [*proof[:at], proof[at][:end], *proof[at + 1 :]],
        st.integers(0, len(proof) - 1),
        st.integers(0, 31),
    )
    every_kind = st.tuples(bits, orders, shorter, longer, of_another_length)
    return every_kind.map(lambda wrong: [each for each in wrong if each != proof])


def test_a_proof_in_any_other_order_does_not_hold() -> None:
    tree, whole = grown(), grown().root(19)
    for index in range(19):
        for order in {*permutations(tree.path(index, 19))} - {tuple(tree.path(index, 19))}:
            assert not verify_inclusion(tree.leaves[index], index, 19, order, whole)
        before, proof = tree.root(index + 1), tree.subproof(index + 1, 19)
        for order in {*permutations(proof)} - {tuple(proof)}:
            assert not verify_consistency(index + 1, 19, order, before, whole)


def test_a_proof_holds_for_another_index_and_size_only_where_the_hashes_stand_on_the_same_sides() -> None:
    """A proof of the RFC does not contain the tree's size: a checkpoint signs it together with the root."""
    tree, trees = grown(), [(index, size) for size in range(1, 15) for index in range(size)]
    for index, size in trees:
        proof = tree.path(index, size)
        for other in trees:
            holds = sides_of_path(*other) == sides_of_path(index, size)
            assert verify_inclusion(tree.leaves[index], *other, proof, tree.root(size)) == holds
            assert not (holds and other[1] == size and other[0] != index)
        proof = tree.subproof(index + 1, size)
        for at, whole in trees:
            holds = sides_of_subproof(at + 1, whole) == sides_of_subproof(index + 1, size)
            assert verify_consistency(at + 1, whole, proof, tree.root(index + 1), tree.root(size)) == holds


@settings(max_examples=300, deadline=None)
@given(NUMBERS, NUMBERS, st.lists(HASHES, max_size=70), HASHES, HASHES)
def test_nothing_that_is_sent_makes_a_verification_fail_otherwise_than_by_false(
    index: int, size: int, proof: list[bytes], one: bytes, other: bytes
) -> None:
    lengths = {len(each) for each in (one, other, *proof)}
    found = verify_inclusion(one, index, size, proof, other), verify_consistency(index, size, proof, one, other)
    if one != other or lengths != {32}:
        assert found == (False, False)
    assert not verify_consistency(size, index, [*proof, b""], one, other)
    assert not verify_inclusion(one, index, size, [*proof, bytes(33)], other)


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
