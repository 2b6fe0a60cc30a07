"""Checks before a process serves: a trusted issuer, a schema at head, a store that is not behind."""

import asyncio
import logging
from typing import Final

from sqlalchemy.exc import DBAPIError

from api.evidence.backup_recovery import require_not_behind
from api.evidence.key_custody import StoreRefused, keys_of_store, record_schools_once, seal_open_texts
from api.security.evidence_keys import EvidenceKeys
from api.security.issuers import TrustedIssuer
from api.security.sealing import Sealing
from api.security.tokens import EmbeddedIssuer
from api.settings import NotReadyToServe, Settings
from api.snapshot.current import CurrentSnapshot
from api.store.engines import is_standby_error, outage_errors
from api.store.migrations import head, revision_of
from api.store.store import Store
from models.decision.route_table import RouteTable

logger = logging.getLogger("privacy_manager.startup")


#: Delay between two attempts to load from an unreachable store.
WAIT_SECONDS: Final = 0.5


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

    Raises `NotReadyToServe` when the store is not fit for use, and `StoreUnreachable`.
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
    """Loads all facts into memory as soon as the store answers. Returns the keys of its evidence.

    A worker that is restarted while the store is away waits: if it exited, its server would take the service for broken
    and stop all of it.
    """
    while True:
        try:
            keys = await _own(store, settings)
            store.sealing = Sealing(keys)
            await seal_open_texts(store)
            # A process that was stopped may have left erased bytes there.
            await store.truncate_write_ahead_log()
            await record_schools_once(store)
            await current.load()
            return keys
        except outage_errors() as error:
            logger.warning("waiting for the store: %r", getattr(error, "orig", None) or error)
            await asyncio.sleep(WAIT_SECONDS)


async def _require_schema(store: Store) -> None:
    try:
        found, wanted = await revision_of(store), head()
    except DBAPIError as error:
        if is_standby_error(error):
            raise NotReadyToServe(
                "The store is a standby: what it has may be old, and decisions are made on the primary alone."
            ) from None
        raise
    if found != wanted:
        raise NotReadyToServe(
            f"The store's schema is at {found or 'nothing'}, this version needs {wanted}:"
            " run `privacy-manager migrate`."
        )
