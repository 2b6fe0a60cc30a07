"""What must hold before a process serves: an issuer to trust, a schema at its head, a store that is not behind."""

import asyncio
import logging
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError

from api.evidence.backup_recovery import require_not_behind
from api.evidence.key_custody import StoreRefused, keys_of_store, record_schools_once, seal_open_texts
from api.security.evidence_keys import EvidenceKeys
from api.security.issuers import TrustedIssuer
from api.security.sealing import Sealing
from api.security.tokens import EmbeddedIssuer
from api.settings import Settings
from api.snapshot.current import CurrentSnapshot
from api.store.engines import is_of_a_standby
from api.store.migrations import head, revision_of
from api.store.outage import StoreUnreachable
from api.store.store import Store
from models.decision.route_table import RouteTable

logger = logging.getLogger("privacy_manager.startup")


#: Between two attempts to load from a store that does not answer.
WAIT_SECONDS: Final = 0.5


class NotReadyToServe(Exception):
    """Why this process refuses to start."""


def issuers_of(settings: Settings) -> list[TrustedIssuer]:
    issuers = list(settings.trusted_issuers)
    if settings.embeds_issuer:
        issuers.append(EmbeddedIssuer.at(settings.issuer_key).trusted())
    if not issuers:
        raise NotReadyToServe(
            "No issuer is trusted: set PRIVACY_MANAGER_TRUSTED_ISSUERS,"
            " or PRIVACY_MANAGER_MODE=demo on a machine of your own."
        )
    return issuers


def route_table_of(settings: Settings) -> RouteTable:
    if settings.route_table is None:
        return RouteTable()
    try:
        return RouteTable.read(settings.route_table.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotReadyToServe(f"The route table {settings.route_table} cannot be used:\n{error}") from None


async def require_ready(settings: Settings) -> None:
    """Raises `NotReadyToServe` or `StoreUnreachable` when a server with these settings could not start."""
    issuers_of(settings)
    route_table_of(settings)
    await require_own_store(settings)


async def require_own_store(settings: Settings) -> EvidenceKeys:
    """The keys of the store of these settings.

    Raises `NotReadyToServe` where it is not one to work on as it now is, and `StoreUnreachable`.
    """
    store = Store(settings.store_url)
    try:
        return await _own(store, settings)
    except StoreRefused as refused:
        raise NotReadyToServe(str(refused)) from None
    finally:
        await store.aclose()


async def _own(store: Store, settings: Settings) -> EvidenceKeys:
    await _require_schema(store)
    keys = await keys_of_store(store, settings.evidence_keys_file)
    await require_not_behind(store, settings.known_checkpoint_file, keys)
    return keys


async def load(store: Store, current: CurrentSnapshot, settings: Settings) -> EvidenceKeys:
    """Everything into memory, as soon as the store answers; returns the keys of its evidence.

    A worker that takes the place of another one while the store is away waits: if it gave up, its server would take the
    service for broken, and stop all of it.
    """
    while True:
        try:
            keys = await _own(store, settings)
            store.sealing = Sealing(keys)
            await seal_open_texts(store)
            # A process that ended, or was ended, may have left it to the next one.
            await store.leave_nothing_behind()
            await record_schools_once(store)
            await current.load()
            return keys
        except (OSError, DBAPIError, StoreUnreachable, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            logger.warning("waiting for the store: %r", getattr(error, "orig", None) or error)
            await asyncio.sleep(WAIT_SECONDS)


async def _require_schema(store: Store) -> None:
    try:
        found, wanted = await revision_of(store), head()
    except DBAPIError as error:
        if is_of_a_standby(error):
            raise NotReadyToServe(
                "The store is a standby: what it has may be old, and decisions are made on the primary alone."
            ) from None
        raise
    if found != wanted:
        raise NotReadyToServe(
            f"The store's schema is at {found or 'nothing'}, this version needs {wanted}:"
            " run `privacy-manager migrate`."
        )
