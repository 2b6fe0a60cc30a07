"""OpenID AuthZEN 1.0 messages: evaluation requests as questions, decisions as evaluation responses.

Members unknown to AuthZEN are ignored; a malformed request raises `Refused` (400).
"""

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from api.edge.problems import INVALID_INPUT, Refused
from api.security.strict_json import Malformed, members_once
from models.decision.decision import Decision, Question

MOST_EVALUATIONS: Final = 1000

Properties = dict[str, Any]
Revision = Annotated[int, Meta(ge=0, le=2**53)]
#: More than the catalogue has; limited, because each evaluation of a batch is checked against all of them.
Names = Annotated[tuple[str, ...], Meta(max_length=256)]


class Subject(Struct, frozen=True):
    """Who asks to receive: type `partner`, id the connection's client id."""

    type: str
    id: str
    properties: Properties | UnsetType = UNSET


class Action(Struct, frozen=True):
    """What is to be done: `release`."""

    name: str
    properties: Properties | UnsetType = UNSET


class ResourceProperties(Struct, frozen=True):
    """Narrows the question to these scopes, and to these UWLR fields of the type's element."""

    scopes: Names | UnsetType = UNSET
    fields: Names | UnsetType = UNSET


class Resource(Struct, frozen=True):
    """What is to be released: type leerling, docent, groep, school or vestiging; id a BRIN4 or BRIN6."""

    type: str
    id: str
    properties: ResourceProperties | UnsetType = UNSET


class Context(Struct, frozen=True, rename="camel"):
    """The purpose of the release, and the revision that the answer must not be behind."""

    purpose: str | UnsetType = UNSET
    min_revision: Revision | UnsetType = UNSET


class EvaluationRequest(Struct, frozen=True):
    subject: Subject
    action: Action
    resource: Resource
    context: Context | UnsetType = UNSET


class Semantic(StrEnum):
    """When a batch stops: never, at the first deny, at the first permit."""

    EXECUTE_ALL = "execute_all"
    DENY_ON_FIRST_DENY = "deny_on_first_deny"
    PERMIT_ON_FIRST_PERMIT = "permit_on_first_permit"


class Options(Struct, frozen=True):
    evaluations_semantic: Semantic | UnsetType = UNSET


class EvaluationsRequest(Struct, frozen=True):
    """A batch. What stands at the top is the default for each evaluation that doesn't name its own."""

    subject: msgspec.Raw | UnsetType = UNSET
    action: msgspec.Raw | UnsetType = UNSET
    resource: msgspec.Raw | UnsetType = UNSET
    context: msgspec.Raw | UnsetType = UNSET
    evaluations: list[dict[str, msgspec.Raw]] = []
    options: Options | UnsetType = UNSET


