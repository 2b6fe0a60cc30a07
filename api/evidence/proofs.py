"""Checkpoints, roots and proofs of the log (RFC 9162), computed from the stored leaves and nodes."""

from collections import defaultdict
from typing import NamedTuple

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security.evidence_keys import EvidenceKeys
from models.log.events import Event, LogNode, Revision
from models.log.merkle import BLOCK, Peaks, Plan, Read
from models.log.signed_notes import Checkpoint, signed


class Proof(NamedTuple):
    """The hashes of a proof, and the roots of the trees that it is about."""

    hashes: list[bytes]
    roots: list[bytes]


async def checkpoint(session: AsyncSession, keys: EvidenceKeys, *extensions: str) -> str:
    """The checkpoint of the log as the session sees it, as a signed note; `extensions` are its lines after the root."""
    counted = await session.get_one(Revision, 1)
    root = Peaks.of(counted.events, counted.peaks).root
    return signed(Checkpoint(keys.origin, counted.events, root, extensions).text, keys.notes)


async def size_of(session: AsyncSession) -> int:
    """The number of entries of the log."""
    return (await session.get_one(Revision, 1)).events


async def root_of(session: AsyncSession, size: int) -> bytes:
    """The root of the log's first `size` entries, at least one."""
    return (await _prove(session, Plan(()), size)).roots[0]


async def inclusion(session: AsyncSession, number: int, size: int) -> Proof:
    """The proof that entry `number` is in the log's first `size` entries, with their root. Both must exist."""
    return await _prove(session, Plan.of_inclusion(number - 1, size), size)


async def consistency(session: AsyncSession, first: int, second: int) -> Proof:
    """The proof that the log of `first` entries is the beginning of the log of `second`, with the roots of both."""
    return await _prove(session, Plan.of_consistency(first, second), first, second)


async def _prove(session: AsyncSession, plan: Plan, *sizes: int) -> Proof:
    """The proof of a plan and the roots of these sizes, from one read of the nodes."""
    whole = Plan((*plan.spans, *((0, size) for size in sizes)))
    hashes = whole.proof(await _read_nodes(session, whole))
    return Proof(hashes[: len(plan.spans)], hashes[len(plan.spans) :])


async def _read_nodes(session: AsyncSession, plan: Plan) -> Read:
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
