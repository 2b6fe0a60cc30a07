"""The application: combines routes, shared services and background jobs."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from api.deletions.duties import DutyJob
from api.edge.admission import Admission, AdmissionControl, AtOnce, Share
from api.edge.authentication import Authentication, needs_token
from api.edge.request_context import Envelope
from api.edge.server_state import ON_STOP
from api.edu_v import door as edu_v
from api.edu_v import status_codes as edu_v_status_codes
from api.evidence.backup_recovery import run_checkpoint_job
from api.gateways import forward_auth
from api.gateways.evaluation import Evaluation, Evaluations
from api.gateways.forward_auth import Authorize, PartnerOfToken
from api.gateways.metadata import METADATA, Metadata
from api.gateways.search_routes import ActionSearch, ResourceSearch, SubjectSearch
from api.grants.expiry_job import run_expiry_job
from api.history.retention_job import run_retention_job
from api.notifications.change_listeners import ChangeListeners
from api.notifications.delivery import BESIDE, delivering
from api.notifications.targets import Targets
from api.onboarding.applicant_routes import ApplicationRateLimits
from api.processing_register.pdf_process import PdfProcess
from api.reminders.letters_job import LettersJob
from api.reminders.mail_job import MailServer, run_mail_job
from api.routes import documented_app
from api.security.evidence_keys import EvidenceKeys
from api.security.rates import Rates
from api.security.tokens import TokenVerifier
from api.settings import Settings
from api.snapshot.current import CurrentSnapshot
from api.snapshot.source import FactSource
from api.snapshot.sqlite import SqliteFacts
from api.startup import issuers_of, load, route_table_of
from api.store.store import Store
from api.store.timing import Clock
from api.web import availability
from api.web.availability import StoreAvailability
from api.web.concurrency import RebuildLimiter
from api.web.files import FileWriteLock
from api.web.services import Services
from models.vocabulary.working_days import load_holidays


class Front:
    """Sends the requests of gateways straight to the hooks, and everything else through FastAPI."""

    def __init__(self, app: ASGIApp, hooks: Mapping[str, ASGIApp]) -> None:
        self.app = app
        self.hooks = hooks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hook = (self.hooks.get(scope["path"]) or self._below(scope["path"])) if scope["type"] == "http" else None
        await (hook or self.app)(scope, receive, send)

    def _below(self, path: str) -> ASGIApp | None:
        """Envoy appends the path of the request that it asks about to ours."""
        return self.hooks.get(forward_auth.PATH) if path.startswith(f"{forward_auth.PATH}/") else None


class Service(Front):
    """The service as an ASGI application. `running()` starts and stops it without a server."""

    def __init__(self, app: FastAPI, hooks: Mapping[str, ASGIApp], services: Services) -> None:
        super().__init__(_behind_proxy(app), hooks)
        self.services = services
        self._app = app

    def running(self) -> AbstractAsyncContextManager[Any]:
        return self._app.router.lifespan_context(self._app)


def _behind_proxy(app: ASGIApp) -> ASGIApp:
    """Wraps an application in the envelope, and takes the caller's address and scheme from a proxy on this machine.

    Applications are rate-limited by that address.
    """
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
    return cast(ASGIApp, ProxyHeadersMiddleware(cast(Any, Envelope(app)), trusted))


def create_app(settings: Settings, clock: Clock | None = None, on_loaded: Callable[[], None] = lambda: None) -> Service:
    """The service for these settings. Raises `NotReadyToServe` without any trusted issuer of tokens.

    `clock` is the store's clock in tests; `on_loaded` is called once all facts are in memory.
    """
    store = Store(settings.store_url, clock)
    failures = Rates(settings.failed_tokens_per_minute / 60, settings.failed_tokens_per_minute)
    verifier = TokenVerifier(issuers_of(settings), failures=failures)
    admission = Admission(Share(settings.caller_per_second, settings.caller_at_once))
    current = CurrentSnapshot(
        source_for(store), settings.store_deadline, store.invalidate_connections, logged=settings.decision_log
    )
    targets = Targets(loopback=settings.sends_to_loopback)
    turnstile = ApplicationRateLimits(settings.applications_per_hour, settings.applications_per_day)
    services = Services(store, verifier, current, PdfProcess(), targets, RebuildLimiter(), FileWriteLock(), turnstile)
    abandoned: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with contextlib.AsyncExitStack() as stack:
            _close_at_the_end(stack, services)
            stack.push_async_callback(availability.wait_for_abandoned, abandoned)
            stack.push_async_callback(verifier.aclose)
            stack.push_async_callback(current.aclose)
            keys, listeners = await load(store, current, settings), ChangeListeners(store, current)
            services.put(keys)
            services.put(listeners)
            stack.push_async_callback(listeners.aclose)
            load_holidays()
            on_loaded()
            for job in _jobs(store, settings, keys):
                stack.push_async_callback(_ended, asyncio.create_task(job))
            if settings.delivers:
                await stack.enter_async_context(delivering(settings, keys, BESIDE, clock, store.queue))
            yield {ON_STOP: listeners.stop}

    app = documented_app(lifespan)
    services.install(app.state)
    app.add_middleware(StoreAvailability, store=store, current=current, abandoned=abandoned)
    app.add_middleware(AdmissionControl, admission=admission, elsewhere=f"{edu_v.PATH}/")
    app.add_middleware(Authentication, verifier=verifier, guards=needs_token)
    app.mount(edu_v.PATH, _edu_v(services, abandoned, admission))
    return Service(app, _hooks(settings, verifier, current), services)


def _close_at_the_end(stack: contextlib.AsyncExitStack, services: Services) -> None:
    stack.push_async_callback(services.of(Store).aclose)
    stack.push_async_callback(services.of(PdfProcess).aclose)
    stack.callback(services.of(Targets).close)


def _jobs(store: Store, settings: Settings, keys: EvidenceKeys) -> Iterator[Coroutine[Any, Any, None]]:
    """Background jobs that run as long as the process serves."""
    mail = MailServer.of(settings)
    yield run_expiry_job(store, settings.expiry_interval)
    yield DutyJob(store).run_every(settings.expiry_interval)
    yield LettersJob(store, settings.operator_email, mails=mail is not None).run_every()
    if mail is not None:
        yield run_mail_job(store, mail)
    yield run_checkpoint_job(store, settings.known_checkpoint_file, keys)
    yield run_retention_job(store, settings.decision_log_days, digests=settings.decision_log)


def _hooks(settings: Settings, verifier: TokenVerifier, current: CurrentSnapshot) -> Mapping[str, ASGIApp]:
    """The hooks for gateways by path, outside FastAPI."""
    one, many = AtOnce(settings.gateway_at_once), AtOnce(max(1, settings.gateway_at_once // 16))
    return {
        "/access/v1/evaluation": Evaluation(verifier, current, one),
        "/access/v1/evaluations": Evaluations(verifier, current, many),
        "/access/v1/search/subject": SubjectSearch(verifier, current, many),
        "/access/v1/search/resource": ResourceSearch(verifier, current, many),
        "/access/v1/search/action": ActionSearch(verifier, current, many),
        forward_auth.PATH: Authorize(verifier, current, route_table_of(settings), one),
        forward_auth.PARTNER_PATH: PartnerOfToken(verifier, one),
        METADATA: _behind_proxy(Metadata(settings.public_url)),
    }


def _edu_v(services: Services, abandoned: set[asyncio.Task[None]], admission: Admission) -> FastAPI:
    """The Edu-V API, with the same store and tokens; its refusals are in the format of its standard."""
    door = edu_v.documented_door()
    services.install(door.state)
    door.add_middleware(
        StoreAvailability,
        store=services.of(Store),
        current=services.of(CurrentSnapshot),
        abandoned=abandoned,
        prefix=f"{edu_v.PATH}/",
        answer=edu_v_status_codes.unreachable,
    )
    verifier = services.of(TokenVerifier)
    door.add_middleware(AdmissionControl, admission=admission, answer=edu_v_status_codes.answer)
    door.add_middleware(Authentication, verifier=verifier, guards=edu_v.needs_token, answer=edu_v_status_codes.answer)
    return door


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def source_for(store: Store) -> FactSource:
    if store.is_sqlite:
        return SqliteFacts(str(store.url.database), store.queue, store.clock)
    from api.snapshot.postgresql import PostgresqlFacts

    # Connection arguments as SQLAlchemy would pass them, so that both accept the same URLs.
    _, arguments = store.engine.dialect.create_connect_args(store.url)
    return PostgresqlFacts(arguments, store.clock)