class DecisionContext(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Why, as of which revision, and what may be released."""

    reason: str
    revision: int
    scopes: tuple[str, ...]
    fields: tuple[str, ...]
    grant_id: str | None = None
    valid_until: datetime | None = None
    uwlr_fault: str | None = None


class EvaluationResponse(Struct, frozen=True):
    decision: bool
    context: DecisionContext


Shape = TypeVar("Shape")
_evaluation = msgspec.json.Decoder(EvaluationRequest)
_evaluations = msgspec.json.Decoder(EvaluationsRequest)
_encoder = msgspec.json.Encoder()


def question_of(body: bytes) -> Question:
    """The question of an evaluation request. Raises `Refused` (400)."""
    request = decoded(_evaluation, body)
    members = 3 + _IN_SUBJECT + _IN_ACTION + _in_resource(request.resource)
    if request.context is not UNSET:
        members += 1 + _in_context(request.context)
    _require_one_meaning(body, members)
    return question_about(request.subject, request.action, request.resource, request.context)


def questions_of(body: bytes) -> tuple[Semantic, list[Question | Refused]] | Question:
    """The questions of a batch with its defaults applied; a refusal in place of a malformed one.

    Without evaluations it is a single question (AuthZEN 1.0, 7.1). Raises `Refused` (400) when the request as a whole
    is malformed.
    """
    batch = decoded(_evaluations, body)
    if not batch.evaluations:
        return question_of(body)
    if len(batch.evaluations) > MOST_EVALUATIONS:
        raise Refused(INVALID_INPUT, f"At most {MOST_EVALUATIONS} evaluations at once.")
    # Decoded once, however many evaluations use them: a large default must not cost its size times their number.
    defaults = _parts({name: raw for name in _PARTS if isinstance(raw := getattr(batch, name), msgspec.Raw)})
    items = [_parts(item) for item in batch.evaluations]
    members = 1 + len(defaults) + _in_parts(defaults) + sum(map(len, batch.evaluations)) + sum(map(_in_parts, items))
    semantic = Semantic.EXECUTE_ALL
    if batch.options is not UNSET:
        members += 1 + (batch.options.evaluations_semantic is not UNSET)
        semantic = batch.options.evaluations_semantic or semantic
    _require_one_meaning(body, members)
    return semantic, [_item({**defaults, **parts}) for parts in items]


def response_of(decision: Decision) -> EvaluationResponse:
    """The AuthZEN evaluation response of a decision."""
    context = DecisionContext(
        reason=decision.reason,
        revision=decision.revision,
        scopes=decision.scopes,
        fields=decision.fields,
        grant_id=decision.grant_id,
        valid_until=decision.valid_until,
        uwlr_fault=decision.uwlr_fault,
    )
    return EvaluationResponse(decision.permit, context)


def encoded(answer: Any) -> bytes:
    """An answer as JSON."""
    return _encoder.encode(answer)


_PARTS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "subject": msgspec.json.Decoder(Subject),
    "action": msgspec.json.Decoder(Action),
    "resource": msgspec.json.Decoder(Resource),
    "context": msgspec.json.Decoder(Context),
}


def _parts(members: dict[str, msgspec.Raw]) -> dict[str, Any]:
    """The decoded struct of each member known to AuthZEN, or its refusal."""
    return {name: _part(name, raw) for name, raw in members.items() if name in _PARTS}


def _part(name: str, raw: msgspec.Raw) -> Any:
    try:
        return decoded(_PARTS[name], bytes(raw))
    except Refused as refused:
        return Refused(INVALID_INPUT, f"{refused.detail} ({name})")


def _item(parts: dict[str, Any]) -> Question | Refused:
    for name in ("subject", "action", "resource"):
        if name not in parts:
            return Refused(INVALID_INPUT, f"Not an AuthZEN request: {name} is missing.")
    for part in parts.values():
        if isinstance(part, Refused):
            return part
    return question_about(parts["subject"], parts["action"], parts["resource"], parts.get("context", UNSET))


def question_about(subject: Subject, action: Action, resource: Resource, context: Context | UnsetType) -> Question:
    """The question composed of these entities."""
    narrowing = resource.properties
    scopes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    purpose, min_revision = None, 0
    if narrowing is not UNSET:
        scopes = narrowing.scopes or ()
        fields = narrowing.fields or ()
    if context is not UNSET:
        purpose = context.purpose if context.purpose is not UNSET else None
        min_revision = context.min_revision or 0
    return Question(
        subject.type, subject.id, action.name, resource.type, resource.id, scopes, fields, purpose, min_revision
    )


# Numbers of members that were decoded, each once: see `_require_one_meaning`.
_IN_SUBJECT: Final = 2
_IN_ACTION: Final = 1


def _in_resource(resource: Resource) -> int:
    narrowing = resource.properties
    if narrowing is UNSET:
        return 2
    return 3 + (narrowing.scopes is not UNSET) + (narrowing.fields is not UNSET)


def _in_context(context: Context) -> int:
    return (context.purpose is not UNSET) + (context.min_revision is not UNSET)


def _in_parts(parts: dict[str, Any]) -> int:
    members = 0
    for part in parts.values():
        if isinstance(part, Resource):
            members += _in_resource(part)
        elif isinstance(part, Context):
            members += _in_context(part)
        elif isinstance(part, Subject):
            members += _IN_SUBJECT
        elif isinstance(part, Action):
            members += _IN_ACTION
    return members


def decoded(decoder: msgspec.json.Decoder[Shape], body: bytes) -> Shape:
    """The decoded request. Raises `Refused` (400) when it is malformed."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(INVALID_INPUT, f"Not an AuthZEN request: {str(error)[:200]}") from None


def _require_one_meaning(body: bytes, members: int) -> None:
    """Refuses repeated members, of which another reader of the request might take the other one.

    Each member has a colon. A body with exactly `members` colons, the number of decoded members, has no others and so
    no repeated ones; only otherwise it is parsed again.
    """
    if body.count(b":") != members:
        read_whole(body)


def read_whole(body: bytes) -> Any:
    """Parses the whole JSON of a request, with members unknown to AuthZEN; numbers stay text.

    Raises `Refused` (400) for a repeated member, and for invalid JSON.
    """
    try:
        return json.loads(body, object_pairs_hook=members_once, parse_int=str, parse_float=str)
    except Malformed as malformed:
        raise Refused(INVALID_INPUT, f"Not an AuthZEN request: {malformed}.") from None
    except (ValueError, RecursionError):
        # In members that AuthZEN does not name, the decoder above is less strict.
        raise Refused(INVALID_INPUT, "Not an AuthZEN request: not JSON in UTF-8, or nested too deep.") from None
