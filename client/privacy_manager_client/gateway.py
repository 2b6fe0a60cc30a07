"""The gateway's side: may this be released, now? OpenID AuthZEN 1.0.

Whatever is not a clear permit in time is a deny: no answer, another status, an answer of another shape, or one that
permits less than was asked. Nothing is raised but a cancellation.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import httpx2
from pydantic import AwareDatetime, BaseModel, ConfigDict, StrictBool, StrictInt, StrictStr
from pydantic.alias_generators import to_camel

#: More than any answer to so many questions needs. It is read as it comes, and not unpacked.
MOST_ANSWER_BYTES: Final = 64 * 1024
MOST_QUESTIONS: Final = 1_000
#: The reason of a deny that the service did not give.
UNAVAILABLE: Final = "unavailable"


@dataclass(frozen=True, slots=True)
class Question:
    """May this connection receive this type of data of a school (BRIN4) or location (BRIN6)?

    With `scopes` or `fields`: all of these. `min_revision` is that of a write that the answer must know of.
    """

    client_id: str
    place: str
    type: str
    scopes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    purpose: str | None = None
    min_revision: int | None = None

    def body(self) -> dict[str, Any]:
        """The question as AuthZEN writes it."""
        properties = {name: list(some) for name, some in (("scopes", self.scopes), ("fields", self.fields)) if some}
        said = {"purpose": self.purpose, "minRevision": self.min_revision}
        context = {name: value for name, value in said.items() if value is not None}
        return {
            "subject": {"type": "partner", "id": self.client_id},
            "action": {"name": "release"},
            "resource": {"type": self.type, "id": self.place, **({"properties": properties} if properties else {})},
            **({"context": context} if context else {}),
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """Release `fields` and nothing else, and only if `permit`. Don't keep it: ask for each release.

    As a condition it is whether it permits, so that no deny is taken for a yes.
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
        """The deny in place of a decision that there is not."""
        return cls(False, UNAVAILABLE, detail)


class Context(BaseModel):
    """Why, as of which revision, and what may be released."""

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
    """A question of a batch that made no sense: a deny without any more."""

    model_config = ConfigDict(extra="ignore")

    decision: StrictBool


class _Responses(BaseModel):
    model_config = ConfigDict(extra="ignore")

    evaluations: list[EvaluationResponse | _Malformed]


class Gateway:
    """Asks with a gateway's token. An answer later than `deadline` seconds, with a new token included, is none."""

    def __init__(
        self,
        address: str,
        token: httpx2.Auth,
        *,
        deadline: float = 1.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._deadline = deadline
        # Neither redirects nor proxies of the environment: a decision comes from whom was asked.
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
            said = await self._asked("/access/v1/evaluation", question.body(), MOST_ANSWER_BYTES)
            return _decided(question, EvaluationResponse.model_validate_json(said))
        except Exception as error:
            return Decision.none(_described(error))

    async def evaluations(self, questions: Sequence[Question]) -> list[Decision]:
        """The decisions on many questions, in their order, as of one instant: at most `MOST_QUESTIONS`."""
        try:
            if not questions:
                return []
            body = {"evaluations": [question.body() for question in questions]}
            said = await self._asked("/access/v1/evaluations", body, MOST_ANSWER_BYTES * len(questions))
            answers = _Responses.model_validate_json(said).evaluations
            return [_decided(*pair) for pair in zip(questions, answers, strict=True)]
        except Exception as error:
            return [Decision.none(_described(error)) for _ in questions]

    async def _asked(self, path: str, body: dict[str, Any], most: int) -> bytes:
        said = bytearray()
        async with (
            asyncio.timeout(self._deadline),
            self._client.stream("POST", path, json=body) as answer,
        ):
            if answer.status_code != 200:
                raise ValueError(f"status {answer.status_code}")
            if "content-encoding" in answer.headers:
                raise ValueError("an answer that is packed")
            async for piece in answer.aiter_bytes():
                said += piece
                if len(said) > most:
                    raise ValueError("an answer that is too large")
        return bytes(said)


def _decided(question: Question, answer: EvaluationResponse | _Malformed) -> Decision:
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


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
