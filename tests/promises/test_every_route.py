"""Every route of the published contract, met by callers who may not, and by things that aren't theirs.

`ENTRIES` (`operations.py`) says of each operation who may call it and with what. One without an entry fails here.
"""

import json
import re
from typing import Final

import pytest
from sqlmodel import select

from api.edge.problems import TYPE_BASE
from api.routes import documented_app
from api.web.idempotency import digest_of_key, unsealed
from models.log.events import RememberedAnswer
from tests.security.hostile_tokens import hostile_tokens
from tests.security.signing_keys import SigningKey
from tests.web.test_idempotency_erasure import commitment_of
from tests.worlds.operations import CONTRACT, ENTRIES, MISSING, NOWHERE, OPERATIONS, Scene, scene_in
from tests.worlds.scenes import Ledger, claims, each, names_in
from tests.worlds.world_evidence import opened_by_a_guess

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLES: Final = ("school", "board", "partner", "gateway", "operator")
APPLICANTS: Final[list[dict[str, list[str]]]] = [{"applicationSecret": []}]


# -- the tests: nothing is left out -----------------------------------------------------------------------------------


async def test_no_operation_of_the_contract_is_left_out() -> None:
    assert set(ENTRIES) == set(OPERATIONS)


async def test_only_health_and_an_application_can_be_asked_for_without_a_token() -> None:
    public = {name for name, operation in OPERATIONS.items() if "security" not in operation.document}
    assert public == {"isLive", "isReady", "apply"}
    secret = {name for name, operation in OPERATIONS.items() if operation.document.get("security") == APPLICANTS}
    assert secret == {name for name, entry in ENTRIES.items() if entry.by_secret}
    assert public | secret == {name for name, entry in ENTRIES.items() if not entry.roles}


@each(lambda operation: ENTRIES[operation.id].by_secret)
async def test_without_the_applications_secret_the_answer_is_401_and_with_another_404(name: str, ours: Scene) -> None:
    ledger, operation = Ledger(), OPERATIONS[name]
    await ledger.expect((401,), "none", ours.call(operation, headers={"X-Application-Secret": None}))
    for wrong in ("", "x", ours.secret[:-1], ours.secret + "x", ours.secret.swapcase(), "\u00ff".encode("latin-1")):
        await ledger.expect((404,), f"{wrong!r}", ours.call(operation, headers={"X-Application-Secret": wrong}))
    await ledger.expect((400,), "too long", ours.call(operation, headers={"X-Application-Secret": "x" * 101}))
    bearer = {"X-Application-Secret": None, "Authorization": f"Bearer {ours.token('operator')}"}
    await ledger.expect((401,), "an operator's token", ours.call(operation, headers=bearer))
    ledger.close()


async def test_every_route_of_the_application_is_in_the_contract() -> None:
    app = documented_app()
    for route in app.routes:
        path = getattr(route, "path", "")
        assert path in {"/openapi.json", *CONTRACT["paths"], ""}, path


@each(lambda operation: operation.has_body)
async def test_the_valid_body_names_every_member_that_there_is(name: str, ours: Scene) -> None:
    entry = ENTRIES[name]
    assert entry.body is not None
    schema = OPERATIONS[name].document["requestBody"]["content"]["application/json"]["schema"]
    named = schema.get("$ref") or next(one["$ref"] for one in schema["anyOf"] if "$ref" in one)
    assert set(entry.body(ours)) == set(CONTRACT["components"]["schemas"][named.rsplit("/", 1)[1]]["properties"])


#: The writes whose answers show who acted.
NAMES_PEOPLE: Final = frozenset(
    (
        "answerIncident",
        "commentOnIncident",
        "giveBreachNotice",
        "openIncident",
        "recordGroundRule",
        "reopenIncident",
        "resolveIncident",
        "suspectBreach",
        "takeCaseStep",
        "takeIncident",
        "withdrawGroundRule",
    )
)


