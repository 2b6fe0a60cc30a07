"""Every operation of the Edu-V door, met by callers who may not, by what is malformed, and while the store is away.

`MESSAGES` and `READS` say of each who may call it and with what. One without an entry fails here.
"""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from api.contract.document import operations_of
from api.contract.text import as_text
from api.edge import problems
from api.edu_v.door import PATH, documented_door
from api.edu_v.status_codes import REFUSING, code_of
from api.routes import documented_app
from tests.contract.dereferenced import dereferenced
from tests.edu_v.both_sides import API, code, school
from tests.effort import turns
from tests.promises.test_every_body import NEVER_OURS, NOT_A_BODY, leaves, replaced
from tests.worlds.operations import Scene, scene_in
from tests.worlds.scenes import MEGABYTE
from tests.worlds.world import BASIS, NAMES, OFFERED, PURPOSE, Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLISHED: Final = Path(__file__).parents[2] / "openapi" / "edu-v-consent.json"
ROLES: Final = ("school", "board", "partner", "gateway", "operator")
CODES: Final = {each.status for each in REFUSING}


def request_to(scene: Scene) -> dict[str, Any]:
    return {
        "school": {**school(f"{scene.brin}00"), "organisationMasterIdentifier": f"{scene.brin}00"},
        "api": API,
        "consumerReferenceId": str(uuid.uuid4()),
        "scopes": OFFERED,
        "consumerStatus": "accepted",
        "purposes": [PURPOSE],
        "message": "Voor het nieuwe schooljaar.",
    }


def confirmation(scene: Scene) -> dict[str, Any]:
    return {
        "school": {**school(scene.brin), "organisationMasterIdentifier": scene.brin},
        "api": API,
        "providerReferenceId": scene.ids["grant_id"],
        "consumerReferenceId": str(uuid.uuid4()),
        "scopes": NAMES,
        "consumerStatus": "accepted",
    }


def notification(scene: Scene) -> dict[str, Any]:
    return {
        "school": {**school(f"{scene.brin}00"), "organisationMasterIdentifier": f"{scene.brin}00"},
        "api": API,
        "providerReferenceId": str(uuid.uuid4()),
        "consumerReferenceId": None,
        "scopes": BASIS,
        "providerStatus": "accepted",
        "clientId": scene.client_id,
        "purposes": [PURPOSE],
        "validFrom": None,
        "validUntil": "2027-08-01T00:00:00Z",
        "agreementId": scene.ids["agreement_id"],
    }


def revocation(scene: Scene) -> dict[str, Any]:
    return {
        "school": {**school(scene.brin), "organisationMasterIdentifier": scene.brin},
        "api": API,
        "providerReferenceId": scene.ids["grant_id"],
        "consumerReferenceId": None,
        "scopes": NAMES,
        "providerStatus": "revoked",
        "consumerStatus": None,
        "clientId": scene.client_id,
        "reason": "Zo besloten.",
    }


#: By operation: its address, who may call it, its message with every member that there is, and its success.
MESSAGES: Final[dict[str, tuple[str, tuple[str, ...], Any, int]]] = {
    "putConsentRequest": ("/consent/requests", ("partner",), request_to, 201),
    "putConsentConfirmation": ("/consent/confirmations", ("partner",), confirmation, 201),
    "putConsentNotification": ("/consent/notifications", ("school",), notification, 201),
    "putConsentRevoke": ("/consent/revokes", ("partner", "school"), revocation, 200),
}
READS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "getConsentStatuses": ("/consent/statuses", ("partner", "school")),
    "getConsentRequests": ("/consent/requests", ("partner", "school")),
    "getConsentConfirmations": ("/consent/confirmations", ("partner", "school")),
    "getConsentStatusBySchool": ("/consent/statuses/school", ("partner", "school")),
}
ALL: Final = (*MESSAGES, *READS)
LISTS: Final = tuple(each for each in READS if each != "getConsentStatusBySchool")


