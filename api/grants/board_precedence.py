"""Whose word counts for a connection at a school: read from the log, decided in `models/consents/board_grants.py`."""

from collections.abc import Collection
from datetime import datetime

from api.queries import grant_rows
from api.queries.session import Session
from models.consents.board_grants import Standing, Word, standing
from models.consents.grants import Grant
from models.decision.grant_status import status_at


async def standings_of(session: Session, grants: Collection[Grant], now: datetime) -> dict[str, Standing]:
    """By grant, of grants that are the latest for a whole school."""
    said: dict[str, list[Word]] = {}
    for grant_id, kind, role in await grant_rows.said_of_grants(session, [grant.grant_id for grant in grants]):
        said.setdefault(grant_id or "", []).append(Word(kind, role))
    return {grant.grant_id: standing(status_at(grant, now), said.get(grant.grant_id, [])) for grant in grants}
