"""Every route of the published contract, met by callers who may not, by things that aren't theirs and by bad input.

`ENTRIES` says of each operation who may call it and with what. An operation without an entry fails the suite.
"""

import asyncio
import itertools
import json
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy.engine import make_url

from api.app import documented_app
from api.openapi import METHODS
from api.problems import MEDIA_TYPE, TYPE_BASE
from api.tokens import DEMO_AUDIENCE, DEMO_ISSUER
from tests.hostile_tokens import SigningKey, good_claims, hostile_tokens
from tests.world import NAMES, OFFERED, PURPOSE, Answer, World, question, world_on

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLES: Final = ("school", "partner", "gateway", "operator")
MEGABYTE: Final = 1024 * 1024


# -- the contract -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One operation, as the published contract has it."""

    id: str
    method: str
    path: str
    document: dict[str, Any]

    def parameters(self, place: str) -> dict[str, dict[str, Any]]:
        """The schemas of its parameters in the path, the query or the headers, by name."""
        return {one["name"]: one["schema"] for one in self.document.get("parameters", ()) if one["in"] == place}

    @property
    def has_body(self) -> bool:
        return "requestBody" in self.document

    @property
    def on_hook(self) -> bool:
        return self.path.startswith("/access/")


def operations() -> Iterator[Operation]:
    for path, item in CONTRACT["paths"].items():
        for method in METHODS:
            if method in item:
                yield Operation(item[method]["operationId"], method.upper(), path, item[method])


CONTRACT: Final = documented_app().openapi()
OPERATIONS: Final = {operation.id: operation for operation in operations()}


def each(wanted: Callable[[Operation], Any] = lambda _: True) -> pytest.MarkDecorator:
    chosen = [name for name, operation in OPERATIONS.items() if name in ENTRIES and wanted(operation)]
    return pytest.mark.parametrize("name", chosen)


# -- who may call what, and with what ---------------------------------------------------------------------------------


@dataclass
class Scene:
    """A connection with a partner, an agreement, the ground rules, and grants of the school `brin`."""

    world: World
    brin: str
    client_id: str
    kvk_number: str
    ids: dict[str, str] = field(default_factory=dict)

    def path(self, operation: Operation, **instead: str) -> str:
        known = {"brin": self.brin, "client_id": self.client_id, "kvk_number": self.kvk_number, **self.ids}
        if operation.id == "resumeGrant":
            known["grant_id"] = known["suspended_id"]
        return operation.path.format(**{**known, **instead})

    def token(self, role: str | None) -> str | None:
        if role is None:
            return None
        return self.world.token(
            role,
            school=self.brin if role == "school" else None,
            client_id=self.client_id if role == "partner" else None,
        )

    async def call(self, operation: Operation, path: str | None = None, **more: Any) -> Answer:
        """The operation's valid call, but for what `more` changes: `token`, `content` or `headers`."""
        entry = ENTRIES[operation.id]
        headers = {"X-Request-ID": "asked", **more.get("headers", {})}
        if operation.method == "PATCH":
            headers.setdefault("If-Match", "*")
        content = more.get("content")
        if content is None and entry.body is not None:
            content = json.dumps(entry.body(self)).encode()
        if operation.has_body:
            headers.setdefault("Content-Type", "application/json")
        token = more.get("token", self.token(entry.roles[0] if entry.roles else None))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        sent = {name: value for name, value in headers.items() if value is not None}
        target = self.path(operation) if path is None else path
        return await self.world.client.request(operation.method, target, content=content, headers=sent)


@dataclass(frozen=True)
class Entry:
    """Who may call an operation; its body with every member that there is; the status of its success."""

    roles: tuple[str, ...]
    body: Callable[[Scene], dict[str, Any]] | None = None
    success: int = 200
    body_is_optional: bool = False


_fresh = itertools.count(1)


def _new_grant(scene: Scene) -> dict[str, Any]:
    return {
        "clientId": scene.client_id,
        "scopes": NAMES,
        "purposes": [PURPOSE],
        "location": f"{scene.brin}00",
        "validFrom": "2026-09-02T00:00:00Z",
        "validUntil": "2027-08-01T00:00:00+02:00",
    }


def _amendment(_: Scene) -> dict[str, Any]:
    # Without validFrom, which cannot be moved once the grant holds: the two ends of the period are one test apart.
    return {
        "scopes": NAMES[:2],
        "purposes": [PURPOSE],
        "validFrom": None,
        "validUntil": "2027-08-01T00:00:00Z",
    }


def _suspension(_: Scene) -> dict[str, Any]:
    return {"reason": "Vragen aan de leverancier.", "until": "2026-10-01T00:00:00Z"}


def _because(_: Scene) -> dict[str, Any]:
    return {"reason": "Zo besloot het bestuur."}


def _new_partner(_: Scene) -> dict[str, Any]:
    return {"kvkNumber": f"{80_000_000 + next(_fresh)}", "name": "Uitgeverij De Nieuwe"}


