"""Schools with their locations, keys and boards."""

from collections.abc import Collection, Sequence

from sqlmodel import col, select

from api.queries.session import Session, required
from models.consents.schools import Board, Location, School, SchoolKey
from models.vocabulary.refusals import InvalidInput


async def school(session: Session, brin: str) -> School:
    return required(await session.get(School, brin), "There is no such school, or it is not yours.")


async def locations(session: Session, brin: str) -> Sequence[Location]:
    return (await session.exec(select(Location).where(Location.brin == brin).order_by(col(Location.code)))).all()


async def locations_listed(session: Session, codes: Collection[str]) -> set[str]:
    """The codes in `codes` of locations that are still listed."""
    query = select(Location.code).where(col(Location.code).in_(codes), col(Location.gone_at).is_(None))
    return set(await session.exec(query))


async def require_listed(session: Session, brin: str, location: str | None) -> None:
    """Raises `InvalidInput` unless `location` is None or a listed location of this school."""
    if location is None:
        return
    listed = [each.code for each in await locations(session, brin) if each.gone_at is None]
    if location not in listed:
        raise InvalidInput(f"{location} is not a location of {brin}.")


async def school_key(session: Session, schoolkey: str) -> SchoolKey:
    return required(await session.get(SchoolKey, schoolkey), "There is no such schoolkey.")


async def key_of_school(session: Session, brin: str, schoolkey: str) -> SchoolKey:
    key = await session.get(SchoolKey, schoolkey)
    return required(key if key and key.brin == brin else None, "There is no such schoolkey.")


async def school_keys(session: Session, brin: str, after: str, limit: int) -> Sequence[SchoolKey]:
    query = select(SchoolKey).where(SchoolKey.brin == brin, col(SchoolKey.schoolkey) > after)
    return (await session.exec(query.order_by(col(SchoolKey.schoolkey)).limit(limit + 1))).all()


async def board(session: Session, number: str) -> Board:
    return required(await session.get(Board, number), "There is no such board, or it is not yours.")


async def schools_of_board(session: Session, board_number: str) -> Sequence[School]:
    """The listed schools of a board."""
    query = select(School).where(School.board_number == board_number, col(School.gone_at).is_(None))
    return (await session.exec(query.order_by(col(School.brin)))).all()


async def schools_named(session: Session, brins: Collection[str]) -> dict[str, School]:
    found = await session.exec(select(School).where(col(School.brin).in_(brins)))
    return {school.brin: school for school in found}
