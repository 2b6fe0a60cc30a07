"""The demo: two invented schools, three invented partners, and three commands to try. For this machine only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx2

from api.app import create_app
from api.schools_import import import_files
from api.settings import Settings
from api.store import Store
from api.tokens import EmbeddedIssuer
from models.ground_rules import GroundRuleName

SCHOOLS: Final = Path(__file__).with_name("demo_schools.csv")
BRINS: Final = ("16SW", "17TX")
TOKENS_LAST: Final = timedelta(hours=12)

LEARNING: Final = ["onderwijs-en-begeleiding", "toegang-en-identificatie"]


@dataclass(frozen=True, slots=True)
class Example:
    """A connection of the demo, and the ground rules that it keeps."""

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


async def prepare(settings: Settings, address: str) -> str:
    """Loads what is not there yet, by the same calls that an operator makes, and returns what to print."""
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
    connection = f"/v1/connections/{example.client_id}"
    scopes = [*example.required, *example.optional]
    if not await _post(client, token, "/v1/partners", kvkNumber=example.kvk_number, name=example.partner):
        return
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
        client,
        token,
        f"{connection}/agreements",
        agreementVersion="4.0",
        privacybijsluiterVersion="1.0",
        scopes=scopes,
        purposes=LEARNING,
        signedOn=datetime.now(UTC).date().isoformat(),
    )
    for rule in sorted(example.kept):
        await _post(client, token, f"{connection}/ground-rules", rule=rule, evidence="Demo.", source="Demo")


async def _post(client: httpx2.AsyncClient, token: str, path: str, **body: Any) -> bool:
    """Whether the object was made; False when it was there."""
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
    """A command on one line, to paste."""
    command = f"curl -sS {url} -H 'Authorization: Bearer {token}'"
    return command if body is None else f"{command} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"
