"""The gateway's client: may this be released now? OpenID AuthZEN 1.0.

Everything but a clear permit in time is a deny: no answer, another status, an answer in another format, or one that
permits less than was asked. Only cancellation is raised.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import httpx2
from pydantic import AwareDatetime, BaseModel, ConfigDict, StrictBool, StrictInt, StrictStr
from pydantic.alias_generators import to_camel

#: Limit of an answer per question; answers need far less. They are not decompressed.
MOST_ANSWER_BYTES: Final = 64 * 1024
MOST_QUESTIONS: Final = 1_000
#: Reason of a deny that the service did not give.
UNAVAILABLE: Final = "unavailable"


@dataclass(frozen=True, slots=True)
class Question:
    """May this connection receive this type of data of a school (BRIN4) or location (BRIN6)?

    `scopes` and `fields` must all be permitted. `min_revision` is the revision of a write that the answer must include.
    """

    client_id: str
    place: str
    type: str
    scopes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    purpose: str | None = None
    min_revision: int | None = None

    def body(self) -> dict[str, Any]:
        """The question in AuthZEN's JSON."""
        properties = {name: list(names) for name, names in (("scopes", self.scopes), ("fields", self.fields)) if names}
        optional = {"purpose": self.purpose, "minRevision": self.min_revision}
        context = {name: value for name, value in optional.items() if value is not None}
        return {
            "subject": {"type": "partner", "id": self.client_id},
            "action": {"name": "release"},
            "resource": {"type": self.type, "id": self.place, **({"properties": properties} if properties else {})},
            **({"context": context} if context else {}),
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """Release only `fields`, and only if `permit`. Do not store it: ask for each release.

    Its truth value is `permit`, so that no deny is taken for a yes.
    """

    permit: bool
    reason: str
    detail: str = ""
    revision: int | None = None
    scopes: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    grant_id: str | None = None
    valid_until: datetime | None = None
    uwlr_fault: str | None = None

    def __bool__(self) -> bool:
        return self.permit

    @classmethod
    def none(cls, detail: str) -> Self:
        """A deny without a decision by the service."""
        return cls(False, UNAVAILABLE, detail)


class Context(BaseModel):
    """The reason, its revision, and what may be released."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")

    reason: StrictStr
    revision: StrictInt
    scopes: list[StrictStr]
    fields: list[StrictStr]
    grant_id: StrictStr | None = None
    valid_until: AwareDatetime | None = None
    uwlr_fault: StrictStr | None = None


class EvaluationResponse(BaseModel):
    model_config = ConfigDict(extra="ignore")

    decision: StrictBool
    context: Context


class _Malformed(BaseModel):
    """The answer to a malformed question of a batch: a deny without more."""

    model_config = ConfigDict(extra="ignore")

    decision: StrictBool


class _Responses(BaseModel):
    model_config = ConfigDict(extra="ignore")

    evaluations: list[EvaluationResponse | _Malformed]


class Gateway:
    """Asks with a gateway's token. An answer after `deadline` seconds, fetching a token included, is a deny."""

    def __init__(
        self,
        address: str,
        token: httpx2.Auth,
        *,
        deadline: float = 1.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._deadline = deadline
        # No redirects, and no proxies of the environment: a decision comes from the configured address.
        self._client = httpx2.AsyncClient(
            base_url=address.rstrip("/"),
            auth=token,
            timeout=deadline,
            transport=transport,
            trust_env=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._client.aclose()

    async def evaluation(self, question: Question) -> Decision:
        """The decision on one question."""
        try:
            content = await self._post("/access/v1/evaluation", question.body(), MOST_ANSWER_BYTES)
            return _decision_of(question, EvaluationResponse.model_validate_json(content))
        except Exception as error:
            return Decision.none(_description_of(error))

    async def evaluations(self, questions: Sequence[Question]) -> list[Decision]:
        """The decisions on at most `MOST_QUESTIONS` questions, in order, as of one instant."""
        try:
            if not questions:
                return []
            body = {"evaluations": [question.body() for question in questions]}
            content = await self._post("/access/v1/evaluations", body, MOST_ANSWER_BYTES * len(questions))
            answers = _Responses.model_validate_json(content).evaluations
            return [_decision_of(*pair) for pair in zip(questions, answers, strict=True)]
        except Exception as error:
            return [Decision.none(_description_of(error)) for _ in questions]

    async def _post(self, path: str, body: dict[str, Any], limit: int) -> bytes:
        content = bytearray()
        async with (
            asyncio.timeout(self._deadline),
            self._client.stream("POST", path, json=body) as answer,
        ):
            if answer.status_code != 200:
                raise ValueError(f"status {answer.status_code}")
            if "content-encoding" in answer.headers:
                raise ValueError("an answer that is packed")
            async for piece in answer.aiter_bytes():
                content += piece
                if len(content) > limit:
                    raise ValueError("an answer that is too large")
        return bytes(content)


def _decision_of(question: Question, answer: EvaluationResponse | _Malformed) -> Decision:
    if not isinstance(answer, EvaluationResponse):
        return Decision.none("the question was malformed" if not answer.decision else "a permit without its terms")
    context = answer.context
    scopes, fields = frozenset(context.scopes), frozenset(context.fields)
    covers = scopes.issuperset(question.scopes) and fields.issuperset(question.fields)
    if answer.decision and not (covers and context.reason == "granted"):
        return Decision.none("a permit of something else than was asked")
    if answer.decision and context.revision < (question.min_revision or 0):
        return Decision.none("a permit that is behind the revision asked for")
    return Decision(
        permit=answer.decision,
        reason=context.reason,
        revision=context.revision,
        scopes=scopes if answer.decision else frozenset(),
        fields=fields if answer.decision else frozenset(),
        grant_id=context.grant_id,
        valid_until=context.valid_until,
        uwlr_fault=context.uwlr_fault,
    )


def _description_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
