"""Every operation of the published contract: who may call it, with what, and a scene in which all that it names exists.

`ENTRIES` says it of each operation. An operation without an entry fails the suite (`test_every_route.py`).
"""

import json
import uuid
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from api.cli.demo import DOCUMENT
from api.contract.document import METHODS
from api.routes import documented_app
from tests.worlds import bodies
from tests.worlds.world import Answer, World

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
        """Whether its body is JSON."""
        return "application/json" in self.document.get("requestBody", {}).get("content", {})

    @property
    def takes_file(self) -> bool:
        return "requestBody" in self.document and not self.has_body

    @property
    def on_hook(self) -> bool:
        return self.path.startswith("/access/")

    @property
    def most_bytes(self) -> int:
        """How large its body of JSON may be."""
        return 64 * 1024 if self.on_hook and self.id != "evaluateMany" else 1024 * 1024


def operations() -> Iterator[Operation]:
    """All but forward-auth's, which take two credentials and give no 400: `test_forward_auth.py`."""
    for path, item in CONTRACT["paths"].items():
        if path.startswith("/gateway/"):
            continue
        for method in METHODS:
            if method in item:
                yield Operation(item[method]["operationId"], method.upper(), path, _with_parameters(item[method]))


def _with_parameters(operation: dict[str, Any]) -> dict[str, Any]:
    """The operation with the parameters that it shares with others in place of the references to them."""
    shared = {f"#/components/parameters/{name}": each for name, each in CONTRACT["components"]["parameters"].items()}
    taken = [shared[each["$ref"]] if "$ref" in each else each for each in operation.get("parameters", ())]
    return {**operation, "parameters": taken}


CONTRACT: Final = documented_app().openapi()
OPERATIONS: Final = {operation.id: operation for operation in operations()}


# -- who may call what, and with what ---------------------------------------------------------------------------------


@dataclass
class Scene:
    """A connection with a partner, an agreement, the ground rules, and grants of the school `brin`."""

    world: World
    brin: str
    client_id: str
    kvk_number: str
    #: What opens the scene's application to its applicant.
    secret: str = ""
    ids: dict[str, str] = field(default_factory=dict)

    def path(self, operation: Operation, **instead: str) -> str:
        return operation.path.format(**{**self.known(operation), **instead})

    def known(self, operation: Operation) -> dict[str, str]:
        """What the names in the path of the operation stand for here."""
        known = {
            "number": "1",
            "brin": self.brin,
            "board_number": bodies.BOARD_OF[self.brin],
            "client_id": self.client_id,
            "kvk_number": self.kvk_number,
            **self.ids,
        }
        if operation.id == "resumeGrant":
            known["grant_id"] = known["suspended_id"]
        if operation.id == "eraseReason":
            known["number"] = known["reason_number"]
        return known

    def token(self, role: str | None) -> str | None:
        if role is None:
            return None
        return self.world.token(
            role,
            school=self.brin if role == "school" else None,
            board=bodies.BOARD_OF[self.brin] if role == "board" else None,
            client_id=self.client_id if role == "partner" else None,
        )

    async def call(self, operation: Operation, path: str | None = None, **more: Any) -> Answer:
        """The operation's valid call, but for what `more` changes: `token`, `content` or `headers`."""
        entry = ENTRIES[operation.id]
        headers = {"X-Request-ID": "asked", **more.get("headers", {})}
        if operation.method == "PATCH" or operation.id == "acceptRequest":
            headers.setdefault("If-Match", "*")
        content = more.get("content")
        if content is None and entry.body is not None:
            content = json.dumps(entry.body(self)).encode()
        if operation.has_body:
            headers.setdefault("Content-Type", "application/json")
        if operation.takes_file:
            content = DOCUMENT if content is None else content
            headers.setdefault("Content-Type", "application/pdf")
        if entry.by_secret:
            headers.setdefault("X-Application-Secret", self.secret)
        token = more.get("token", self.token(entry.roles[0] if entry.roles else None))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        sent = {name: value for name, value in headers.items() if value is not None}
        target = self.path(operation) if path is None else path
        if entry.query is not None and "?" not in target:
            target += "?" + entry.query(self)
        if operation.takes_file and "?" not in target:
            target += "?name=getekend.pdf"
        return await self.world.client.request(operation.method, target, content=content, headers=sent)


@dataclass(frozen=True)
class Entry:
    """Who may call an operation; its body with every member that there is; the status of its success.

    `by_secret`: an applicant calls it, without a token. `before`: what must have happened for it to succeed.
    """

    roles: tuple[str, ...]
    body: Callable[[Scene], dict[str, Any]] | None = None
    success: int = 200
    body_is_optional: bool = False
    by_secret: bool = False
    before: Callable[[Scene], Coroutine[Any, Any, None]] | None = None
    #: What the query must hold.
    query: Callable[[Scene], str] | None = None
    #: What it is about is gone after it has succeeded.
    once: bool = False


