"""An ordinary implementation of the hook: Pydantic models, and a session and a query for each request.

It answers the same questions on the same rows, and verifies the caller's token in the same way.
"""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.security.tokens import Claims, EmbeddedIssuer, TokenRefused, TokenVerifier
from models.consents.agreements import Agreement
from models.consents.grants import Grant
from models.consents.ground_rules import GroundRule
from models.consents.partners import Connection, Partner
from models.consents.schools import School
from models.decision.kept_rules import GroundRuleName

app = FastAPI()
engine = create_async_engine(os.environ["BENCH_STORE"])
verifier = TokenVerifier([EmbeddedIssuer.at(Path(os.environ["BENCH_ISSUER"])).trusted()])


class Subject(BaseModel):
    type: str
    id: str


class Action(BaseModel):
    name: str


class Properties(BaseModel):
    scopes: list[str] = []


class Resource(BaseModel):
    type: str
    id: str
    properties: Properties = Properties()


class Context(BaseModel):
    purpose: str | None = None


class EvaluationRequest(BaseModel):
    subject: Subject
    action: Action
    resource: Resource
    context: Context = Context()


class EvaluationResponse(BaseModel):
    decision: bool
    context: dict[str, Any]


async def session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine) as db_session:
        yield db_session


async def gateway(authorization: Annotated[str, Header()]) -> Claims:
    token = authorization.removeprefix("Bearer ")
    try:
        claims = verifier.cached_claims(token) or await verifier.verify(token)
    except TokenRefused:
        raise HTTPException(401) from None
    if "gateway" not in claims.roles:
        raise HTTPException(403)
    return claims


@app.post("/access/v1/evaluation")
async def evaluation(
    request: EvaluationRequest,
    db_session: Annotated[AsyncSession, Depends(session)],
    _: Annotated[Claims, Depends(gateway)],
) -> EvaluationResponse:
    rules_kept = (
        select(func.count(func.distinct(GroundRule.rule)))
        .where(GroundRule.client_id == Grant.client_id, col(GroundRule.ended).is_(False), col(GroundRule.kept))
        .scalar_subquery()
    )
    query = (
        select(Grant, Connection, Partner, Agreement)
        .join(School, col(School.brin) == Grant.brin)
        .join(Connection, col(Connection.client_id) == Grant.client_id)
        .join(Partner, col(Partner.kvk_number) == Connection.kvk_number)
        .join(Agreement, col(Agreement.client_id) == Grant.client_id)
        .where(
            Grant.client_id == request.subject.id,
            Grant.brin == request.resource.id,
            col(School.gone_at).is_(None),
            col(Agreement.ended).is_(False),
            rules_kept == len(GroundRuleName),
        )
        .order_by(col(Grant.granted_at_revision).desc(), col(Agreement.registered_at_revision).desc())
        .limit(1)
    )
    row = (await db_session.exec(query)).first()
    if row is None:
        return EvaluationResponse(decision=False, context={"reason": "no_grant"})
    grant, connection, partner, agreement = row
    now = datetime.now(UTC)
    wanted = set(request.resource.properties.scopes)
    permit = (
        request.action.name == "release"
        and connection.stage == "live"
        and connection.stopped_at is None
        and partner.stopped_at is None
        and grant.status == "granted"
        and grant.valid_from <= now
        and (grant.valid_until is None or now < grant.valid_until)
        and wanted <= set(grant.scopes) & set(agreement.scopes)
        and request.context.purpose in set(grant.purposes) & set(agreement.purposes)
    )
    context = {"reason": "granted" if permit else grant.status, "grantId": grant.grant_id, "scopes": grant.scopes}
    return EvaluationResponse(decision=permit, context=context)
