"""Two partners on their road, with everything that either has."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import pytest

from tests.grants.test_grants import problem
from tests.worlds.world import OFFERED, OTHER_PURPOSE, PURPOSE, Answer, World

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
    ("GET", "/v1/connections/{client_id}/webhooks", None),
    ("GET", "/v1/connections/{client_id}/dead-letters", None),
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


async def two_partners(world: World) -> tuple[Tenant, Tenant]:
    """Two connections of two partners, each with all that is its own."""
    ours = await settled(world, "rekenrijk", "90000001")
    return ours, await settled(world, "taalhuis", OTHERS["another partner"])


async def one_partner(world: World) -> tuple[Tenant, Tenant]:
    """Two connections of one partner, each with all that is its own."""
    ours = await settled(world, "rekenrijk", "90000001")
    return ours, await settled(world, "taalhuis", OTHERS["the same partner"])


beside_another_partner = pytest.mark.furnished(by=two_partners)
#: A test of two connections, whosever the other is.
others = pytest.mark.parametrize(
    "furnish", [pytest.param(two_partners, id="another partner"), pytest.param(one_partner, id="the same partner")]
)


def neighbours(world: World) -> tuple[Tenant, Tenant]:
    """The two connections that the world was furnished with."""
    ours, theirs = world.found
    return ours, theirs


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
