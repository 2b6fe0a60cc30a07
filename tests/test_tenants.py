"""Who sees what on the road to live: a partner what is its own connection's, a school what concerns its own grants.

What is another's is the same 404 as what does not exist, to the byte. Every route of a case, a connection, an incident
and what is due stands in one of the tables below.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import pytest

from api import rows
from api.app import documented_app
from tests.test_grants import problem
from tests.world import OFFERED, OTHER_PURPOSE, PURPOSE, Answer, World

NOWHERE: Final = "00000000-0000-4000-8000-000000000000"
#: A name that nothing has, for each that stands in an address.
UNKNOWN: Final = {
    "client_id": "onbekend",
    "kvk_number": "99999999",
    "case_id": NOWHERE,
    "agreement_id": NOWHERE,
    "ground_rule_id": NOWHERE,
    "incident_id": NOWHERE,
    "file_id": NOWHERE,
}

#: What a partner reads of which an address names whose it is.
READS: Final = {
    "its connection": "/v1/connections/{client_id}",
    "its agreements": "/v1/connections/{client_id}/agreements",
    "its agreement's document": "/v1/connections/{client_id}/agreements/{agreement_id}/document",
    "its ground rules": "/v1/connections/{client_id}/ground-rules",
    "its case": "/v1/cases/{case_id}",
    "its incident": "/v1/incidents/{incident_id}",
    "its attachment": "/v1/incidents/{incident_id}/attachments/{file_id}",
}
#: What a partner reads of which its token alone says whose it is.
LISTS: Final = {
    "its cases": "/v1/cases",
    "its incidents": "/v1/incidents",
    "its figures": "/v1/incidents/figures",
}
#: What a partner does with an incident that it has reported, and what the answer to it is.
WRITES: Final = {
    "a comment": ("/v1/incidents/{incident_id}/comments", 201),
    "a reopening": ("/v1/incidents/{incident_id}/_reopen", 200),
    "a suspected breach": ("/v1/incidents/{incident_id}/_suspect", 200),
    "an attachment": ("/v1/incidents/{incident_id}/attachments", 201),
}
REPORTS: Final = "/v1/incidents"

SAID: Final = {"text": "Gezegd."}
REASON: Final = {"reason": "Zo besloten."}
ANOTHER_NAME: Final = {"name": "Anders"}

#: A method, an address and what is sent along.
Route = tuple[str, str, dict[str, Any] | None]

#: What operators alone may do.
BY_OPERATORS_ALONE: Final[tuple[Route, ...]] = (
    ("GET", "/v1/due", None),
    ("GET", "/v1/partners", None),
    ("POST", "/v1/partners", {"kvkNumber": "90000009", "name": "Een ander"}),
    ("GET", "/v1/partners/{kvk_number}", None),
    ("PATCH", "/v1/partners/{kvk_number}", ANOTHER_NAME),
    ("POST", "/v1/partners/{kvk_number}/_stop", REASON),
    ("POST", "/v1/partners/{kvk_number}/_lift", REASON),
    ("GET", "/v1/connections", None),
    ("POST", "/v1/connections", {"clientId": "anders"}),
    ("PATCH", "/v1/connections/{client_id}", ANOTHER_NAME),
    ("POST", "/v1/connections/{client_id}/_stop", REASON),
    ("POST", "/v1/connections/{client_id}/_lift", REASON),
    ("POST", "/v1/connections/{client_id}/agreements", {"agreementVersion": "5.0"}),
    ("POST", "/v1/connections/{client_id}/agreements/{agreement_id}/_end", REASON),
    ("POST", "/v1/connections/{client_id}/agreements/{agreement_id}/document", None),
    ("POST", "/v1/connections/{client_id}/ground-rules", {"rule": "kvk", "evidence": "Gezien.", "source": "KvK"}),
    ("POST", "/v1/connections/{client_id}/ground-rules/{ground_rule_id}/_withdraw", REASON),
    ("POST", "/v1/cases/{case_id}/steps", {"step": "agreements_returned", "evidence": "Per post."}),
    ("POST", "/v1/incidents/{incident_id}/_take", SAID),
    ("POST", "/v1/incidents/{incident_id}/_answer", SAID),
    ("POST", "/v1/incidents/{incident_id}/_resolve", SAID),
    ("POST", "/v1/incidents/{incident_id}/_notify", SAID),
)


def test_every_route_of_the_road_to_live_stands_in_one_table() -> None:
    rooms = ("/v1/cases", "/v1/connections", "/v1/partners", "/v1/incidents", "/v1/due")
    paths = documented_app().openapi()["paths"]
    served = [(method.upper(), path) for path, item in paths.items() if path.startswith(rooms) for method in item]
    for_partners = [*(("GET", path) for path in (*READS.values(), *LISTS.values())), ("POST", REPORTS)]
    for_partners += [("POST", path) for path, _ in WRITES.values()]
    for_operators = [(method, path) for method, path, _ in BY_OPERATORS_ALONE]
    assert sorted(served) == sorted([*for_partners, *for_operators])


# -- two partners on their road ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tenant:
    """A connection with all that is its own. Whatever was written for it holds its client id."""

    client_id: str
    kvk_number: str
    reference: str
    secret: str
    case_id: str
    agreement_id: str
    ground_rule_id: str
    incident_id: str
    file_id: str

    def names(self, path: str) -> dict[str, str]:
        """Of the names in the address, those of this tenant."""
        return {name: value for name, value in asdict(self).items() if f"{{{name}}}" in path}

    @property
    def ids(self) -> set[str]:
        """All by which anything of this tenant can be known; its partner may have another connection."""
        return set(asdict(self).values()) - {self.kvk_number}


def application(client_id: str, kvk_number: str) -> dict[str, Any]:
    """An application for all that `world.register` lets a connection ask for."""
    return {
        "company": {"name": f"Uitgeverij {client_id}", "kvkNumber": kvk_number},
        "contact": {"name": f"Roos van {client_id}", "email": f"roos@{client_id}.example", "phone": "020 5550100"},
        "product": {"name": f"Leermiddel {client_id}"},
        "requested": [
            {"scope": scope, "purpose": purpose} for scope in OFFERED for purpose in (PURPOSE, OTHER_PURPOSE)
        ],
        "legalRelation": f"Overeenkomst tussen school en {client_id}.",
        "eduK": {"version": "4.0", "status": "deelnemer", "registration": f"register van {client_id}"},
    }


async def applied(world: World, client_id: str, kvk_number: str) -> tuple[str, str, str]:
    """The case, the reference and the secret of an application that was sent in."""
    answer = await world.call("POST", "/v1/applications", None, application(client_id, kvk_number))
    assert answer.status_code == 201, answer.text
    cases = (await world.operate("GET", "/v1/cases")).json()["items"]
    received = answer.json()
    (case_id,) = (case["caseId"] for case in cases if case["reference"] == received["reference"])
    return case_id, received["reference"], received["secret"]


async def walked(world: World, case_id: str, client_id: str) -> None:
    """The case, as far as the step that says which connection it is about."""
    for step, more in (("contacted", {}), ("introduced", {}), ("agreements_sent", {"clientId": client_id})):
        body = {"step": step, "evidence": f"Gesproken met {client_id}.", **more}
        answer = await world.operate("POST", f"/v1/cases/{case_id}/steps", body)
        assert answer.status_code == 200, answer.text


async def handed_in(world: World, path: str, token: str, content: bytes, name: str, **headers: str) -> Answer:
    """A file as the body of a call: a PDF, or plain text."""
    media_type = "application/pdf" if name.endswith(".pdf") else "text/plain"
    given = {"Authorization": f"Bearer {token}", "Content-Type": media_type}
    given |= {each.replace("_", "-"): value for each, value in headers.items()}
    return await world.client.post(path, params={"name": name}, content=content, headers=given)


async def agreed(world: World, client_id: str, **more: Any) -> str:
    """An agreement that was signed, with its document."""
    made = await world.agree(client_id, OFFERED, [PURPOSE, OTHER_PURPOSE], **more)
    assert made.status_code == 201, made.text
    return await documented(world, client_id, str(made.json()["agreementId"]))


async def documented(world: World, client_id: str, agreement_id: str) -> str:
    path = f"/v1/connections/{client_id}/agreements/{agreement_id}/document"
    content = document_of(client_id, agreement_id)
    kept = await handed_in(world, path, world.token("operator"), content, f"{client_id}.pdf")
    assert kept.status_code == 201, kept.text
    return agreement_id


def document_of(client_id: str, agreement_id: str) -> bytes:
    return f"%PDF-1.7\nOvereenkomst {agreement_id} met {client_id}\n%%EOF\n".encode()


async def troubled(world: World, client_id: str) -> tuple[str, str]:
    """An incident of the connection, solved by a consultant, and its attachment."""
    token = world.token("partner", client_id=client_id)
    report = {"title": f"Storing bij {client_id}", "description": "Het scherm blijft wit.", "severity": "normal"}
    incident_id = str((await world.call("POST", REPORTS, token, report)).json()["incidentId"])
    for step in ("_take", "_resolve"):
        text = {"text": f"Gezegd tegen {client_id}."}
        assert (await world.operate("POST", f"{REPORTS}/{incident_id}/{step}", text)).status_code == 200
    content = f"Logboek van {client_id}.".encode()
    kept = await handed_in(world, f"{REPORTS}/{incident_id}/attachments", token, content, f"{client_id}.txt")
    assert kept.status_code == 201, kept.text
    return incident_id, str(kept.json()["fileId"])


async def settled(world: World, client_id: str, kvk_number: str) -> Tenant:
    """A live connection with a case, an agreement and its document, an incident and its attachment."""
    case_id, reference, secret = await applied(world, client_id, kvk_number)
    await world.register(client_id, kvk_number=kvk_number)
    await walked(world, case_id, client_id)
    path = f"/v1/connections/{client_id}"
    (agreement,) = (await world.operate("GET", f"{path}/agreements")).json()["items"]
    ground_rules = (await world.operate("GET", f"{path}/ground-rules")).json()["items"]
    incident_id, file_id = await troubled(world, client_id)
    return Tenant(
        client_id=client_id,
        kvk_number=kvk_number,
        reference=reference,
        secret=secret,
        case_id=case_id,
        agreement_id=await documented(world, client_id, agreement["agreementId"]),
        ground_rule_id=ground_rules[0]["groundRuleId"],
        incident_id=incident_id,
        file_id=file_id,
    )


#: Whose the other connection is. The two of one partner are as far apart as those of two.
OTHERS: Final = {"another partner": "90000002", "the same partner": "90000001"}
others = pytest.mark.parametrize("other", OTHERS)


async def neighbours(world: World, other: str = "another partner") -> tuple[Tenant, Tenant]:
    """Two connections, each with all that is its own."""
    ours = await settled(world, "rekenrijk", "90000001")
    return ours, await settled(world, "taalhuis", OTHERS[other])


def partner(world: World, tenant: Tenant) -> str:
    return world.token("partner", client_id=tenant.client_id)


def others_names(path: str, ours: Tenant, theirs: Tenant) -> Iterator[tuple[str, str]]:
    """The address of what is ours, with one or more of its names another's; beside it, with names that nothing has."""
    own, foreign = ours.names(path), theirs.names(path)
    for count in range(1, len(own) + 1):
        for changed in itertools.combinations(own, count):
            if all(own[name] == foreign[name] for name in changed):
                continue
            yield (
                path.format(**own | {name: foreign[name] for name in changed}),
                path.format(**own | {name: UNKNOWN[name] for name in changed}),
            )


