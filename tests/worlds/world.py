"""A small world for tests: the service on a store of its own, with tokens, a clock, a school and a partner."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from api.app import Service, create_app
from api.evidence.key_custody import record_schools
from api.registry.connection_routes import registered
from api.security import evidence_keys
from api.security.sealing import Sealing
from api.security.tokens import EmbeddedIssuer
from api.settings import Mode, Settings
from api.store.events import SYSTEM, record
from api.store.store import Store
from models.consents.partners import Connection, Stage
from models.consents.schools import Board, Location, School
from models.decision.kept_rules import GroundRuleName
from models.vocabulary.event_kinds import EventKind

START = datetime(2026, 9, 1, 8, 0, tzinfo=UTC)
PURPOSE = "onderwijs-en-begeleiding"
OTHER_PURPOSE = "toegang-en-identificatie"
BASIS = ["school.basis", "leerling.pseudoniem"]
NAMES = [*BASIS, "leerling.naam"]
OFFERED = [*NAMES, "leerling.jaargroep", "groep.basis", "leerling.groepsindeling", "docent.pseudoniem", "docent.naam"]

#: What every agreement of the tests says, unless it says something else.
TERMS: dict[str, Any] = {
    "signedOn": "2026-08-01",
    "signatories": [
        {"party": "partner", "name": "A. de Uitgever", "function": "directeur", "signedOn": "2026-08-01"},
        {"party": "board", "name": "B. van Bestuur", "function": "bestuurder", "signedOn": "2026-08-01"},
    ],
    "subProcessors": [{"name": "Hosting Oost", "country": "NL"}],
    "retentionDays": 90,
    "categories": ["contactgegevens"],
    "storageCountries": ["NL"],
}

Answer = httpx2.Response


@dataclass
class HandClock:
    """A clock that stands still until a test moves it."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now


