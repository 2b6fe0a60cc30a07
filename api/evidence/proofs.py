"""What the store proves of its log: checkpoints, roots and proofs, made of the leaves and nodes that it keeps."""

from collections import defaultdict
from typing import NamedTuple

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security.evidence_keys import EvidenceKeys
from models.log.events import Event, LogNode, Revision
from models.log.merkle import BLOCK, Peaks, Plan, Read
from models.log.signed_notes import Checkpoint, signed


class Proof(NamedTuple):
    """The hashes of a proof, and the roots that it leads to."""

    hashes: list[bytes]
    roots: list[bytes]


async def checkpoint(session: AsyncSession, keys: EvidenceKeys, *extensions: str) -> str:
    """The log as the session sees it, as a signed note. `extensions` are lines that it has behind the root."""
    counted = await session.get_one(Revision, 1)
    root = Peaks.of(counted.events, counted.peaks).root
    return signed(Checkpoint(keys.origin, counted.events, root, extensions).text, keys.notes)


async def size_of(session: AsyncSession) -> int:
    """How many entries the log has."""
    return (await session.get_one(Revision, 1)).events


async def root_of(session: AsyncSession, size: int) -> bytes:
    """The root of the log when it had `size` entries, one at least."""
    return (await _proved(session, Plan(()), size)).roots[0]


async def inclusion(session: AsyncSession, number: int, size: int) -> Proof:
    """That entry `number` is in the log of `size` entries, which there are; with the root of that."""
    return await _proved(session, Plan.of_inclusion(number - 1, size), size)


async def consistency(session: AsyncSession, first: int, second: int) -> Proof:
    """That the log of `first` entries is the beginning of that of `second`, with the roots of both."""
    return await _proved(session, Plan.of_consistency(first, second), first, second)


async def _proved(session: AsyncSession, plan: Plan, *sizes: int) -> Proof:
    """What a plan needs and the roots of these sizes, of one reading."""
    whole = Plan((*plan.spans, *((0, size) for size in sizes)))
    hashes = whole.proof(await _read(session, whole))
    return Proof(hashes[: len(plan.spans)], hashes[len(plan.spans) :])


async def _read(session: AsyncSession, plan: Plan) -> Read:
    """The stored nodes that a plan needs."""
    found: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
    for level, block in plan.blocks:
        first = block * BLOCK
        if level == 0:
            leaves = select(Event.number, Event.leaf).where(col(Event.number).between(first + 1, first + BLOCK))
            found[0].update({number - 1: leaf for number, leaf in await session.exec(leaves)})
        else:
            nodes = select(LogNode.position, LogNode.hash).where(
                LogNode.level == level, col(LogNode.position).between(first, first + BLOCK - 1)
            )
            found[level].update(dict((await session.exec(nodes)).all()))
    return found