SCHOOL, PARTNER, OPERATOR, GATEWAY = ("school",), ("partner",), ("operator",), ("gateway",)
EITHER: Final = ("partner", "operator")
BOARD: Final = ("board",)
ANYONE: Final = ("operator", "school", "board", "partner", "gateway")

ENTRIES: Final[dict[str, Entry]] = {
    "isLive": Entry(()),
    "isReady": Entry(()),
    "getSchool": Entry(SCHOOL),
    "listGrantableConnections": Entry(SCHOOL),
    "addSchoolKey": Entry(
        OPERATOR, lambda scene: {"schoolkey": f"sleutel-{next(bodies.fresh)}", "location": f"{scene.brin}00"}, 201
    ),
    "listSchoolKeys": Entry(("school", "operator")),
    "removeSchoolKey": Entry(OPERATOR, bodies.because, body_is_optional=True),
    "getSchoolKey": Entry(("gateway", "operator")),
    "listGrants": Entry(SCHOOL),
    "grant": Entry(SCHOOL, bodies.new_grant, 201),
    "getGrant": Entry(SCHOOL),
    "amendGrant": Entry(SCHOOL, bodies.amendment),
    "revokeGrant": Entry(("school", "operator"), bodies.because, body_is_optional=True),
    "suspendGrant": Entry(SCHOOL, bodies.suspension, body_is_optional=True),
    "resumeGrant": Entry(SCHOOL, bodies.because, body_is_optional=True),
    "getGrantHistory": Entry(SCHOOL),
    "listConsents": Entry(PARTNER),
    "listConsentChanges": Entry(PARTNER),
    # What there is now, and no more: else it lasts for minutes.
    "streamConsentChanges": Entry(PARTNER, query=lambda _: "wait=0"),
    "askSchools": Entry(PARTNER, bodies.new_requests, 201),
    "listRequests": Entry(PARTNER),
    "getRequest": Entry(PARTNER),
    "withdrawRequest": Entry(PARTNER, bodies.because, body_is_optional=True),
    "listDeletions": Entry(PARTNER),
    "confirmDeletion": Entry(PARTNER, lambda _: {"statement": "Alles is gewist."}, before=bodies.has_to_delete),
    "listDeletionsOfSchool": Entry(SCHOOL),
    "listAllDeletions": Entry(OPERATOR),
    "listReminders": Entry(PARTNER),
    "getContact": Entry(PARTNER),
    "setContact": Entry(PARTNER, lambda _: {"email": "privacy@uitgeverij.example"}),
    "listRemindersToSchool": Entry(SCHOOL),
    "getContactOfSchool": Entry(SCHOOL),
    "setContactOfSchool": Entry(SCHOOL, lambda _: {"email": "privacy@school.example"}),
    "listRemindersToOperators": Entry(OPERATOR),
    "listRequestsToSchool": Entry(SCHOOL),
    "getRequestToSchool": Entry(SCHOOL),
    "acceptRequest": Entry(SCHOOL, bodies.acceptance, body_is_optional=True),
    "declineRequest": Entry(SCHOOL, bodies.because),
    "getBoard": Entry(BOARD),
    "listStandings": Entry(BOARD, query=lambda scene: f"clientId={scene.client_id}"),
    "grantForBoard": Entry(BOARD, bodies.board_grant, 201, before=bodies.given_by_board),
    "revokeForBoard": Entry(BOARD, bodies.board_revocation, before=bodies.given_by_board),
    "listRequestsToBoard": Entry(BOARD),
    "subscribe": Entry(PARTNER, bodies.subscription, 201),
    "listSubscriptions": Entry(PARTNER),
    "getSubscription": Entry(PARTNER),
    "changeSubscription": Entry(PARTNER, bodies.subscription),
    "removeSubscription": Entry(PARTNER, bodies.because, body_is_optional=True),
    "rotateSecret": Entry(PARTNER, lambda _: {"formerHours": 1}, body_is_optional=True),
    "testSubscription": Entry(PARTNER, bodies.because, body_is_optional=True),
    "disableSubscription": Entry(PARTNER, bodies.because, body_is_optional=True),
    "enableSubscription": Entry(PARTNER, bodies.because, body_is_optional=True, before=bodies.disabled),
    "listDeliveries": Entry(PARTNER),
    "listDeadLetters": Entry(PARTNER),
    "replayDeadLetters": Entry(PARTNER, lambda _: {"numbers": [1]}, body_is_optional=True),
    "listSubscriptionsOfConnection": Entry(OPERATOR),
    "listDeadLettersOfConnection": Entry(OPERATOR),
    "getOwnAgreementDocument": Entry(SCHOOL),
    "getRegister": Entry(("school", "operator")),
    "downloadRegister": Entry(("school", "operator")),
    "downloadRegisterTable": Entry(("school", "operator")),
    "apply": Entry((), lambda scene: bodies.application(scene.kvk_number), 201),
    "followApplication": Entry((), by_secret=True),
    "withdrawApplication": Entry((), bodies.because, by_secret=True),
    "listCases": Entry(EITHER),
    "getCase": Entry(EITHER),
    "takeCaseStep": Entry(OPERATOR, bodies.case_step),
    "stopPartner": Entry(OPERATOR, bodies.because),
    "liftPartnerStop": Entry(
        OPERATOR, bodies.because, before=bodies.done_before(("/v1/partners/{kvk_number}/_stop", bodies.STOP))
    ),
    "stopConnection": Entry(OPERATOR, bodies.because),
    "liftConnectionStop": Entry(
        OPERATOR, bodies.because, before=bodies.done_before(("/v1/connections/{client_id}/_stop", bodies.STOP))
    ),
    "keepAgreementDocument": Entry(OPERATOR, success=201),
    "getAgreementDocument": Entry(EITHER),
    "openIncident": Entry(PARTNER, bodies.incident, 201),
    "listIncidents": Entry(EITHER),
    "getIncidentFigures": Entry(EITHER),
    "getIncident": Entry(EITHER),
    "commentOnIncident": Entry(EITHER, bodies.said, 201),
    "takeIncident": Entry(OPERATOR, bodies.said, body_is_optional=True),
    "answerIncident": Entry(OPERATOR, bodies.said),
    "resolveIncident": Entry(OPERATOR, bodies.said, before=bodies.done_before(bodies.TAKEN)),
    "reopenIncident": Entry(EITHER, bodies.said, before=bodies.done_before(bodies.TAKEN, bodies.RESOLVED)),
    "suspectBreach": Entry(EITHER, bodies.said),
    "giveBreachNotice": Entry(OPERATOR, bodies.said, before=bodies.done_before(bodies.SUSPECTED)),
    "attachToIncident": Entry(EITHER, success=201),
    "getAttachment": Entry(EITHER),
    "listDue": Entry(OPERATOR),
    "getLogKeys": Entry(ANYONE),
    "getCheckpoint": Entry(ANYONE),
    "listLogEntries": Entry(OPERATOR),
    "proveEntry": Entry(ANYONE),
    "proveConsistency": Entry(ANYONE),
    "getReceipt": Entry(("school", "partner", "operator")),
    "readReceipt": Entry(("school", "partner", "operator")),
    "replay": Entry(OPERATOR, query=lambda scene: f"clientId={scene.client_id}&place={scene.brin}&type=leerling"),
    "replayOfSchool": Entry(SCHOOL, query=lambda scene: f"clientId={scene.client_id}&type=leerling"),
    "listChanges": Entry(OPERATOR),
    "listChangesOfSchool": Entry(SCHOOL),
    "listDecisions": Entry(OPERATOR),
    "exportDecisions": Entry(OPERATOR),
    "listDecisionsOfSchool": Entry(SCHOOL),
    "getUse": Entry(SCHOOL),
    "eraseActor": Entry(OPERATOR, lambda _: {"subject": "partner-subject"}),
    "eraseReason": Entry(OPERATOR, once=True),
    "registerPartner": Entry(OPERATOR, bodies.new_partner, 201),
    "listPartners": Entry(OPERATOR),
    "getPartner": Entry(OPERATOR),
    "changePartner": Entry(OPERATOR, lambda _: {"name": "Anders"}),
    "registerConnection": Entry(OPERATOR, bodies.new_connection, 201),
    "listConnections": Entry(OPERATOR),
    "getConnection": Entry(EITHER),
    "changeConnection": Entry(OPERATOR, bodies.connection_change),
    "registerAgreement": Entry(OPERATOR, bodies.new_agreement, 201),
    "listAgreements": Entry(EITHER),
    "endAgreement": Entry(OPERATOR, bodies.because),
    "recordGroundRule": Entry(OPERATOR, bodies.new_ground_rule, 201),
    "listGroundRules": Entry(EITHER),
    "withdrawGroundRule": Entry(OPERATOR, bodies.because),
    "evaluate": Entry(GATEWAY, bodies.gateway_question),
    "evaluateMany": Entry(GATEWAY, bodies.questions),
    "searchSubjects": Entry(GATEWAY, lambda scene: bodies.search(scene, "subject")),
    "searchResources": Entry(GATEWAY, lambda scene: bodies.search(scene, "resource")),
    "searchActions": Entry(GATEWAY, lambda scene: bodies.search(scene, "action")),
}