def _new_connection(scene: Scene) -> dict[str, Any]:
    return {
        "clientId": f"nieuw-{next(_fresh)}",
        "kvkNumber": scene.kvk_number,
        "name": "Nieuw",
        "profile": "smalle-set@2.3",
        "recipientRole": "processor",
        "scopes": {"required": OFFERED[:2], "optional": OFFERED[2:]},
        "purposes": [PURPOSE],
    }


def _connection_change(_: Scene) -> dict[str, Any]:
    scopes = {"required": OFFERED[:2], "optional": OFFERED[2:]}
    return {"name": "Anders", "scopes": scopes, "purposes": [PURPOSE]}


def _new_agreement(_: Scene) -> dict[str, Any]:
    return {
        "boardNumber": "10001",
        "agreementVersion": "4.0",
        "privacybijsluiterVersion": "1.0",
        "scopes": OFFERED,
        "purposes": [PURPOSE],
        "signedOn": "2026-08-01",
        "validFrom": "2026-09-02T00:00:00Z",
        "validUntil": "2027-08-01T00:00:00Z",
    }


def _new_ground_rule(_: Scene) -> dict[str, Any]:
    return {
        "rule": "privacyconvenant",
        "evidence": "Gezien in het register.",
        "source": "Edu-K",
        "validFrom": "2026-09-02T00:00:00Z",
        "validUntil": "2027-08-01T00:00:00Z",
    }


def _question(scene: Scene) -> dict[str, Any]:
    asked = question(scene.client_id, scene.brin, scopes=NAMES, fields=["achternaam"], purpose=PURPOSE, minRevision=0)
    asked["subject"]["properties"] = asked["action"]["properties"] = {"of": "no concern"}
    return asked


def _questions(scene: Scene) -> dict[str, Any]:
    options = {"evaluations_semantic": "execute_all"}
    return {**_question(scene), "evaluations": [_question(scene), {}], "options": options}


SCHOOL, PARTNER, OPERATOR, GATEWAY = ("school",), ("partner",), ("operator",), ("gateway",)

ENTRIES: Final[dict[str, Entry]] = {
    "isLive": Entry(()),
    "isReady": Entry(()),
    "getSchool": Entry(SCHOOL),
    "listGrantableConnections": Entry(SCHOOL),
    "listGrants": Entry(SCHOOL),
    "grant": Entry(SCHOOL, _new_grant, 201),
    "getGrant": Entry(SCHOOL),
    "amendGrant": Entry(SCHOOL, _amendment),
    "revokeGrant": Entry(("school", "operator"), _because, body_is_optional=True),
    "suspendGrant": Entry(SCHOOL, _suspension, body_is_optional=True),
    "resumeGrant": Entry(SCHOOL, _because, body_is_optional=True),
    "getGrantHistory": Entry(SCHOOL),
    "listConsents": Entry(PARTNER),
    "listConsentChanges": Entry(PARTNER),
    "registerPartner": Entry(OPERATOR, _new_partner, 201),
    "listPartners": Entry(OPERATOR),
    "getPartner": Entry(OPERATOR),
    "changePartner": Entry(OPERATOR, lambda _: {"name": "Anders"}),
    "registerConnection": Entry(OPERATOR, _new_connection, 201),
    "listConnections": Entry(OPERATOR),
    "getConnection": Entry(OPERATOR),
    "changeConnection": Entry(OPERATOR, _connection_change),
    "registerAgreement": Entry(OPERATOR, _new_agreement, 201),
    "listAgreements": Entry(OPERATOR),
    "endAgreement": Entry(OPERATOR, _because),
    "recordGroundRule": Entry(OPERATOR, _new_ground_rule, 201),
    "listGroundRules": Entry(OPERATOR),
    "withdrawGroundRule": Entry(OPERATOR, _because),
    "evaluate": Entry(GATEWAY, _question),
    "evaluateMany": Entry(GATEWAY, _questions),
}

NOWHERE: Final = str(uuid.UUID(int=7))

#: For each name in a path: one that nothing has.
MISSING: Final = {
    "brin": "99ZZ",
    "client_id": "bestaat-niet",
    "kvk_number": "99999999",
    "grant_id": NOWHERE,
    "agreement_id": NOWHERE,
    "ground_rule_id": NOWHERE,
}


async def scene_in(world: World, brin: str = "16SW") -> Scene:
    """A connection of its own with everything that the operations name, which no other test touches."""
    number = next(_fresh)
    scene = Scene(world, brin, f"koppeling-{number}", f"{90_000_000 + number}")
    await world.register(scene.client_id, kvk_number=scene.kvk_number)
    given = await world.granted(scene.client_id, brin=brin)
    elsewhere = await world.granted(scene.client_id, brin=brin, location=f"{brin}{'01' if brin == '16SW' else '00'}")
    suspended = await world.step(elsewhere["grantId"], "suspend", brin=brin)
    assert suspended.status_code == 200, suspended.text
    listed = {}
    for kind in ("agreements", "ground-rules"):
        answer = await world.operate("GET", f"/v1/connections/{scene.client_id}/{kind}")
        listed[kind] = answer.json()["items"][0]
    scene.ids = {
        "grant_id": given["grantId"],
        "suspended_id": elsewhere["grantId"],
        "agreement_id": listed["agreements"]["agreementId"],
        "ground_rule_id": listed["ground-rules"]["groundRuleId"],
    }
    return scene


