"""What a call of each operation is made with, and what must have happened before: see `ENTRIES` of `operations.py`."""

import itertools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from api.deletions.duties import DutyJob
from tests.worlds.world import NAMES, OFFERED, OTHER_PURPOSE, PURPOSE, TERMS, question

if TYPE_CHECKING:
    from tests.worlds.operations import Scene


#: As `populate` puts them in the store.
BOARD_OF: Final = {"16SW": "10001", "17TX": "10002"}
#: Numbers that no call of this process used before.
fresh = itertools.count(1)


def new_grant(scene: "Scene") -> dict[str, Any]:
    return {
        "clientId": scene.client_id,
        "scopes": NAMES,
        "purposes": [PURPOSE],
        "location": f"{scene.brin}00",
        "validFrom": "2026-09-02T00:00:00Z",
        "validUntil": "2027-08-01T00:00:00+02:00",
        "agreementId": scene.ids["agreement_id"],
    }


def amendment(scene: "Scene") -> dict[str, Any]:
    # Without validFrom, which cannot be moved once the grant holds: the two ends of the period are one test apart.
    return {
        "scopes": NAMES[:2],
        "purposes": [PURPOSE],
        "validFrom": None,
        "validUntil": "2027-08-01T00:00:00Z",
        "agreementId": scene.ids["agreement_id"],
    }


def new_requests(scene: "Scene") -> dict[str, Any]:
    return {
        "schools": [f"{scene.brin}00"],
        "boardNumber": None,
        "scopes": OFFERED,
        "purposes": [PURPOSE],
        "message": "Voor het nieuwe schooljaar.",
    }


def acceptance(scene: "Scene") -> dict[str, Any]:
    return {
        "scopes": NAMES,
        "purposes": [PURPOSE],
        "validFrom": None,
        "validUntil": "2027-08-01T00:00:00Z",
        "agreementId": scene.ids["agreement_id"],
    }


def board_grant(scene: "Scene") -> dict[str, Any]:
    return {
        "clientId": scene.client_id,
        "scopes": NAMES,
        "purposes": [PURPOSE],
        "schools": [scene.brin],
        "validFrom": None,
        "validUntil": "2027-08-01T00:00:00Z",
        "agreementId": scene.ids["agreement_id"],
    }


def board_revocation(scene: "Scene") -> dict[str, Any]:
    return {"clientId": scene.client_id, "reason": "Zo besloot het bestuur."}


async def given_by_board(scene: "Scene") -> None:
    """In place of the school's own word: an operator took the school's grant back, and the board gave one."""
    world = scene.world
    path = f"/v1/schools/{scene.brin}/grants/{scene.ids['grant_id']}/_revoke"
    await world.operate("POST", path, {"reason": "Oefening."})
    given = await world.call(
        "POST", f"/v1/boards/{BOARD_OF[scene.brin]}/grants", scene.token("board"), board_grant(scene)
    )
    assert given.status_code == 201, given.text


async def has_to_delete(scene: "Scene") -> None:
    """The grant was taken back, after it had begun, and the job has been there."""
    world = scene.world
    if world.clock is not None:
        world.clock.advance(seconds=1)
    path = f"/v1/schools/{scene.brin}/grants/{scene.ids['grant_id']}/_revoke"
    await world.operate("POST", path, {"reason": "Oefening."})
    await DutyJob(world.store).run()


def subscription(_: "Scene") -> dict[str, Any]:
    return {"url": "http://127.0.0.1:9/hooks", "types": ["grant.granted", "grant.revoked"]}


async def disabled(scene: "Scene") -> None:
    path = f"/v1/webhooks/subscriptions/{scene.ids['subscription_id']}/_disable"
    answer = await scene.world.call("POST", path, scene.token("partner"))
    assert answer.status_code == 200, answer.text


def suspension(_: "Scene") -> dict[str, Any]:
    return {"reason": "Vragen aan de leverancier.", "until": "2026-10-01T00:00:00Z"}


def because(_: "Scene") -> dict[str, Any]:
    return {"reason": "Zo besloot het bestuur."}


def new_partner(_: "Scene") -> dict[str, Any]:
    return {"kvkNumber": f"{80_000_000 + next(fresh)}", "name": "Uitgeverij De Nieuwe"}


def new_connection(scene: "Scene") -> dict[str, Any]:
    return {
        "clientId": f"nieuw-{next(fresh)}",
        "kvkNumber": scene.kvk_number,
        "name": "Nieuw",
        "profile": "smalle-set@2.3",
        "recipientRole": "processor",
        "scopes": {"required": OFFERED[:2], "optional": OFFERED[2:]},
        "purposes": [PURPOSE],
    }


