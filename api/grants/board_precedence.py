"""The standing of a grant, its school's or its board's: facts from the log, rule in `models/consents/board_grants`."""

from collections.abc import Collection
from datetime import datetime

from api.queries import grant_rows
from api.queries.session import Session
from models.consents.board_grants import GrantAction, Standing, standing_of
from models.consents.grants import Grant
from models.decision.grant_status import status_at


async def standings_of(session: Session, grants: Collection[Grant], now: datetime) -> dict[str, Standing]:
    """The standing of each grant at `now`, by grant id. Each grant must be the latest for a whole school."""
    actions: dict[str, list[GrantAction]] = {}
    for grant_id, kind, role in await grant_rows.actions_of_grants(session, [grant.grant_id for grant in grants]):
        actions.setdefault(grant_id or "", []).append(GrantAction(kind, role))
    return {grant.grant_id: standing_of(status_at(grant, now), actions.get(grant.grant_id, [])) for grant in grants}