NOWHERE: Final = str(uuid.UUID(int=7))

#: For each name in a path: one that nothing has.
MISSING: Final = {
    "brin": "99ZZ",
    "board_number": "99999",
    "client_id": "bestaat-niet",
    "kvk_number": "99999999",
    "grant_id": NOWHERE,
    "request_id": NOWHERE,
    "subscription_id": NOWHERE,
    "agreement_id": NOWHERE,
    "ground_rule_id": NOWHERE,
    "case_id": NOWHERE,
    "incident_id": NOWHERE,
    "file_id": NOWHERE,
    "reference": "00000-00000",
    "schoolkey": "bestaat-niet",
    "number": "999999999",
    "receipt_number": "999999999",
}


async def scene_in(world: World, brin: str = "16SW", for_operation: Operation | None = None) -> Scene:
    """A connection of its own with everything that the operations name, which no other test touches.

    For one operation, the application and the incident are made only where its path names them.
    """
    number = next(bodies.fresh)
    scene = Scene(world, brin, f"koppeling-{number}", f"{90_000_000 + number}")
    await world.register(scene.client_id, kvk_number=scene.kvk_number)
    given = await world.granted(scene.client_id, brin=brin)
    elsewhere = await world.granted(scene.client_id, brin=brin, location=f"{brin}{'01' if brin == '16SW' else '00'}")
    suspended = await world.step(elsewhere["grantId"], "suspend", {"reason": "Vragen."}, brin=brin)
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
    asked = await world.call("POST", "/v1/consents/requests", scene.token("partner"), {"schools": [brin]})
    assert asked.status_code == 201, asked.text
    scene.ids["request_id"] = asked.json()["items"][0]["requestId"]
    subscribed = await world.call(
        "POST", "/v1/webhooks/subscriptions", scene.token("partner"), bodies.subscription(scene)
    )
    assert subscribed.status_code == 201, subscribed.text
    scene.ids["subscription_id"] = subscribed.json()["subscriptionId"]
    kept = await world.operate("POST", f"/v1/schools/{brin}/keys", {"schoolkey": f"sleutel-{next(bodies.fresh)}"})
    scene.ids["schoolkey"] = kept.json()["schoolkey"]
    for name, grant, at in (("receipt_number", given, 0), ("reason_number", elsewhere, -1)):
        path = f"/v1/schools/{brin}/grants/{grant['grantId']}/history"
        history = await world.call("GET", path, scene.token("school"))
        scene.ids[name] = str(history.json()["items"][at]["number"])
    named = set(MISSING if for_operation is None else for_operation.parameters("path"))
    if named & {"case_id", "reference", "file_id"}:
        await _apply(scene)
    if named & {"incident_id", "file_id"}:
        await _report(scene)
    return scene


