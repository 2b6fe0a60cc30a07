"""The application, put together: the doors, what they share, and what runs beside them."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any, Final, cast

import asyncpg
from fastapi import APIRouter, FastAPI
from sqlalchemy.exc import DBAPIError
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api.contract import document as contract
from api.deletions import deletion_routes
from api.deletions.duties import KeepingDuties
from api.edge.authentication import Authentication, needs_token
from api.edge.request_context import Envelope
from api.edge.server import ON_STOP
from api.edu_v import answers as edu_v_answers
from api.edu_v import door as edu_v
from api.evidence import erasure_routes, log_routes, receipts
from api.evidence.backup_recovery import keep_checkpoints, require_not_behind
from api.evidence.key_custody import StoreRefused, evidence_of, seal_what_is_open, tell_of_schools
from api.gateways import forward_auth, metadata
from api.gateways.evaluation import Evaluation, Evaluations
from api.gateways.forward_auth import Authorize, PartnerOfToken
from api.gateways.search_routes import ActionSearch, ResourceSearch, SubjectSearch
from api.grants import board_routes, consent_routes, offer_routes, request_routes, school_routes
from api.grants.expiry_job import keep_expiring
from api.history import decision_log_routes, diff_routes, replay_routes
from api.history.retention_job import keep_log
from api.incidents import incident_routes
from api.notifications import feed_routes, webhook_routes
from api.notifications.change_listeners import AwaitedChanges
from api.notifications.delivery import BESIDE, delivering
from api.notifications.targets import Targets
from api.onboarding import applicant_routes, case_routes
from api.processing_register import register_routes
from api.processing_register.pdf_process import Drawing
from api.registry import agreement_routes, connection_routes, emergency_routes, ground_rule_routes, school_key_routes
from api.reminders import contact_routes, due_routes
from api.reminders.letters_job import Reminding
from api.reminders.mail_job import MailServer, keep_sending
from api.security.evidence_keys import EvidenceKeys
from api.security.issuers import TrustedIssuer
from api.security.sealing import Sealing
from api.security.tokens import EmbeddedIssuer, TokenVerifier
from api.settings import Settings
from api.snapshot.current import CurrentSnapshot
from api.snapshot.postgresql import PostgresqlFacts
from api.snapshot.source import FactSource
from api.snapshot.sqlite import SqliteFacts
from api.store.engines import is_of_a_standby
from api.store.migrations import head, revision_of
from api.store.outage import StoreUnreachable
from api.store.store import Store
from api.store.timing import Clock
from api.web import availability, exception_handlers, health
from api.web.availability import WhileReachable
from api.web.concurrency import Turns
from api.web.idempotency import Replayed, give_again
from models.decision.route_table import RouteTable

#: Every module with routes; one for each caller, and for each thing that several of them look after.
DOORS: Final = (
    school_routes,
    offer_routes,
    school_key_routes,
    board_routes,
    register_routes,
    consent_routes,
    feed_routes,
    request_routes,
    deletion_routes,
    contact_routes,
    webhook_routes,
    applicant_routes,
    case_routes,
    connection_routes,
    emergency_routes,
    agreement_routes,
    ground_rule_routes,
    incident_routes,
    due_routes,
    log_routes,
    receipts,
    replay_routes,
    diff_routes,
    decision_log_routes,
    erasure_routes,
    metadata,
)


logger = logging.getLogger("privacy_manager.app")

#: Between two attempts to load from a store that does not answer.
WAIT_SECONDS: Final = 0.5


class NotReadyToServe(Exception):
    """Why this process refuses to start."""


class Front:
    """Sends the hook's requests straight to the hook, and everything else through FastAPI."""

    def __init__(self, app: ASGIApp, hooks: dict[str, ASGIApp]) -> None:
        self.app = app
        self.hooks = hooks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hook = (self.hooks.get(scope["path"]) or self._below(scope["path"])) if scope["type"] == "http" else None
        await (hook or self.app)(scope, receive, send)

    def _below(self, path: str) -> ASGIApp | None:
        """Envoy asks about a request at its own path, behind ours."""
        return self.hooks.get(forward_auth.PATH) if path.startswith(f"{forward_auth.PATH}/") else None


class Service(Front):
    """The service as an ASGI application. `running()` starts and stops it where no server does."""

    def __init__(self, app: FastAPI, hooks: dict[str, ASGIApp]) -> None:
        # The address that a proxy on this machine names is the caller's, by which applications are counted.
        trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
        proxied = ProxyHeadersMiddleware(cast(Any, Envelope(app)), trusted)
        super().__init__(cast(ASGIApp, proxied), hooks)
        self._app = app

    def running(self) -> AbstractAsyncContextManager[Any]:
        return self._app.router.lifespan_context(self._app)