@pytest.mark.both_stores
@each()
async def test_who_may_call_gets_an_answer(name: str, ours: Scene) -> None:
    operation = OPERATIONS[name]
    scene = (
        ours if operation.method == "GET" or operation.on_hook else await scene_in(ours.world, for_operation=operation)
    )
    if (before := ENTRIES[name].before) is not None:
        await before(scene)
    keyed = operation.method != "GET" and "idempotency-key" in operation.parameters("header")
    key = f"een-sleutel-voor-{name}-4711"
    answer = await scene.call(operation, headers={"Idempotency-Key": key} if keyed else {})
    assert answer.status_code == ENTRIES[name].success, answer.text
    if keyed and answer.status_code < 300:
        shown = await _named_in_remembered_answer(scene, key)
        assert bool(shown) == (name in NAMES_PEOPLE)


async def _named_in_remembered_answer(scene: Scene, key: str) -> set[str]:
    """The people whom the remembered answer shows. Each is listed beside it, by which an erasure finds the answer."""
    store = scene.world.store
    assert store.sealing is not None
    async with store.reading() as session:
        found = select(RememberedAnswer).where(RememberedAnswer.key == digest_of_key(key))
        answer = (await session.exec(found)).one()
    shown = set(re.findall(r"[a-z]+-subject", unsealed(store.sealing, answer, key)))
    assert {await commitment_of(scene.world, subject) for subject in shown} <= set(answer.names or ())
    assert opened_by_a_guess(answer, key) is None
    return shown


# -- who may not call -------------------------------------------------------------------------------------------------


@each(lambda operation: ENTRIES[operation.id].roles)
async def test_without_a_token_the_answer_is_401(name: str, ours: Scene) -> None:
    operation, good = OPERATIONS[name], ours.token(ENTRIES[name].roles[0])
    ledger = Ledger()
    await ledger.expect((401,), "no token", ours.call(operation, token=None))
    for what, value in {
        "empty": "",
        "a scheme alone": "Bearer",
        "a scheme and a space": "Bearer ",
        "another scheme": f"Basic {good}",
        "no scheme": f"{good}",
        "a token cut short": f"Bearer {str(good)[:-9]}",
        "two tokens": f"Bearer {good}, Bearer {good}",
    }.items():
        await ledger.expect((401,), what, ours.call(operation, token=None, headers={"Authorization": value}))
    ledger.close()
    refused = await ours.call(operation, token=None)
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert refused.json()["type"] == TYPE_BASE + "unauthenticated"


@each(lambda operation: ENTRIES[operation.id].roles)
async def test_several_authorization_headers_are_401_even_when_one_is_good(name: str, ours: Scene) -> None:
    operation, good = OPERATIONS[name], f"Bearer {ours.token(ENTRIES[name].roles[0])}"
    for pair in ((good, good), (good, "Bearer x"), ("Basic eDp5", good)):
        headers = [("Authorization", value) for value in pair] + [("Content-Type", "application/json")]
        content = json.dumps(ENTRIES[name].body(ours)) if ENTRIES[name].body else None  # type: ignore[misc]
        answer = await ours.world.client.request(
            operation.method, ours.path(operation), headers=headers, content=content
        )
        assert answer.status_code == 401


@each(lambda operation: ENTRIES[operation.id].roles)
async def test_with_another_role_the_answer_is_403(name: str, ours: Scene, key: SigningKey) -> None:
    ledger = Ledger()
    for role in ROLES:
        if role not in ENTRIES[name].roles:
            await ledger.expect((403,), role, ours.call(OPERATIONS[name], token=ours.token(role)))
    for roles in ([], ["admin"], ["Operator", "SCHOOL", "gateway "]):
        token = key.token({**claims(), "roles": roles})
        await ledger.expect((403,), f"roles {roles}", ours.call(OPERATIONS[name], token=token))
    ledger.close()


