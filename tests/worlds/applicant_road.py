"""An applicant on its road from the form to live, by the calls that it and the operators make."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from api.cli.demo import DOCUMENT
from models.consents.onboarding import ROAD, RoadStep
from models.decision.kept_rules import GroundRuleName
from tests.worlds.bodies import application
from tests.worlds.world import BASIS, OFFERED, OTHER_PURPOSE, PURPOSE, Answer, World

KVK: Final = "90000001"
REGISTERED: Final = {
    "clientId": "rekenrijk",
    "kvkNumber": KVK,
    "name": "Rekenrijk",
    "profile": "smalle-set@2.3",
    "scopes": {"required": BASIS, "optional": OFFERED[2:]},
    "purposes": [PURPOSE, OTHER_PURPOSE],
}


class Road:
    """One applicant on its way."""

    def __init__(self, world: World, kvk_number: str = KVK) -> None:
        self.world, self.kvk_number = world, kvk_number
        self.secret = self.reference = self.case_id = self.agreement_id = ""

    async def apply(self, **changed: Any) -> Answer:
        answer = await self.world.call("POST", "/v1/applications", None, {**application(self.kvk_number), **changed})
        if answer.status_code == 201:
            self.reference, self.secret = answer.json()["reference"], answer.json()["secret"]
            listed = (await self.world.operate("GET", "/v1/cases")).json()["items"]
            self.case_id = next(case["caseId"] for case in listed if case["reference"] == self.reference)
        return answer

    async def follow(self, secret: str | None = None) -> Answer:
        path = f"/v1/applications/{self.reference}"
        return await self.world.call("GET", path, None, X_Application_Secret=secret or self.secret)

    async def step(self, step: str, **more: Any) -> Answer:
        body = {"step": step, "evidence": f"Gedaan: {step}.", **more}
        return await self.world.operate("POST", f"/v1/cases/{self.case_id}/steps", body)

    async def register(self, **changed: Any) -> Answer:
        wish = {**REGISTERED, "kvkNumber": self.kvk_number, **changed}
        await self.world.operate("POST", "/v1/partners", {"kvkNumber": wish["kvkNumber"], "name": "Rekenrijk B.V."})
        return await self.world.operate("POST", "/v1/connections", wish)

    async def sign(self, **more: Any) -> Answer:
        answer = await self.world.agree("rekenrijk", OFFERED, [PURPOSE, OTHER_PURPOSE], **more)
        if answer.status_code == 201:
            self.agreement_id = answer.json()["agreementId"]
        return answer

    async def hand_in(self) -> Answer:
        path = f"/v1/connections/rekenrijk/agreements/{self.agreement_id}/document?name=getekend.pdf"
        headers = {"Authorization": f"Bearer {self.world.token('operator')}", "Content-Type": "application/pdf"}
        return await self.world.client.post(path, content=DOCUMENT, headers=headers)

    async def keep_rules(self, *, but: str = "") -> None:
        for rule in GroundRuleName:
            if rule != but:
                assert (await self.world.keep("rekenrijk", rule)).status_code == 201

    async def travel_to(self, reached: RoadStep) -> None:
        """Everything that an honest partner does, up to and with this step."""
        stations: dict[RoadStep, Callable[[], Awaitable[Any]]] = {
            RoadStep.APPLIED: self.apply,
            RoadStep.AGREEMENTS_SENT: self.register,
            RoadStep.AGREEMENTS_RETURNED: self._sign_and_hand_in,
            RoadStep.PLACED: self.keep_rules,
        }
        for station in ROAD[: ROAD.index(reached) + 1]:
            if station in stations:
                await stations[station]()
            if station is not RoadStep.APPLIED:
                more = {"clientId": "rekenrijk"} if station is RoadStep.AGREEMENTS_SENT else {}
                taken = await self.step(station, **more)
                assert taken.status_code == 200, taken.text

    async def _sign_and_hand_in(self) -> None:
        assert (await self.sign()).status_code == 201
        assert (await self.hand_in()).status_code == 201