@dataclass
class Ledger:
    """Gathers what went wrong, so that a test tells all of it at once."""

    faults: list[str]

    def expect(self, wanted: tuple[int, ...], what: str, answer: Answer) -> None:
        sound = answer.status_code < 400 or (
            answer.headers["Content-Type"] == "application/json"
            and set(answer.json()) - {"errors"} == {"status", "statusMessage", "detail"}
            and answer.json()["status"] in CODES
            and len(answer.content) < 16_384
        )
        if answer.status_code not in wanted or not sound:
            self.faults.append(f"{what}: {answer.status_code}, not {wanted}: {answer.text[:200]}")


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    kept = Ledger([])
    yield kept
    assert not kept.faults, "\n".join(kept.faults)


async def call(scene: Scene, operation: str, **more: Any) -> Answer:
    """The operation's valid call, but for what `more` changes: `token`, `content`, `query` or `headers`."""
    path, roles = (MESSAGES.get(operation) or READS[operation])[:2]
    headers = {"Content-Type": "application/json", **more.get("headers", {})}
    token = more.get("token", scene.token(roles[0]))
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    content = more.get("content")
    if content is None and operation in MESSAGES:
        content = json.dumps(MESSAGES[operation][2](scene)).encode()
    query = more.get("query", f"orgMasterId={scene.brin}&clientId={scene.client_id}" if operation not in LISTS else "")
    query = query if operation in READS else ""
    method = "PUT" if operation in MESSAGES else "GET"
    return await scene.world.client.request(method, f"{PATH}{path}?{query}", content=content, headers=headers)


# -- the contract -----------------------------------------------------------------------------------------------------


def document() -> dict[str, Any]:
    return documented_door().openapi()


async def test_the_file_is_the_contract_that_the_routes_make() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == as_text(document()), "run `make openapi`"


async def test_what_is_served_is_the_published_contract(ours: Scene) -> None:
    served = await ours.world.call("GET", f"{PATH}/openapi.json", None)
    assert served.json() == json.loads(PUBLISHED.read_text(encoding="utf-8"))


async def test_no_operation_is_left_out_and_none_is_in_the_main_contract() -> None:
    found = {operation["operationId"]: (path, operation) for path, _, operation in operations_of(document())}
    assert set(found) == set(ALL)
    for name, (path, operation) in found.items():
        assert path == (MESSAGES.get(name) or READS[name])[0]
        assert operation["security"] == [{"accessToken": []}]
        assert "422" not in operation["responses"]
        said = dereferenced(document())["paths"][path]
        for each in (one for method in said.values() for one in method["responses"].values()):
            assert {"API-Version", "X-Request-ID"} <= set(each["headers"])
    assert not [path for path in documented_app().openapi()["paths"] if path.startswith(("/edu-v", "/consent"))]


