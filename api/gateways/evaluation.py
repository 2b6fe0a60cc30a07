"""The decision hook for gateways, OpenID AuthZEN 1.0: may this data be released now?

This is the hot path, outside FastAPI's dependencies and validation. Read it from `Evaluation` downwards: caller,
question, current snapshot, decision, its line in the log, answer.
"""

import logging
from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any, ClassVar, Final

from starlette.types import Receive, Scope, Send

from api.edge import problems
from api.edge.admission import MOST_AT_ONCE, AtOnce
from api.edge.authentication import authenticated
from api.edge.problems import FORBIDDEN, INTERNAL, INVALID_INPUT, METHOD_NOT_ALLOWED, TOO_LARGE, Refused
from api.edge.request_context import TOO_LONG, caller_of, headers_around, is_too_long, request_id_in, with_headers
from api.gateways.authzen import Semantic, encoded, question_of, questions_of, response_of
from api.security.tokens import Claims, TokenVerifier
from api.snapshot.current import CurrentSnapshot
from api.snapshot.pending_decision import Logged
from api.store.outage import StoreBehind, StoreUnreachable
from models.decision.decision import FOREVER, Decision, Question, Reason, behind, decide, steady_until, unreachable
from models.decision.decision_log import Door, Line, LoggedCaller, line_of, line_of_malformed
from models.decision.snapshot import Snapshot

log = logging.getLogger("privacy_manager.gateways")

#: Reasons that concern the store, not a permission; a gateway may retry.
UNAVAILABLE: Final = frozenset({Reason.STORE_UNREACHABLE, Reason.REVISION_BEHIND})

_JSON: Final = (b"content-type", b"application/json")
_RETRY_SOON: Final = (b"retry-after", b"1")


class Hook(ABC):
    """Base of the hooks: checks the gateway's role, reads a limited body, answers with a decision or a refusal."""

    most_bytes: ClassVar[int]

    def __init__(self, verifier: TokenVerifier, current: CurrentSnapshot, at_once: AtOnce | None = None) -> None:
        self.verifier = verifier
        self.current = current
        self.at_once = at_once or AtOnce(MOST_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        around = headers_around(scope)
        try:
            claims = await self._require_gateway(scope)
            caller = caller_of(claims.issuer, claims.subject, around)
            who = claims.issuer, claims.subject
            self.at_once.enter(who)
            try:
                status, answer = await self.answer(await _body(receive, self.most_bytes), caller)
            finally:
                self.at_once.leave(who)
        except Refused as refused:
            headers = {"Allow": "POST"} if refused.problem is METHOD_NOT_ALLOWED else refused.response_headers
            refusal = problems.answer(refused.problem, refused.detail, headers)
            return await refusal(scope, receive, with_headers(around, send))
        except Exception:
            log.exception("request %s failed", request_id_in(around))
            refusal = problems.answer(INTERNAL, "Release nothing.", decision=False)
            return await refusal(scope, receive, with_headers(around, send))
        if status == 503:
            around.append(_RETRY_SOON)
        length = (b"content-length", b"%d" % len(answer))
        await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *around]})
        await send({"type": "http.response.body", "body": answer})

    @abstractmethod
    async def answer(self, body: bytes, caller: LoggedCaller) -> tuple[int, bytes]:
        """Status and body of the answer. Raises `Refused`."""

    async def _require_gateway(self, scope: Scope) -> Claims:
        if is_too_long(scope):
            raise Refused(INVALID_INPUT, TOO_LONG)
        if scope["method"] != "POST":
            raise Refused(METHOD_NOT_ALLOWED, "This is asked with POST.")
        claims = await authenticated(scope, self.verifier)
        if "gateway" not in claims.roles:
            raise Refused(FORBIDDEN, "This needs a token with the role gateway.")
        return claims


class Evaluation(Hook):
    """`POST /access/v1/evaluation`: one question, one decision."""

    most_bytes = 64 * 1024
    door = Door.EVALUATION

    async def answer(self, body: bytes, caller: LoggedCaller) -> tuple[int, bytes]:
        question = question_of(body)

        def decide_and_log(snapshot: Snapshot, now: datetime) -> Logged[Decision]:
            decision = decide(snapshot, question, now)
            line = line_of(caller, self.door, now, question, decision)
            return Logged(decision, [line], steady_until(snapshot, question, now))

        try:
            decision = await self.current.decide(decide_and_log)
        except StoreUnreachable:
            decision = unreachable(self.current.revision)
        except StoreBehind:
            decision = behind(self.current.revision)
        return 503 if decision.reason in UNAVAILABLE else 200, encoded(response_of(decision))


class Evaluations(Evaluation):
    """`POST /access/v1/evaluations`: many questions, decided on one snapshot, at one instant."""

    most_bytes = 1024 * 1024
    door = Door.EVALUATIONS

    async def answer(self, body: bytes, caller: LoggedCaller) -> tuple[int, bytes]:
        questions = questions_of(body)
        if isinstance(questions, Question):
            return await super().answer(body, caller)

        def decide_and_log(snapshot: Snapshot, now: datetime) -> Logged[list[Any]]:
            return _decide_all(*questions, caller, snapshot, now)

        try:
            evaluations = await self.current.decide(decide_and_log)
        except StoreUnreachable:
            return 503, encoded(response_of(unreachable(self.current.revision)))
        except StoreBehind:
            return 503, encoded(response_of(behind(self.current.revision)))
        return 200, encoded({"evaluations": evaluations})


def _decide_all(
    semantic: Semantic, questions: list[Question | Refused], caller: LoggedCaller, snapshot: Snapshot, now: datetime
) -> Logged[list[Any]]:
    answers: list[Any] = []
    lines: list[Line] = []
    until = FOREVER
    for question in questions:
        if isinstance(question, Refused):
            permit = False
            answers.append(_malformed(question))
            lines.append(line_of_malformed(caller, now, snapshot.revision))
        else:
            decision = decide(snapshot, question, now)
            permit = decision.permit
            answers.append(response_of(decision))
            lines.append(line_of(caller, Door.EVALUATIONS, now, question, decision))
            until = min(until, steady_until(snapshot, question, now))
        if semantic is (Semantic.PERMIT_ON_FIRST_PERMIT if permit else Semantic.DENY_ON_FIRST_DENY):
            break
    return Logged(answers, lines, until)


def _malformed(refused: Refused) -> dict[str, Any]:
    error = {"status": refused.problem.status, "message": refused.detail}
    return {"decision": False, "context": {"error": error}}


async def _body(receive: Receive, limit: int) -> bytes:
    """Reads the body. Raises `Refused` for one larger than `most` bytes, or cut off."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(INVALID_INPUT, "The request ended early.")
        chunk: bytes = message.get("body", b"")
        body = body + chunk if body else chunk
        if len(body) > limit:
            raise Refused(TOO_LARGE, f"At most {limit} bytes.")
        if not message.get("more_body", False):
            return body
