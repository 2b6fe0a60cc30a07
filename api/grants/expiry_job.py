"""The job that writes the events of grants that ended or resumed by time, for feeds and history.

No decision waits for this job: decisions compare the store's clock with the grant's period themselves.
"""

import logging
from functools import partial
from typing import Final

from api.grants.grant_lifecycle import settle
from api.queries import grant_rows, registry_rows
from api.store.jobs import drain, every, repeat
from api.store.store import Store

log = logging.getLogger("privacy_manager.expiry")

BATCH: Final = 500


async def expire(store: Store) -> int:
    """Settles up to `BATCH` grants that ended, or resumed, by time; returns how many. Raises `StoreUnreachable`."""
    async with store.reading() as session:
        overdue = await grant_rows.grants_overdue(session, await store.now(session), 1)
    if not overdue:
        return 0
    async with store.writing() as write:
        grants = await grant_rows.grants_overdue(write.session, write.now, BATCH)
        partners = await registry_rows.partners_of_grants(write.session, grants)
        for grant in grants:
            settle(write, grant, partners[grant.client_id])
    return len(grants)


async def run_expiry_job(store: Store, interval: float) -> None:
    """Runs `expire` every `interval` seconds, for as long as the process runs."""
    await repeat(partial(drain, partial(expire, store), BATCH), every(interval), log, "a grant could not be settled")