def create_app(settings: Settings, clock: Clock | None = None, on_loaded: Callable[[], None] = lambda: None) -> Service:
    """The service for these settings. Raises `NotReadyToServe` when nothing could be trusted to sign a token.

    `clock` stands behind the store in tests; `on_loaded` is called once all facts are in memory.
    """
    store = Store(settings.store_url, clock)
    verifier = TokenVerifier(_issuers(settings))
    routes = _route_table(settings)
    current = CurrentSnapshot(source_for(store), settings.store_deadline, store.distrust, logged=settings.decision_log)
    drawing, targets = Drawing(), Targets(loopback=settings.sends_to_loopback)
    given_up: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(store.aclose)
            stack.push_async_callback(drawing.aclose)
            stack.callback(targets.close)
            stack.push_async_callback(availability.ended, given_up)
            stack.push_async_callback(verifier.aclose)
            stack.push_async_callback(current.aclose)
            app.state.evidence = keys = await _load(store, current, settings)
            app.state.awaited = awaited = AwaitedChanges(store, current)
            stack.push_async_callback(awaited.aclose)
            on_loaded()
            mail = MailServer.of(settings)
            for job in (
                keep_expiring(store, settings.expiry_interval),
                KeepingDuties(store).keep(settings.expiry_interval),
                Reminding(store, settings.operator_email, mails=mail is not None).keep(),
                *([keep_sending(store, mail)] if mail is not None else []),
                keep_checkpoints(store, settings.known_checkpoint_file, keys),
                keep_log(store, settings.decision_log_days, digests=settings.decision_log),
            ):
                stack.push_async_callback(_ended, asyncio.create_task(job))
            if settings.delivers:
                await stack.enter_async_context(delivering(settings, keys, BESIDE, clock, store.queue))
            yield {ON_STOP: awaited.stop}

    app = documented_app(lifespan)
    app.state.store, app.state.current = store, current
    app.state.storing, app.state.drawing = asyncio.Semaphore(1), drawing
    app.state.turns = Turns()
    app.state.turnstile = applicant_routes.Turnstile(settings.applications_per_hour)
    app.state.applications_per_day = settings.applications_per_day
    app.state.public_url, app.state.verifier = settings.public_url, verifier
    app.state.targets = targets
    app.add_middleware(WhileReachable, store=store, current=current, given_up=given_up)
    app.add_middleware(Authentication, verifier=verifier, guards=needs_token)
    app.mount(edu_v.PATH, _edu_v(app, verifier, given_up))
    hooks: dict[str, ASGIApp] = {
        "/access/v1/evaluation": Evaluation(verifier, current),
        "/access/v1/evaluations": Evaluations(verifier, current),
        forward_auth.PATH: Authorize(verifier, current, routes),
        forward_auth.PARTNER_PATH: PartnerOfToken(verifier),
        "/access/v1/search/subject": SubjectSearch(verifier, current),
        "/access/v1/search/resource": ResourceSearch(verifier, current),
        "/access/v1/search/action": ActionSearch(verifier, current),
    }
    return Service(app, hooks)


def documented_app(lifespan: contract.Lifespan | None = None) -> FastAPI:
    """Every route, with the published contract, and no store behind it yet."""
    app = FastAPI(
        lifespan=lifespan, routes=_routes(), docs_url=None, redoc_url=None, redirect_slashes=False, **contract.ABOUT
    )
    exception_handlers.install(app)
    app.add_exception_handler(Replayed, give_again)
    contract.publish(app)
    return app


@cache
def _routes() -> list[BaseRoute]:
    """Those of every door, once for all services of a process: FastAPI takes a while to make what it needs of them.

    They know no application, so `dependency_overrides` does not reach them.
    """
    every = APIRouter()
    # Whether the service lives is answered without the store.
    every.include_router(health.router)
    for door in DOORS:
        every.include_router(door.router, responses=contract.OF_ANY_ROUTE)
    return every.routes


def _edu_v(app: FastAPI, verifier: TokenVerifier, given_up: set[asyncio.Task[None]]) -> FastAPI:
    """The Edu-V door, on the same store and for the same tokens; what refuses there speaks its language."""
    beside = edu_v.documented_door()
    beside.state = app.state
    beside.add_middleware(
        WhileReachable,
        store=app.state.store,
        current=app.state.current,
        given_up=given_up,
        room=f"{edu_v.PATH}/",
        answer=edu_v_answers.unreachable,
    )
    beside.add_middleware(Authentication, verifier=verifier, guards=edu_v.needs_token, answer=edu_v_answers.answer)
    return beside


def _issuers(settings: Settings) -> list[TrustedIssuer]:
    issuers = list(settings.trusted_issuers)
    if settings.embeds_issuer:
        issuers.append(EmbeddedIssuer.at(settings.issuer_key).trusted())
    if not issuers:
        raise NotReadyToServe(
            "No issuer is trusted: set PRIVACY_MANAGER_TRUSTED_ISSUERS,"
            " or PRIVACY_MANAGER_MODE=demo on a machine of your own."
        )
    return issuers


def _route_table(settings: Settings) -> RouteTable:
    if settings.route_table is None:
        return RouteTable()
    try:
        return RouteTable.read(settings.route_table.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotReadyToServe(f"The route table {settings.route_table} cannot be used:\n{error}") from None


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def require_ready(settings: Settings) -> None:
    """Raises `NotReadyToServe` or `StoreUnreachable` when a server with these settings could not start."""
    _issuers(settings)
    _route_table(settings)
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
    keys = await evidence_of(store, settings.evidence_keys_file)
    await require_not_behind(store, settings.known_checkpoint_file, keys)
    return keys


async def _load(store: Store, current: CurrentSnapshot, settings: Settings) -> EvidenceKeys:
    """Everything into memory, as soon as the store answers; returns the keys of its evidence.

    A worker that takes the place of another one while the store is away waits: if it gave up, its server would take the
    service for broken, and stop all of it.
    """
    while True:
        try:
            keys = await _own(store, settings)
            store.sealing = Sealing(keys)
            await seal_what_is_open(store)
            # A process that ended, or was ended, may have left it to the next one.
            await store.leave_nothing_behind()
            await tell_of_schools(store)
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


def source_for(store: Store) -> FactSource:
    if store.is_sqlite:
        return SqliteFacts(str(store.url.database), store.queue, store.clock)
    # As SQLAlchemy would connect: what the address may say there, it may say here too.
    _, arguments = store.engine.dialect.create_connect_args(store.url)
    return PostgresqlFacts(arguments, store.clock)