@pytest.mark.parametrize("name", ["getSchool", "listGrants", "evaluate"])
async def test_every_hostile_token_is_401_over_http(name: str, ours: Scene, key: SigningKey) -> None:
    good = key.token({**claims(), "roles": ["school", "gateway"]})
    assert (await ours.call(OPERATIONS[name], token=good)).status_code == 200
    hostile = list(hostile_tokens(key, {**claims(), "roles": ["school", "gateway"]}))
    assert len([token for token in hostile if token.fits_a_header]) >= 60
    ledger = Ledger()
    for token in hostile:
        # Bytes, so that what no client would send is sent too.
        value = f"Bearer {token.text}".encode("utf-8", "surrogatepass")
        if value.strip() == f"Bearer {good}".encode():
            continue
        await ledger.expect(
            (401,), token.name, ours.call(OPERATIONS[name], token=None, headers={"Authorization": value})
        )
    ledger.close()


# -- what is not the caller's -----------------------------------------------------------------------------------------


@pytest.mark.both_stores
@each(names_in)
async def test_what_is_anothers_answers_404_just_as_what_does_not_exist(name: str, ours: Scene, theirs: Scene) -> None:
    operation = OPERATIONS[name]
    others = {"brin": theirs.brin, **theirs.ids}
    if name == "resumeGrant":
        others["grant_id"] = theirs.ids["suspended_id"]
    for parameter in names_in(operation):
        missing = await ours.call(operation, ours.path(operation, **{parameter: MISSING[parameter]}))
        assert (missing.status_code, missing.json()["type"]) == (404, TYPE_BASE + "not_found")
        # An operator's register has no tenants, and a gateway asks about any school: there, only what is another
        # connection's or school's is not there.
        beyond_tenants = not {"school", "partner"} & set(ENTRIES[name].roles)
        open_to_them = parameter in ("case_id", "incident_id") or names_in(operation) == [parameter]
        if parameter in others and not (beyond_tenants and open_to_them):
            found = await ours.call(operation, ours.path(operation, **{parameter: others[parameter]}))
            assert (found.status_code, found.content, found.headers) == (404, missing.content, missing.headers)


@pytest.mark.both_stores
async def test_a_school_never_reaches_into_another_even_by_its_grants_own_address(ours: Scene, theirs: Scene) -> None:
    ledger = Ledger()
    for operation in OPERATIONS.values():
        if "brin" in operation.parameters("path") and "school" in ENTRIES[operation.id].roles:
            path = theirs.path(operation)
            await ledger.expect((404,), operation.id, ours.call(operation, path, token=ours.token("school")))
    ledger.close()


@pytest.mark.both_stores
async def test_an_operator_finds_a_grant_only_under_its_own_school(ours: Scene, theirs: Scene) -> None:
    operation, operator = OPERATIONS["revokeGrant"], ours.token("operator")
    crossed = await ours.call(operation, ours.path(operation, grant_id=theirs.ids["grant_id"]), token=operator)
    missing = await ours.call(operation, ours.path(operation, grant_id=NOWHERE), token=operator)
    assert (crossed.status_code, crossed.content) == (404, missing.content)


@pytest.mark.both_stores
@pytest.mark.parametrize("path", ["/v1/consents", "/v1/consents/changes"])
async def test_a_partner_sees_nothing_of_another_partner(path: str, ours: Scene, theirs: Scene) -> None:
    for scene, other in ((ours, theirs), (theirs, ours)):
        answer = await scene.world.call("GET", path, scene.token("partner"))
        assert {item["clientId"] for item in answer.json()["items"]} == {scene.client_id}
        assert not {item["grantId"] for item in answer.json()["items"]} & set(other.ids.values())
        assert other.client_id not in answer.text


@pytest.mark.both_stores
async def test_a_school_with_anothers_grant_looks_to_a_partner_like_one_without(ours: Scene, theirs: Scene) -> None:
    looks = [
        await ours.world.call("GET", f"/v1/consents?school={brin}", ours.token("partner")) for brin in ("17TX", "99ZZ")
    ]
    (granted_to_other,), (unknown,) = (look.json()["items"] for look in looks)
    assert granted_to_other["status"] == unknown["status"] == "none"
    assert granted_to_other["reason"] == "no_grant"
    assert granted_to_other["grantId"] is None