@pytest.mark.parametrize("operation", MESSAGES)
async def test_the_valid_message_names_every_member_that_there_is(operation: str, ours: Scene) -> None:
    (found,) = [each for _, _, each in operations_of(document()) if each["operationId"] == operation]
    schema = found["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    assert set(MESSAGES[operation][2](ours)) == set(document()["components"]["schemas"][schema]["properties"])


async def test_every_problem_has_one_of_the_standards_codes() -> None:
    for problem in problems.ALL:
        assert code_of(problem).status in CODES


# -- who may call -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ALL)
async def test_who_may_call_gets_an_answer_and_nobody_else(operation: str, ours: Scene, ledger: Ledger) -> None:
    roles = (MESSAGES.get(operation) or READS[operation])[1]
    for role in ROLES:
        scene = await scene_in(ours.world) if role in roles and operation in MESSAGES else ours
        success = MESSAGES[operation][3] if operation in MESSAGES else 200
        answer = await call(scene, operation, token=scene.token(role))
        ledger.expect((success,) if role in roles else (403,), role, answer)
    for what, headers in {
        "no token": {},
        "another scheme": {"Authorization": "Basic eDp5"},
        "a token cut short": {"Authorization": f"Bearer {str(ours.token(roles[0]))[:-9]}"},
    }.items():
        refused = await call(ours, operation, token=None, headers=headers)
        ledger.expect((401,), what, refused)
        assert code(refused) == (401, "0021")
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("operation", MESSAGES)
async def test_of_another_school_or_partner_nothing_is_told_or_changed(
    operation: str, ours: Scene, theirs: Scene
) -> None:
    """With a token of ours, a message about what is theirs; beside it, one about what there is not."""
    before = (await call(theirs, "getConsentStatuses")).json()
    role = MESSAGES[operation][1][0]
    body = {**MESSAGES[operation][2](theirs), **({"school": school("17TX")} if role == "school" else {})}
    there = await call(ours, operation, token=ours.token(role), content=json.dumps(body).encode())
    missing = {name: str(uuid.UUID(int=7)) for name in ("providerReferenceId",) if body.get(name)}
    if role == "school":
        body["school"] = school("99ZZ")
    absent = await call(ours, operation, token=ours.token(role), content=json.dumps({**body, **missing}).encode())
    if operation == "putConsentRequest":
        assert there.json()["consent"]["clientId"] == ours.client_id, "a partner asks in its own name alone"
    else:
        hidden = body.get("providerReferenceId") or ""
        assert there.text.replace(hidden, "") == absent.text.replace(str(uuid.UUID(int=7)), "").replace(hidden, "")
        assert there.status_code == absent.status_code
        assert there.status_code in (400, 404)
    assert (await call(theirs, "getConsentStatuses")).json() == before


async def test_what_there_is_not_and_what_is_away_speaks_the_standards_language(ours: Scene, ledger: Ledger) -> None:
    world, token = ours.world, ours.token("partner")
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/consent/statuses/", 404),
        ("DELETE", "/consent/statuses", 405),
        ("POST", "/consent/requests", 405),
    ):
        ledger.expect((status,), path, await world.call(method, PATH + path, token))
    ledger.expect((401,), "no token", await world.call("GET", f"{PATH}/nothing", None))


# -- malformed and oversized ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", MESSAGES)
async def test_what_is_no_message_is_refused(operation: str, ours: Scene, ledger: Ledger) -> None:
    for what, content in NOT_A_BODY.items():
        wanted = (413,) if len(content) > MEGABYTE else (400,)
        ledger.expect(wanted, what, await call(ours, operation, content=content))
    text = json.dumps(MESSAGES[operation][2](ours))
    for what, content in {
        "an unknown member": f'{text[:-1]}, "unknown": 1}}'.encode(),
        "a member twice": f'{text[:-1]}, "api": "uwlr-api"}}'.encode(),
        "a name in Python": f'{text[:-1]}, "provider_reference_id": "x"}}'.encode(),
        "another encoding": text.encode("utf-16"),
        "nothing": b" ",
    }.items():
        ledger.expect((400,), what, await call(ours, operation, content=content))
    ledger.expect((413,), "2 MiB", await call(ours, operation, content=text.encode() + b" " * 2 * MEGABYTE))
    other = await call(ours, operation, headers={"Content-Type": "text/plain"})
    ledger.expect((400,), "another content type", other)


@pytest.mark.parametrize("operation", MESSAGES)
async def test_a_member_that_cannot_be_is_refused(operation: str, ours: Scene, ledger: Ledger) -> None:
    body = MESSAGES[operation][2](ours)
    for turn, (place, was) in enumerate(leaves(body), list(MESSAGES).index(operation)):
        for what, value in turns(NEVER_OURS.items(), turn):
            if what == "too long" and place == ("school", "organisationIds", 0, "organisationId"):
                value = "1" * 65
            content = json.dumps(replaced(body, place, value)).encode()
            ledger.expect((400,), f"{place} is {what}", await call(ours, operation, content=content))
        odd: tuple[Any, ...] = ("1", "\u202e", "' OR 1=1 --", 0, -1, 2**63, 1.5, None, [], [None], "9999-12-31")
        for value in turns(odd, turn):
            if value != was:
                content = json.dumps(replaced(body, place, value)).encode()
                answer = await call(await _spare(ours), operation, content=content)
                ledger.expect((200, 201, 400, 404, 409, 428), f"{place} is {value!r}", answer)


