"""The command `demo`: serves two invented schools and three invented partners on this machine, with commands to try."""

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx2
import typer
import uvicorn

from api.app import create_app
from api.edge.server import OPTIONS, StrictConnection
from api.registry.schools_import import import_files
from api.security.tokens import EmbeddedIssuer
from api.settings import Mode, NotReadyToServe, Settings
from api.store.migrations import migrate
from api.store.store import Store
from models.decision.kept_rules import GroundRuleName

SCHOOLS: Final = Path(__file__).with_name("demo_schools.csv")
BRINS: Final = ("16SW", "17TX")
TOKENS_LAST: Final = timedelta(hours=12)

#: A minimal PDF: one empty page.
DOCUMENT: Final = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)
LEARNING: Final = ["onderwijs-en-begeleiding", "toegang-en-identificatie"]


@dataclass(frozen=True, slots=True)
class Example:
    """A connection of the demo, with its partner and the ground rules that it keeps."""

    kvk_number: str
    partner: str
    client_id: str
    name: str
    profile: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    kept: frozenset[str] = frozenset(GroundRuleName)


EXAMPLES: Final = (
    Example(
        kvk_number="90000001",
        partner="Rekenrijk B.V. (demo)",
        client_id="rekenrijk",
        name="Rekenrijk Oefenen",
        profile="smalle-set@2.3",
        required=("school.basis", "leerling.pseudoniem"),
        optional=(
            "vestiging.basis",
            "groep.basis",
            "leerling.naam",
            "leerling.jaargroep",
            "leerling.groepsindeling",
            "docent.pseudoniem",
            "docent.naam",
        ),
    ),
    Example(
        kvk_number="90000002",
        partner="Taalhuis Digitaal (demo)",
        client_id="taalhuis",
        name="Taalhuis Lezen",
        profile="smalle-set@2.2",
        required=("school.basis", "leerling.pseudoniem", "leerling.naam"),
        optional=("leerling.geboortedatum", "leerling.jaargroep"),
    ),
    Example(
        kvk_number="90000003",
        partner="Zonder Convenant (demo)",
        client_id="zonder-convenant",
        name="Nog niet toegelaten",
        profile="smalle-set@2.3",
        required=("school.basis",),
        optional=("groep.basis",),
        kept=frozenset(GroundRuleName) - {GroundRuleName.CONVENANT},
    ),
)


def serve(port: int) -> None:
    """Migrates, loads the demo data, prints three commands to try, and serves on this machine until it is stopped.

    Raises `NotReadyToServe` for production settings.
    """
    given = Settings()
    if given.mode is Mode.PRODUCTION or given.trusted_issuers:
        raise NotReadyToServe("This is configured for production: the demo would put invented data into it.")
    settings = given.model_copy(update={"mode": Mode.DEMO})
    migrate(settings.store_url)
    invitation = asyncio.run(prepare(settings, f"http://127.0.0.1:{port}"))
    config = uvicorn.Config(
        create_app(settings),
        host="127.0.0.1",
        port=port,
        access_log=False,
        http=StrictConnection,
        proxy_headers=False,
        log_level="warning",
        **OPTIONS,
    )
    _InvitingServer(config, invitation).run()


async def prepare(settings: Settings, address: str) -> str:
    """Loads the missing demo data by the API calls of an operator. Returns the text to print."""
    store = Store(settings.store_url)
    try:
        await import_files(store, [SCHOOLS], kind="demo")
    finally:
        await store.aclose()
    issuer = EmbeddedIssuer.at(settings.issuer_key)
    service = create_app(settings)
    async with (
        service.running(),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=service), base_url="http://demo") as client,
    ):
        for example in EXAMPLES:
            await _register(client, _mint(issuer, "operator"), example)
        brin, example = await _free_place(client, issuer)
    return _invitation(issuer, address, brin, example)


async def _register(client: httpx2.AsyncClient, token: str, example: Example) -> None:
    """Takes a partner through all steps from application to live. A registered partner is left as it is."""
    connection = f"/v1/connections/{example.client_id}"
    if not await _post(client, token, "/v1/partners", kvkNumber=example.kvk_number, name=example.partner):
        return
    case = f"/v1/cases/{await _apply(client, token, example)}/steps"
    await _post(client, token, case, step="contacted", evidence="Gebeld.")
    await _post(client, token, case, step="introduced", evidence="Kennisgemaakt via Teams.")
    await _post(
        client,
        token,
        "/v1/connections",
        clientId=example.client_id,
        kvkNumber=example.kvk_number,
        name=example.name,
        profile=example.profile,
        scopes={"required": example.required, "optional": example.optional},
        purposes=LEARNING,
    )
    await _post(
        client, token, case, step="agreements_sent", evidence="Modelovereenkomst gestuurd.", clientId=example.client_id
    )
    await _sign(client, token, connection, example)
    for step in ("agreements_returned", "building"):
        await _post(client, token, case, step=step, evidence="Demo.")
    for rule in GroundRuleName:
        await _check(client, token, connection, rule, kept=True)
    for step in ("placed", "live"):
        await _post(client, token, case, step=step, evidence="Demo.")
    for rule in sorted(frozenset(GroundRuleName) - example.kept):
        await _check(client, token, connection, rule, kept=False)