def connection_change(_: "Scene") -> dict[str, Any]:
    scopes = {"required": OFFERED[:2], "optional": OFFERED[2:]}
    return {"name": "Anders", "scopes": scopes, "purposes": [PURPOSE]}


def new_agreement(_: "Scene") -> dict[str, Any]:
    return {
        "boardNumber": "10001",
        "agreementVersion": "4.0",
        "privacybijsluiterVersion": "1.0",
        "scopes": OFFERED,
        "purposes": [PURPOSE],
        **TERMS,
        "graceUntil": "2026-10-01T00:00:00Z",
        "validFrom": "2026-09-02T00:00:00Z",
        "validUntil": "2027-08-01T00:00:00Z",
    }


def new_ground_rule(_: "Scene") -> dict[str, Any]:
    return {
        "rule": "privacyconvenant",
        "kept": True,
        "evidence": "Gezien in het register.",
        "source": "Edu-K",
        "checkedAt": "2026-08-31T12:00:00Z",
        "checkAgainOn": "2027-06-01",
        "convenant": {"version": "4.0", "status": "deelnemer"},
        "validFrom": "2026-09-02T00:00:00Z",
        "validUntil": "2027-08-01T00:00:00Z",
    }


def gateway_question(scene: "Scene") -> dict[str, Any]:
    asked = question(
        scene.client_id, scene.brin, scopes=NAMES[1:], fields=["achternaam"], purpose=PURPOSE, minRevision=0
    )
    asked["subject"]["properties"] = asked["action"]["properties"] = {"of": "no concern"}
    return asked


def questions(scene: "Scene") -> dict[str, Any]:
    options = {"evaluations_semantic": "execute_all"}
    return {**gateway_question(scene), "evaluations": [gateway_question(scene), {}], "options": options}


def search(scene: "Scene", searched: str) -> dict[str, Any]:
    """The same question, without what is searched."""
    asked = gateway_question(scene)
    asked[searched].pop("id", None)
    if searched == "action":
        del asked["action"]
    return {**asked, "page": {"limit": 10, "properties": {"of": "no concern"}}}


def application(kvk_number: str) -> dict[str, Any]:
    """An application for all that the connections of these tests ask for."""
    requested = [{"scope": scope, "purpose": code} for scope in OFFERED for code in (PURPOSE, OTHER_PURPOSE)]
    return {
        "company": {"name": "Uitgeverij De Nieuwe", "kvkNumber": kvk_number},
        "contact": {"name": "C. van Contact", "email": "contact@uitgeverij.example", "phone": "+31 20 1234567"},
        "product": {"name": "Rekenrijk"},
        "requested": requested,
        "legalRelation": "De uitgeverij verwerkt in opdracht van de school.",
        "eduK": {"version": "4.0", "status": "deelnemer", "registration": "nr. 42"},
    }


def case_step(scene: "Scene") -> dict[str, Any]:
    return {"step": "agreements_sent", "evidence": "Verstuurd per post.", "clientId": scene.client_id}


def incident(scene: "Scene") -> dict[str, Any]:
    return {
        "title": "Geen koppeling",
        "description": "Sinds vanmorgen komt er niets aan.",
        "severity": "high",
        "suspectedBreach": True,
        "clientId": scene.client_id,
    }


def said(_: "Scene") -> dict[str, Any]:
    return {"text": "Wij kijken ernaar."}


def done_before(*calls: tuple[str, dict[str, Any]]) -> "Callable[[Scene], Coroutine[Any, Any, None]]":
    """An operator has made these calls, on paths with the names of the scene in them."""

    async def make(scene: "Scene") -> None:
        known = {"client_id": scene.client_id, "kvk_number": scene.kvk_number, **scene.ids}
        for path, body in calls:
            answer = await scene.world.operate("POST", path.format(**known), body)
            assert answer.status_code == 200, answer.text

    return make


TAKEN: Final = ("/v1/incidents/{incident_id}/_take", {"text": "Opgepakt."})
RESOLVED: Final = ("/v1/incidents/{incident_id}/_resolve", {"text": "Verholpen."})
SUSPECTED: Final = ("/v1/incidents/{incident_id}/_suspect", {"text": "Mogelijk gelekt."})
STOP: Final = {"reason": "Oefening."}
