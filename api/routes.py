"""The routes of all modules as an application with its published contract, without a store and without jobs."""

from functools import cache
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from api.contract import document as contract
from api.deletions import deletion_routes
from api.evidence import erasure_routes, log_routes, receipts
from api.grants import board_routes, consent_routes, offer_routes, request_routes, school_routes
from api.history import decision_log_routes, diff_routes, replay_routes
from api.incidents import incident_routes
from api.notifications import feed_routes, webhook_routes
from api.onboarding import applicant_routes, case_routes
from api.processing_register import register_routes
from api.registry import (
    agreement_routes,
    connection_routes,
    emergency_routes,
    ground_rule_routes,
    partner_routes,
    school_key_routes,
)
from api.reminders import contact_routes, due_routes
from api.web import exception_handlers, health
from api.web.idempotency import RepeatedWrite, replay_answer

#: All modules with routes: one for each caller, and for each subject that several callers share.
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
    partner_routes,
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
)


def documented_app(lifespan: contract.Lifespan | None = None) -> FastAPI:
    """All routes with the published contract, without a store."""
    app = FastAPI(
        lifespan=lifespan, routes=_routes(), docs_url=None, redoc_url=None, redirect_slashes=False, **contract.ABOUT
    )
    exception_handlers.install(app)
    app.add_exception_handler(RepeatedWrite, replay_answer)
    contract.publish(app)
    return app


@cache
def _routes() -> list[BaseRoute]:
    """The routes of all modules, the same for all services of a process.

    They are not included in a router of the application, since FastAPI would analyse each a second time. They are
    shared between applications, so `dependency_overrides` has no effect on them.
    """
    routes = [route for door in DOORS for route in door.router.routes]
    for route in routes:
        if isinstance(route, APIRoute):
            route.responses = {**contract.OF_ANY_ROUTE, **route.responses}
    # Whether the service lives is answered without the store.
    return [*health.router.routes, *routes]