async def _apply(client: httpx2.AsyncClient, token: str, example: Example) -> str:
    """Sends the application, which needs no token, and returns the id of its case."""
    requested = [
        {"scope": scope, "purpose": code} for scope in (*example.required, *example.optional) for code in LEARNING
    ]
    sent = await client.post(
        "/v1/applications",
        json={
            "company": {"name": example.partner, "kvkNumber": example.kvk_number},
            "contact": {"name": "Demo de Vries", "email": "demo@example.nl"},
            "product": {"name": example.name},
            "requested": requested,
            "legalRelation": "De school geeft de leverancier opdracht om voor haar te verwerken.",
            "eduK": {"version": "4.0", "status": "deelnemer"},
        },
    )
    reference = sent.raise_for_status().json()["reference"]
    listed = await client.get("/v1/cases?step=applied&limit=500", headers={"Authorization": f"Bearer {token}"})
    return next(str(case["caseId"]) for case in listed.json()["items"] if case["reference"] == reference)


async def _sign(client: httpx2.AsyncClient, token: str, connection: str, example: Example) -> None:
    today = datetime.now(UTC).date().isoformat()
    headers = {"Authorization": f"Bearer {token}"}
    signed = await client.post(
        f"{connection}/agreements",
        headers=headers,
        json={
            "agreementVersion": "4.0",
            "privacybijsluiterVersion": "1.0",
            "scopes": [*example.required, *example.optional],
            "purposes": LEARNING,
            "signedOn": today,
            "signatories": [
                {"party": party, "name": f"Demo {party}", "signedOn": today} for party in ("partner", "board")
            ],
            "subProcessors": [{"name": "Demo Hosting", "country": "NL"}],
            "retentionDays": 90,
            "categories": ["Contactgegevens", "Onderwijsdeelnamegegevens"],
            "storageCountries": ["NL"],
        },
    )
    path = f"{connection}/agreements/{signed.raise_for_status().json()['agreementId']}/document?name=demo.pdf"
    kept = await client.post(path, content=DOCUMENT, headers={**headers, "Content-Type": "application/pdf"})
    kept.raise_for_status()


async def _check(client: httpx2.AsyncClient, token: str, connection: str, rule: str, *, kept: bool) -> None:
    convenant = {"version": "4.0", "status": "deelnemer" if kept else "none"}
    more = {"convenant": convenant} if rule == GroundRuleName.CONVENANT else {}
    path = f"{connection}/ground-rules"
    await _post(client, token, path, rule=rule, kept=kept, evidence="Demo.", source="Demo", **more)


async def _post(client: httpx2.AsyncClient, token: str, path: str, **body: Any) -> bool:
    """Posts the body. Returns whether the object was created; False if it existed."""
    answer = await client.post(path, json=body, headers={"Authorization": f"Bearer {token}"})
    if answer.status_code == 409:
        return False
    answer.raise_for_status()
    return True


async def _free_place(client: httpx2.AsyncClient, issuer: EmbeddedIssuer) -> tuple[str, Example]:
    """A school and a connection without a grant between them, so that the first command grants one."""
    for brin in BRINS:
        headers = {"Authorization": f"Bearer {_mint(issuer, 'school', school=brin)}"}
        shown = (await client.get(f"/v1/schools/{brin}/connections", headers=headers)).json()["items"]
        granted = {item["clientId"] for item in shown if _is_open(item["grant"])}
        for example in EXAMPLES[:2]:
            if example.client_id not in granted:
                return brin, example
    return BRINS[0], EXAMPLES[0]


def _is_open(grant: Mapping[str, Any] | None) -> bool:
    return grant is not None and grant["status"] not in ("revoked", "expired")


def _mint(issuer: EmbeddedIssuer, role: str, *, school: str | None = None, client_id: str | None = None) -> str:
    return issuer.mint(
        role,
        subject=f"demo-{role}",
        school=school,
        client_id=client_id,
        lifetime=TOKENS_LAST,
        now=datetime.now(UTC),
    )


def _invitation(issuer: EmbeddedIssuer, address: str, brin: str, example: Example) -> str:
    scopes = sorted({*example.required, "leerling.naam"})
    wish = {"clientId": example.client_id, "scopes": scopes, "purposes": LEARNING[:1]}
    question = {
        "subject": {"type": "partner", "id": example.client_id},
        "action": {"name": "release"},
        "resource": {"type": "leerling", "id": brin, "properties": {"scopes": ["leerling.naam"]}},
    }
    school = _mint(issuer, "school", school=brin)
    partner = _mint(issuer, "partner", client_id=example.client_id)
    gateway = _mint(issuer, "gateway")
    return f"""
This is a DEMO: invented data, tokens that anyone who reads this screen can use, this machine only.

1. School {brin} grants {example.name} access to names of pupils:

{_curl(f"{address}/v1/schools/{brin}/grants", school, wish)}

2. The partner looks where it has permission:

{_curl(f"{address}/v1/consents", partner)}

3. A gateway asks whether it may release them, now:

{_curl(f"{address}/access/v1/evaluation", gateway, question)}

Serving on {address}; stop with Ctrl-C. To revoke, POST to the grant's address followed by /_revoke, with the
token of the first command; then ask again.
"""


def _curl(url: str, token: str, body: Mapping[str, Any] | None = None) -> str:
    """A curl command on one line."""
    command = f"curl -sS {url} -H 'Authorization: Bearer {token}'"
    return command if body is None else f"{command} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"


class _InvitingServer(uvicorn.Server):
    """Prints the commands once the server listens, so that they work when pasted at once."""

    def __init__(self, config: uvicorn.Config, invitation: str) -> None:
        super().__init__(config)
        self._invitation = invitation

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            typer.echo(self._invitation)