async def _apply(scene: Scene) -> None:
    """The connection's application, introduced and about to be sent its agreements; one agreement's document."""
    world = scene.world
    applied = (await world.call("POST", "/v1/applications", None, bodies.application(scene.kvk_number))).json()
    scene.secret, scene.ids["reference"] = applied["secret"], applied["reference"]
    case_id = next(
        case["caseId"]
        for case in (await world.operate("GET", "/v1/cases?limit=500&step=applied")).json()["items"]
        if case["reference"] == applied["reference"]
    )
    scene.ids["case_id"] = case_id
    for step in ("contacted", "introduced", "agreements_sent"):
        body = {"step": step, "evidence": "Gedaan."} | ({"clientId": scene.client_id} if "sent" in step else {})
        answer = await world.operate("POST", f"/v1/cases/{case_id}/steps", body)
        assert answer.status_code == 200, answer.text
    kept = await scene.call(OPERATIONS["keepAgreementDocument"])
    assert kept.status_code == 201, kept.text


async def _report(scene: Scene) -> None:
    """An incident of the connection, with an attachment."""
    opened = await scene.world.call(
        "POST", "/v1/incidents", scene.token("partner"), {**bodies.incident(scene), "suspectedBreach": False}
    )
    scene.ids["incident_id"] = opened.json()["incidentId"]
    attached = await scene.call(OPERATIONS["attachToIncident"])
    assert attached.status_code == 201, attached.text
    scene.ids["file_id"] = attached.json()["fileId"]