@dataclass
class World:
    """The service and everybody who calls it."""

    client: httpx2.AsyncClient
    issuer: EmbeddedIssuer
    clock: HandClock
    store: Store
    service: Service
    folder: Path
    #: The data that the template was furnished with, as `Furnish` of `stores.py` returned it.
    found: Any = None
    _tokens: dict[tuple[str, str | None, str | None, str | None], str] = field(default_factory=dict)

    def token(
        self, role: str, *, school: str | None = None, board: str | None = None, client_id: str | None = None
    ) -> str:
        key = (role, school, board, client_id)
        if key not in self._tokens:
            self._tokens[key] = self.issuer.mint(
                role,
                subject=f"{role}-subject",
                school=school,
                board=board,
                client_id=client_id,
                lifetime=timedelta(hours=1),
                now=datetime.now(UTC),
            )
        return self._tokens[key]

    async def call(self, method: str, path: str, token: str | None, body: Any = None, **headers: str) -> Answer:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        return await self.client.request(method, path, json=body, headers=given)

    async def listed(self, path: str, limit: int, **query: str) -> list[dict[str, Any]]:
        """All items of a list of the operator's, read so many at a time."""
        items: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            given = "&".join(f"{name}={value}" for name, value in {"limit": limit, **query, **cursor}.items())
            answer = await self.operate("GET", f"{path}?{given}")
            assert answer.status_code == 200, answer.text
            items += answer.json()["items"]
            if answer.json()["next"] is None:
                return items
            cursor = {"cursor": answer.json()["next"]}

    # -- the operator ---------------------------------------------------------------------------------------------

    async def operate(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return await self.call(method, path, self.token("operator"), body, **headers)

    async def register(
        self,
        client_id: str = "rekenrijk",
        *,
        kvk_number: str = "90000001",
        required: Sequence[str] = BASIS,
        optional: Sequence[str] = OFFERED[2:],
        purposes: Sequence[str] = (PURPOSE, OTHER_PURPOSE),
        profile: str = "smalle-set@2.3",
        rules: Sequence[str] = tuple(GroundRuleName),
        agreed: Sequence[str] | None = None,
        stage: Stage = Stage.LIVE,
    ) -> None:
        """A connection with its partner, an agreement that covers all it asks for, and the ground rules it keeps."""
        await self.operate("POST", "/v1/partners", {"kvkNumber": kvk_number, "name": f"Partner {kvk_number}"})
        made = await self.operate(
            "POST",
            "/v1/connections",
            {
                "clientId": client_id,
                "kvkNumber": kvk_number,
                "name": client_id.title(),
                "profile": profile,
                "scopes": {"required": list(required), "optional": list(optional)},
                "purposes": list(purposes),
            },
        )
        assert made.status_code == 201, made.text
        covered = list(agreed) if agreed is not None else [*required, *optional]
        if covered:
            assert (await self.agree(client_id, covered, purposes)).status_code == 201
        for rule in rules:
            assert (await self.keep(client_id, rule)).status_code == 201
        await self.bring(client_id, stage)

    async def bring(self, client_id: str, stage: Stage) -> None:
        """Puts a connection where its road would lead it. The road itself is walked in `test_road.py`."""
        async with self.store.writing() as write:
            connection = await write.session.get_one(Connection, client_id)
            connection.stage, connection.revision = stage, write.revision
            write.session.add(connection)
            state = registered(connection).model_dump(mode="json", by_alias=True)
            record(write, EventKind.CONNECTION_MOVED, SYSTEM, state, client_id=client_id)

    async def agree(self, client_id: str, scopes: Sequence[str], purposes: Sequence[str], **more: Any) -> Answer:
        body = {
            "agreementVersion": "4.0",
            "privacybijsluiterVersion": "1.0",
            "scopes": list(scopes),
            "purposes": list(purposes),
            **TERMS,
            **more,
        }
        return await self.operate("POST", f"/v1/connections/{client_id}/agreements", body)

    async def keep(self, client_id: str, rule: str, **more: Any) -> Answer:
        body = {"rule": rule, "evidence": "Seen in the register.", "source": "Edu-K", **more}
        if rule == GroundRuleName.CONVENANT:
            body.setdefault("convenant", {"version": "4.0", "status": "deelnemer"})
        return await self.operate("POST", f"/v1/connections/{client_id}/ground-rules", body)

    # -- the school -----------------------------------------------------------------------------------------------

    async def administer(self, method: str, path: str, body: Any = None, brin: str = "16SW", **headers: str) -> Answer:
        token = self.token("school", school=brin)
        return await self.call(method, f"/v1/schools/{brin}{path}", token, body, **headers)

    async def grant(
        self,
        client_id: str = "rekenrijk",
        *,
        brin: str = "16SW",
        scopes: Sequence[str] = tuple(NAMES),
        purposes: Sequence[str] = (PURPOSE,),
        key: str | None = None,
        **more: Any,
    ) -> Answer:
        body = {"clientId": client_id, "scopes": list(scopes), "purposes": list(purposes), **more}
        headers = {"Idempotency_Key": key} if key is not None else {}
        return await self.administer("POST", "/grants", body, brin, **headers)

    async def granted(self, client_id: str = "rekenrijk", **more: Any) -> dict[str, Any]:
        """A grant that was given."""
        answer = await self.grant(client_id, **more)
        assert answer.status_code == 201, answer.text
        given: dict[str, Any] = answer.json()
        return given

    async def step(self, grant_id: str, step: str, body: Any = None, brin: str = "16SW", **headers: str) -> Answer:
        return await self.administer("POST", f"/grants/{grant_id}/_{step}", body, brin, **headers)

    async def amend(self, grant: dict[str, Any], **changes: Any) -> Answer:
        path = f"/grants/{grant['grantId']}"
        return await self.administer("PATCH", path, changes, grant["school"], If_Match=f'"{grant["version"]}"')

    # -- the partner and the gateway ------------------------------------------------------------------------------

    async def look(self, client_id: str = "rekenrijk", path: str = "", **query: Any) -> Answer:
        token = self.token("partner", client_id=client_id)
        headers = {"Authorization": f"Bearer {token}"}
        return await self.client.get(f"/v1/consents{path}", params=query, headers=headers)

    async def ask(self, client_id: str = "rekenrijk", place: str = "16SW", **more: Any) -> Answer:
        body = question(client_id, place, **more)
        return await self.call("POST", "/access/v1/evaluation", self.token("gateway"), body)

    async def hold(self, method: str, target: str, client_id: str | None = "rekenrijk", **headers: str) -> Answer:
        """What forward-auth says of a request that a gateway holds, which knows the partner by its certificate."""
        given = {
            "X-Gateway-Authorization": f"Bearer {self.token('gateway')}",
            "X-Forwarded-Method": method,
            "X-Forwarded-Uri": target,
            "X-Partner-Client-Id": client_id or "",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return await self.client.get("/gateway/v1/authorize", headers=given)

    async def reason(self, client_id: str = "rekenrijk", place: str = "16SW", **more: Any) -> str:
        """The reason of the decision, which is `granted` for a permit and for nothing else."""
        answer = (await self.ask(client_id, place, **more)).json()
        assert answer["decision"] == (answer["context"]["reason"] == "granted")
        return str(answer["context"]["reason"])


def question(
    client_id: str = "rekenrijk",
    place: str = "16SW",
    *,
    resource_type: str = "leerling",
    scopes: Sequence[str] | None = None,
    fields: Sequence[str] | None = None,
    **context: Any,
) -> dict[str, Any]:
    """An AuthZEN evaluation request."""
    properties = {name: list(value) for name, value in (("scopes", scopes), ("fields", fields)) if value is not None}
    return {
        "subject": {"type": "partner", "id": client_id},
        "action": {"name": "release"},
        "resource": {"type": resource_type, "id": place, **({"properties": properties} if properties else {})},
        **({"context": context} if context else {}),
    }


@asynccontextmanager
async def world_on(store_url: str, folder: Path, *, populated: bool = False, **more: Any) -> AsyncIterator[World]:
    """The service on the store at `store_url`, with two schools of two boards in it; with `populated`, as it is."""
    clock = HandClock()
    settings = Settings(
        mode=Mode.TEST,
        database_url=store_url,
        var_dir=folder,
        expiry_interval=3600,
        **{
            "store_deadline": 5,
            "applications_per_hour": 1_000_000,
            "caller_per_second": 1_000_000,
            "caller_at_once": 10_000,
            "failed_tokens_per_minute": 1_000_000,
            "applications_per_day": 1_000_000,
            "deliver": False,
            **more,
        },
    )
    store = Store(store_url, clock)
    if not populated:
        await populate(store)
    service = create_app(settings, clock)
    transport = httpx2.ASGITransport(app=service)
    async with service.running(), httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        store.sealing = Sealing(evidence_keys.read(settings.evidence_keys_file))
        yield World(client, EmbeddedIssuer.at(settings.issuer_key), clock, store, service, folder)
    await store.aclose()


async def populate(store: Store) -> None:
    """Two schools: 16SW of board 10001 with locations 00 and 01, 17TX of board 10002 with location 00."""
    async with store.writing() as write:
        for number in ("10001", "10002"):
            write.session.add(Board(number=number))
        await write.session.flush()
        for brin, board_number in (("16SW", "10001"), ("17TX", "10002")):
            name = f"School {brin}"
            write.session.add(School(brin=brin, name=name, board_number=board_number, revision=write.revision))
        await write.session.flush()
        for code in ("16SW00", "16SW01", "17TX00"):
            name = f"Locatie {code}"
            write.session.add(Location(code=code, brin=code[:4], name=name, kinds=["bo"], revision=write.revision))
        await write.session.flush()
        await record_schools(write)


async def populate_at(store_url: str, folder: Path) -> None:
    """Makes an empty store one with the schools of `populate`, which the service served; its keys go to `folder`."""
    async with world_on(store_url, folder):
        pass


async def register_at(store_url: str, folder: Path) -> None:
    """Makes an empty store one with the schools of `populate` and the connection of `World.register`."""
    async with world_on(store_url, folder) as world:
        await world.register()