def whole(answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    """All that an answer tells, but for the id of its request."""
    headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    return answer.status_code, answer.content, headers


def assert_not_found(foreign: Answer, unknown: Answer) -> None:
    """What is another's and what does not exist are the same 404."""
    assert problem(unknown) == (404, "not_found")
    assert whole(foreign) == whole(unknown)


# -- what a partner reads ---------------------------------------------------------------------------------------------


@others
@pytest.mark.parametrize("name", READS)
async def test_a_partner_reads_what_is_its_own_and_nothing_else_is_there(world: World, name: str, other: str) -> None:
    path = READS[name]
    for ours, theirs in itertools.permutations(await neighbours(world, other)):
        own = await world.call("GET", path.format(**ours.names(path)), partner(world, ours))
        assert own.status_code == 200
        assert ours.client_id in own.text
        assert not [each for each in theirs.ids if each in own.text]
        assert "operator-subject" not in own.text
        for foreign, unknown in others_names(path, ours, theirs):
            answers = [await world.call("GET", each, partner(world, ours)) for each in (foreign, unknown)]
            assert_not_found(*answers)


QUERIES: Final = {
    "its cases": ("", "?limit=1", "?step=agreements_sent"),
    "its incidents": ("", "?limit=1", "?status=resolved"),
    "its figures": ("",),
}


@others
@pytest.mark.parametrize("name", LISTS)
async def test_a_list_holds_what_is_the_partners_own_and_nothing_else(world: World, name: str, other: str) -> None:
    for ours, theirs in itertools.permutations(await neighbours(world, other)):
        for query in QUERIES[name]:
            answer = await world.call("GET", f"{LISTS[name]}{query}", partner(world, ours))
            assert answer.status_code == 200
            assert not [each for each in theirs.ids if each in answer.text]
            assert "operator-subject" not in answer.text
            if name != "its figures":
                (item,) = answer.json()["items"]
                assert (item["clientId"], answer.json()["next"]) == (ours.client_id, None)
                assert item[LISTED[name]] in ours.ids


LISTED: Final = {"its cases": "caseId", "its incidents": "incidentId"}


@others
async def test_a_partners_figures_count_its_own_incidents(world: World, other: str) -> None:
    for tenant in await neighbours(world, other):
        told = (await world.call("GET", LISTS["its figures"], partner(world, tenant))).json()["severities"]
        assert [each["solution"]["count"] for each in told] == [0, 0, 1, 0]
    all_of_them = (await world.operate("GET", LISTS["its figures"])).json()["severities"]
    assert [each["solution"]["count"] for each in all_of_them] == [0, 0, 2, 0]


async def test_the_operator_reads_what_is_of_either(world: World) -> None:
    ours, theirs = await neighbours(world)
    for path, tenant in itertools.product(READS.values(), (ours, theirs)):
        answer = await world.operate("GET", path.format(**tenant.names(path)))
        assert answer.status_code == 200
        assert tenant.client_id in answer.text
    for name, member in LISTED.items():
        items = (await world.operate("GET", LISTS[name])).json()["items"]
        assert {item[member] for item in items} <= ours.ids | theirs.ids
        assert len(items) == 2


async def test_an_operator_too_finds_a_thing_under_its_own_connection_or_incident_alone(world: World) -> None:
    ours, theirs = await neighbours(world)
    for name, inner in (("its agreement's document", "agreement_id"), ("its attachment", "file_id")):
        names = ours.names(READS[name])
        crossed = READS[name].format(**names | {inner: getattr(theirs, inner)})
        missing = READS[name].format(**names | {inner: NOWHERE})
        assert_not_found(await world.operate("GET", crossed), await world.operate("GET", missing))


# -- who it was -------------------------------------------------------------------------------------------------------


async def test_who_checked_a_ground_rule_is_told_to_operators_and_not_to_the_partner(world: World) -> None:
    ours, _ = await neighbours(world)
    path = READS["its ground rules"].format(**ours.names(READS["its ground rules"]))
    told = (await world.operate("GET", path)).json()["items"]
    untold = (await world.call("GET", path, partner(world, ours))).json()["items"]
    assert [rule["checkedBy"] for rule in told] == ["operator-subject"] * 4
    assert untold == [{**rule, "checkedBy": None} for rule in told]


async def test_who_took_a_step_is_told_to_operators_and_not_to_the_partner(world: World) -> None:
    ours, _ = await neighbours(world)
    path = READS["its case"].format(**ours.names(READS["its case"]))
    told = (await world.operate("GET", path)).json()
    assert [(step["step"], step["by"], step["role"]) for step in told["steps"]] == [
        ("applied", f"applicant:{ours.reference}", "applicant"),
        ("contacted", "operator-subject", "operator"),
        ("introduced", "operator-subject", "operator"),
        ("agreements_sent", "operator-subject", "operator"),
    ]
    untold = {**told, "steps": [{**step, "by": None} for step in told["steps"]]}
    assert (await world.call("GET", path, partner(world, ours))).json() == untold
    assert (await world.call("GET", "/v1/cases", partner(world, ours))).json()["items"] == [untold]


# -- before there is anything -----------------------------------------------------------------------------------------


async def test_a_partner_that_is_linked_to_nothing_sees_nothing(world: World) -> None:
    await neighbours(world)
    await world.register("stil", kvk_number="90000003")
    for client_id in ("stil", "onbekend"):
        token = world.token("partner", client_id=client_id)
        for name in ("its cases", "its incidents"):
            assert (await world.call("GET", LISTS[name], token)).json() == {"items": [], "next": None}
        told = (await world.call("GET", LISTS["its figures"], token)).json()["severities"]
        assert {(each["open"], each["firstAnswer"]["count"]) for each in told} == {(0, 0)}


async def test_a_partner_that_is_not_registered_has_no_connection_any_more_than_another_has(world: World) -> None:
    ours, _ = await neighbours(world)
    token = world.token("partner", client_id="onbekend")
    for name in ("its connection", "its agreements", "its ground rules"):
        own = await world.call("GET", READS[name].format(client_id="onbekend"), token)
        assert_not_found(await world.call("GET", READS[name].format(client_id=ours.client_id), token), own)


async def test_a_case_is_the_partners_from_the_step_on_that_names_its_connection(world: World) -> None:
    case_id, _, _ = await applied(world, "rekenrijk", "90000001")
    await world.register("rekenrijk")
    await world.register("rekenrijk-oud")
    own, old = (world.token("partner", client_id=client_id) for client_id in ("rekenrijk", "rekenrijk-oud"))
    early, unknown = [await world.call("GET", f"/v1/cases/{each}", own) for each in (case_id, NOWHERE)]
    assert_not_found(early, unknown)
    await walked(world, case_id, "rekenrijk-oud")
    assert (await world.call("GET", f"/v1/cases/{case_id}", old)).status_code == 200
    again = {"step": "agreements_sent", "evidence": "Voor het andere leermiddel.", "clientId": "rekenrijk"}
    assert (await world.operate("POST", f"/v1/cases/{case_id}/steps", again)).status_code == 200
    assert (await world.call("GET", f"/v1/cases/{case_id}", own)).status_code == 200
    assert_not_found(await world.call("GET", f"/v1/cases/{case_id}", old), unknown)
    assert (await world.call("GET", "/v1/cases", old)).json()["items"] == []


# -- what a partner does ----------------------------------------------------------------------------------------------


async def done(world: World, path: str, token: str, **headers: str) -> Answer:
    """One of the `WRITES`."""
    if path.endswith("/attachments"):
        return await handed_in(world, path, token, b"Logboek.", "logboek.txt", **headers)
    return await world.call("POST", path, token, SAID, **headers)


@others
@pytest.mark.parametrize("name", WRITES)
async def test_a_partner_writes_to_its_own_incidents_and_to_no_others(world: World, name: str, other: str) -> None:
    path, status = WRITES[name]
    ours, theirs = await neighbours(world, other)
    before = (await world.operate("GET", f"{REPORTS}/{theirs.incident_id}")).json()
    revision = await revision_of(world)
    for headers in ({}, {"If_Match": '"4"'}, {"If_Match": '"1"'}, {"If_Match": "*"}, {"Idempotency_Key": "sleutel"}):
        for foreign, unknown in others_names(path, ours, theirs):
            answers = [await done(world, each, partner(world, ours), **headers) for each in (foreign, unknown)]
            assert_not_found(*answers)
    assert await revision_of(world) == revision
    assert (await world.operate("GET", f"{REPORTS}/{theirs.incident_id}")).json() == before
    own = await done(world, path.format(**ours.names(path)), partner(world, ours))
    assert own.status_code == status
    assert not [each for each in theirs.ids if each in own.text]


@pytest.mark.parametrize("name", WRITES)
async def test_no_partner_is_given_the_answer_to_anothers_write_by_its_key(world: World, name: str) -> None:
    path, status = WRITES[name]
    ours, theirs = await neighbours(world)
    own = await done(world, path.format(**theirs.names(path)), partner(world, theirs), Idempotency_Key="sleutel")
    assert own.status_code == status
    (addresses,) = others_names(path, ours, theirs)
    answers = [await done(world, each, partner(world, ours), Idempotency_Key="sleutel") for each in addresses]
    assert_not_found(*answers)


async def revision_of(world: World) -> int:
    """How often anything has changed."""
    async with world.store.reading() as session:
        return await rows.revision(session)


# -- what is for operators alone, and for no school -------------------------------------------------------------------


async def refused(world: World, token: str, routes: Sequence[Route], *tenants: dict[str, str]) -> None:
    """Asserts that a role may do none of this, that the answers tell not what there is, and that nothing changed."""
    before = await revision_of(world)
    for method, path, body in routes:
        answers = [await world.call(method, path.format(**names), token, body, If_Match="*") for names in tenants]
        assert problem(answers[0]) == (403, "forbidden"), path
        assert all(whole(answer) == whole(answers[0]) for answer in answers), path
    assert await revision_of(world) == before


async def test_what_is_the_operators_is_refused_to_partners_be_it_about_themselves_or_not(world: World) -> None:
    ours, theirs = await neighbours(world)
    await refused(world, partner(world, ours), BY_OPERATORS_ALONE, asdict(ours), asdict(theirs), UNKNOWN)


@pytest.mark.parametrize("role", ["school", "gateway"])
async def test_a_school_and_a_gateway_see_no_case_agreement_incident_or_file_of_a_partner(
    world: World, role: str
) -> None:
    ours, theirs = await neighbours(world)
    await world.granted(ours.client_id)
    for_partners: list[Route] = [
        *(("GET", path, None) for path in (*READS.values(), *LISTS.values())),
        *(("POST", path, SAID) for path, _ in WRITES.values()),
        ("POST", REPORTS, {"title": "Storing", "description": "Wit scherm.", "severity": "low"}),
    ]
    token = world.token(role, school="16SW" if role == "school" else None)
    routes = [*for_partners, *BY_OPERATORS_ALONE]
    await refused(world, token, routes, asdict(ours), asdict(theirs), UNKNOWN)


# -- the documents that concern a school's grants ---------------------------------------------------------------------


async def fetched(world: World, brin: str, agreement_id: str, token: str | None = None) -> Answer:
    """The document of an agreement, by an administrator of the school unless another token is given."""
    path = f"/v1/schools/{brin}/agreements/{agreement_id}/document"
    return await world.call("GET", path, token or world.token("school", school=brin))


async def found(world: World, brin: str, agreements: dict[str, str]) -> set[str]:
    """Which of these agreements a school may read; all others are the same as one that does not exist."""
    missing = await fetched(world, brin, NOWHERE)
    readable = set()
    for name, agreement_id in agreements.items():
        answer = await fetched(world, brin, agreement_id)
        if answer.status_code == 200:
            assert answer.content == document_of("taalhuis" if name == "another's" else "rekenrijk", agreement_id)
            readable.add(name)
        else:
            assert_not_found(answer, missing)
    return readable


async def agreements_of_two(world: World) -> dict[str, str]:
    """The agreements of `rekenrijk`, for all and for the boards of 16SW and of 17TX, and that of `taalhuis`."""
    general = {}
    for client_id, kvk_number in (("rekenrijk", "90000001"), ("taalhuis", "90000002")):
        await world.register(client_id, kvk_number=kvk_number, agreed=())
        general[client_id] = await agreed(world, client_id)
    return {
        "the general one": general["rekenrijk"],
        "that of board 10001": await agreed(world, "rekenrijk", boardNumber="10001"),
        "that of board 10002": await agreed(world, "rekenrijk", boardNumber="10002"),
        "another's": general["taalhuis"],
    }


#: Which agreements a school may read by the grants that there are: each the school's, the connection's, and where.
GRANTED: Final[dict[str, tuple[tuple[tuple[str, str, str | None], ...], set[str], set[str]]]] = {
    "nobody has granted anything": ((), set(), set()),
    "one school has": (
        (("16SW", "rekenrijk", None),),
        {"the general one", "that of board 10001"},
        set(),
    ),
    "one school has for a location": (
        (("16SW", "rekenrijk", "16SW01"),),
        {"the general one", "that of board 10001"},
        set(),
    ),
    "the other school has": (
        (("17TX", "rekenrijk", None),),
        set(),
        {"the general one", "that of board 10002"},
    ),
    "both have, to different connections": (
        (("16SW", "rekenrijk", None), ("17TX", "taalhuis", None)),
        {"the general one", "that of board 10001"},
        {"another's"},
    ),
    "one has to both connections": (
        (("16SW", "rekenrijk", None), ("16SW", "taalhuis", None)),
        {"the general one", "that of board 10001", "another's"},
        set(),
    ),
}


@pytest.mark.parametrize("name", GRANTED)
async def test_a_school_reads_the_agreements_that_its_own_grants_rest_on(world: World, name: str) -> None:
    grants, of_16sw, of_17tx = GRANTED[name]
    agreements = await agreements_of_two(world)
    for brin, client_id, location in grants:
        await world.granted(client_id, brin=brin, **({"location": location} if location else {}))
    assert await found(world, "16SW", agreements) == of_16sw
    assert await found(world, "17TX", agreements) == of_17tx


async def test_no_other_caller_reads_an_agreement_by_the_schools_address(world: World) -> None:
    agreements = await agreements_of_two(world)
    await world.granted()
    general = agreements["the general one"]
    assert (await fetched(world, "16SW", general)).status_code == 200
    for role, client_id in (("partner", "rekenrijk"), ("gateway", None), ("operator", None)):
        answer = await fetched(world, "16SW", general, world.token(role, client_id=client_id))
        assert problem(answer) == (403, "forbidden")
    other_school = world.token("school", school="17TX")
    foreign = await fetched(world, "16SW", general, other_school)
    assert_not_found(foreign, await fetched(world, "99ZZ", general, other_school))
    own = world.token("school", school="99ZZ")
    assert_not_found(foreign, await fetched(world, "99ZZ", general, own))


async def test_nothing_that_a_school_reads_tells_of_a_case_an_incident_a_file_or_another_boards_agreement(
    world: World,
) -> None:
    ours, theirs = await neighbours(world)
    foreign = [await agreed(world, ours.client_id, boardNumber="10002") for _ in range(2)]
    grant = await world.granted(ours.client_id)
    paths = ("", "/grants", f"/grants/{grant['grantId']}", f"/grants/{grant['grantId']}/history", "/connections")
    hidden = set(foreign)
    for tenant in (ours, theirs):
        hidden |= {
            tenant.case_id,
            tenant.reference,
            tenant.incident_id,
            tenant.file_id,
            f"Storing bij {tenant.client_id}",
        }
    for path in paths:
        answer = await world.administer("GET", path)
        assert answer.status_code == 200
        assert not [each for each in hidden if each in answer.text], path


# -- the applicants ---------------------------------------------------------------------------------------------------


async def follow(world: World, reference: str, secret: str | None, token: str | None = None) -> Answer:
    headers = {"X_Application_Secret": secret} if secret is not None else {}
    return await world.call("GET", f"/v1/applications/{reference}", token, **headers)


async def withdraw(world: World, reference: str, secret: str | None, token: str | None = None) -> Answer:
    headers = {"X_Application_Secret": secret} if secret is not None else {}
    return await world.call("POST", f"/v1/applications/{reference}/_withdraw", token, REASON, **headers)


#: A reference and a secret that were never given.
NO_REFERENCE, NO_SECRET = "00000-00000", "x" * 43
DOORS: Final = {"to follow it": follow, "to withdraw it": withdraw}


async def test_an_applicant_follows_its_own_application_and_reads_of_no_other_and_of_nobody(world: World) -> None:
    for ours, theirs in itertools.permutations(await neighbours(world)):
        answer = await follow(world, ours.reference, ours.secret)
        seen = answer.json()
        assert (answer.status_code, seen["reference"], seen["step"]) == (200, ours.reference, "agreements_sent")
        assert seen["companyName"] == f"Uitgeverij {ours.client_id}"
        assert [set(step) for step in seen["steps"]] == [{"step", "at"}] * 4
        untold = {*theirs.ids, ours.secret, ours.case_id, ours.incident_id, "operator-subject", "Roos van", "Gesproken"}
        assert not [each for each in untold if each in answer.text]


@pytest.mark.parametrize("door", DOORS)
async def test_an_applicants_secret_opens_its_own_reference_alone(world: World, door: str) -> None:
    ours, theirs = await neighbours(world)
    missing = await DOORS[door](world, NO_REFERENCE, NO_SECRET)
    pairs = [
        (ours.reference, NO_SECRET),
        (ours.reference, theirs.secret),
        (theirs.reference, ours.secret),
        (NO_REFERENCE, ours.secret),
        (ours.reference, ours.secret[:-1]),
        (ours.reference, f"{ours.secret}x"),
        (ours.reference, ours.secret.swapcase()),
        (ours.reference, ours.reference),
        (ours.reference, ""),
    ]
    before = await revision_of(world)
    for reference, secret in pairs:
        assert_not_found(await DOORS[door](world, reference, secret), missing)
    assert await revision_of(world) == before
    assert (await DOORS[door](world, ours.reference, ours.secret)).status_code == 200
    assert (await follow(world, theirs.reference, theirs.secret)).json()["step"] == "agreements_sent"


@pytest.mark.parametrize("door", DOORS)
async def test_without_a_secret_an_application_is_closed_be_it_there_or_not(world: World, door: str) -> None:
    ours, _ = await neighbours(world)
    answers = [await DOORS[door](world, reference, None) for reference in (ours.reference, NO_REFERENCE)]
    assert problem(answers[0]) == (401, "unauthenticated")
    assert whole(answers[0]) == whole(answers[1])


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("role", ["operator", "partner", "school", "gateway"])
async def test_no_token_opens_an_application(world: World, role: str, door: str) -> None:
    ours, _ = await neighbours(world)
    token = world.token(
        role,
        school="16SW" if role == "school" else None,
        client_id=ours.client_id if role == "partner" else None,
    )
    assert whole(await DOORS[door](world, ours.reference, None, token)) == whole(
        await DOORS[door](world, ours.reference, None)
    )
    missing = await DOORS[door](world, NO_REFERENCE, NO_SECRET)
    assert_not_found(await DOORS[door](world, ours.reference, NO_SECRET, token), missing)
    assert (await follow(world, ours.reference, ours.secret)).json()["step"] == "agreements_sent"


async def test_an_applicants_secret_opens_nothing_else(world: World) -> None:
    ours, _ = await neighbours(world)
    for path in (READS["its case"], READS["its connection"], READS["its incident"], *LISTS.values()):
        address = path.format(**ours.names(path))
        for token in (None, ours.secret):
            answer = await world.call("GET", address, token, X_Application_Secret=ours.secret)
            assert problem(answer) == (401, "unauthenticated")