# -- the store that the tests of a module share -----------------------------------------------------------------------


async def _on_server(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server.replace("+asyncpg", ""))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def new_store(request: pytest.FixtureRequest, kind: str, folder: Path) -> str:
    """The address of an empty store of its own, for the tests of one module."""
    if kind == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), folder / "privacy-manager.db")
        return f"sqlite+aiosqlite:///{folder}/privacy-manager.db"
    server, template = (request.getfixturevalue(f"postgresql_{part}") for part in ("server", "template"))
    database = f"module_{uuid.uuid4().hex}"
    asyncio.run(_on_server(server, f"CREATE DATABASE {database} TEMPLATE {template}"))
    return make_url(server).set(database=database).render_as_string(hide_password=False)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def standing_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("standing")
    return new_store(request, request.param, folder), folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scenes(standing_store: tuple[str, Path]) -> AsyncIterator[tuple[Scene, Scene]]:
    """Ours, and one of another school and another partner."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_on(*standing_store))
        yield await scene_in(world), await scene_in(world, "17TX")


@pytest.fixture
def ours(scenes: tuple[Scene, Scene]) -> Scene:
    return scenes[0]


@pytest.fixture
def theirs(scenes: tuple[Scene, Scene]) -> Scene:
    return scenes[1]


@dataclass
class Ledger:
    """Gathers what went wrong, so that a test tells all of it at once."""

    faults: list[str] = field(default_factory=list)

    async def expect(self, wanted: tuple[int, ...], what: str, answering: Any) -> None:
        """Notes an answer with another status, one without a problem document, and an exception instead of one."""
        try:
            answer: Answer = await answering
        except Exception as error:
            self.faults.append(f"{what}: {error!r}"[:300])
            return
        if answer.status_code not in wanted or not _is_sound(answer):
            self.faults.append(f"{what}: {answer.status_code}, not {wanted}: {answer.text[:200]}")

    def close(self) -> None:
        assert not self.faults, "\n".join(self.faults)


def _is_sound(answer: Answer) -> bool:
    """A refusal is a problem document that repeats its status, and nothing of the input is echoed at length."""
    if answer.status_code < 400:
        return True
    problem = answer.json()
    sound = answer.headers["Content-Type"] == MEDIA_TYPE and problem["status"] == answer.status_code
    return sound and problem["type"].startswith(TYPE_BASE) and len(answer.content) < 16_384


# -- the tests: nothing is left out -----------------------------------------------------------------------------------


async def test_no_operation_of_the_contract_is_left_out() -> None:
    assert set(ENTRIES) == set(OPERATIONS)


async def test_only_health_can_be_asked_without_a_token() -> None:
    public = {name for name, operation in OPERATIONS.items() if "security" not in operation.document}
    assert public == {name for name, entry in ENTRIES.items() if not entry.roles} == {"isLive", "isReady"}


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


@each()
async def test_who_may_call_gets_an_answer(name: str, ours: Scene) -> None:
    scene = await scene_in_place_of(ours, name)
    answer = await scene.call(OPERATIONS[name])
    assert answer.status_code == ENTRIES[name].success, answer.text


async def scene_in_place_of(ours: Scene, name: str) -> Scene:
    """A scene that the call may change. The locations of the one that all share are taken, so they are freed first."""
    if OPERATIONS[name].method == "GET" or OPERATIONS[name].on_hook:
        return ours
    return await scene_in(ours.world)


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
async def test_with_another_role_the_answer_is_403(name: str, ours: Scene) -> None:
    ledger = Ledger()
    for role in ROLES:
        if role not in ENTRIES[name].roles:
            await ledger.expect((403,), role, ours.call(OPERATIONS[name], token=ours.token(role)))
    await ledger.expect((403,), "no role", ours.call(OPERATIONS[name], token=_token_of(ours, roles=[])))
    await ledger.expect((403,), "a role of others", ours.call(OPERATIONS[name], token=_token_of(ours, roles=["admin"])))
    ledger.close()


def _key(scene: Scene) -> SigningKey:
    folder = Path(str(scene.world.store.url.database)).parent if scene.world.store.is_sqlite else None
    del folder
    return SigningKey.of(scene.world.issuer_jwk)  # type: ignore[attr-defined]


def _token_of(scene: Scene, **changed: Any) -> str:
    return _key(scene).token(good_claims(DEMO_ISSUER, DEMO_AUDIENCE, int(time.time()), **changed))