_spares: dict[int, Scene] = {}


async def _spare(ours: Scene) -> Scene:
    """Another scene of the same world, for messages that may succeed."""
    if id(ours.world) not in _spares:
        _spares[id(ours.world)] = await scene_in(ours.world)
    return _spares[id(ours.world)]


@pytest.mark.parametrize("operation", READS)
async def test_a_malformed_query_is_refused(operation: str, ours: Scene, ledger: Ledger) -> None:
    (found,) = [each for _, _, each in operations_of(dereferenced(document())) if each["operationId"] == operation]
    valid = "" if operation in LISTS else f"orgMasterId={ours.brin}&clientId={ours.client_id}&"
    for each in found["parameters"]:
        if each["in"] != "query":
            continue
        for value in ("x" * 5_000, "a%00", "%00", "a%0Ab", "-1"):
            wanted = (200, 400) if value == "-1" else (400,)
            others = "&".join(one for one in valid.split("&") if not one.startswith(f"{each['name']}="))
            answer = await call(ours, operation, query=f"{others}&{each['name']}={value}")
            ledger.expect(wanted, f"{each['name']}={value[:10]}", answer)
        for value in ("", "%FF", "%ED%A0%80", "'--", "9" * 100, "%E2%80%AE", "2026-09-01", "1e3", "0x10"):
            answer = await call(ours, operation, query=f"{valid}{each['name']}={value}")
            ledger.expect((200, 400, 404), f"{each['name']}={value[:10]}", answer)
    for number in (2**31 - 1, 2**31, 2**63, 2**64):
        answer = await call(ours, operation, query=f"{valid}since={number}")
        ledger.expect((200, 404) if number < 2**31 else (400,), f"since={number}", answer)
    for cursor in (
        ("!", "A", "AA", "MQ", "MS4", "OTk5OTk5OTk5OTk5LmE", "4pmg", "J09SIDE9MS0t") if operation in LISTS else ()
    ):
        ledger.expect((200, 400), f"cursor {cursor}", await call(ours, operation, query=f"cursor={cursor}"))


@pytest.mark.parametrize("operation", ALL)
async def test_hostile_headers_and_queries_do_no_harm(operation: str, ours: Scene, ledger: Ledger) -> None:
    content = b"[]" if operation in MESSAGES else None
    wanted = (400,) if operation in MESSAGES else (200,)
    for header, value in (
        ("Host", "["),
        ("Host", "exa mple"),
        ("X-Request-ID", "x" * 5_000),
        ("X-Forwarded-Host", "evil.example"),
        ("Accept", "\u00ff"),
        ("traceparent", "garbage"),
    ):
        headers = {header: value.encode("latin-1")}
        ledger.expect(wanted, header, await call(ours, operation, headers=headers, content=content))
    if operation in LISTS:
        for query in ("%00", "%FF=%FF", "&&&", "a" * 7_000, "&".join(["a=b"] * 1_500)):
            ledger.expect((200,), query[:20], await call(ours, operation, query=query))


async def test_a_link_leads_on_without_what_was_not_understood(ours: Scene) -> None:
    answer = await call(ours, "getConsentStatuses", query="limit=1&since=2026-01-01T00:00:00%2B01:00&x=%3E%0d%0a")
    link = answer.headers["Link"]
    assert link.startswith(f"<{PATH}/consent/statuses?since=2026-01-01T00%3A00%3A00%2B01%3A00&limit=1&cursor=")
    assert link.endswith('>; rel="next"')
