"""Both sides of a consent as they call the Edu-V door."""

import uuid
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

from api.edu_v.door import PATH
from tests.worlds.world import NAMES, OFFERED, PURPOSE, Answer, World

API: Final = "uwlr-api"


def new_reference() -> str:
    return str(uuid.uuid4())


def school(place: str = "16SW") -> dict[str, Any]:
    return {"organisationIds": [{"organisationId": place, "organisationIdType": "OIE_CODE"}]}


async def by_partner(
    world: World, method: str, path: str, body: Any = None, client_id: str = "rekenrijk", **headers: str
) -> Answer:
    token = world.token("partner", client_id=client_id)
    return await world.call(method, f"{PATH}/consent/{path}", token, body, **headers)


async def by_school(
    world: World, method: str, path: str, body: Any = None, brin: str = "16SW", **headers: str
) -> Answer:
    token = world.token("school", school=brin)
    return await world.call(method, f"{PATH}/consent/{path}", token, body, **headers)


async def ask(
    world: World, reference: str, place: str = "16SW", scopes: Sequence[str] = OFFERED, **more: Any
) -> Answer:
    client_id = more.pop("client_id", "rekenrijk")
    body = {"consumerReferenceId": reference, "school": school(place), "api": API, "scopes": list(scopes), **more}
    return await by_partner(world, "PUT", "requests", body, client_id)


async def notify(
    world: World,
    place: str = "16SW",
    scopes: Sequence[str] = NAMES,
    purposes: Sequence[str] = (PURPOSE,),
    if_match: str | None = None,
    **more: Any,
) -> Answer:
    """What a school permits."""
    brin = more.pop("brin", place[:4])
    body = {
        "school": school(place),
        "api": API,
        "scopes": list(scopes),
        "clientId": "rekenrijk",
        "purposes": list(purposes),
        **more,
    }
    headers = {"If_Match": if_match} if if_match is not None else {}
    return await by_school(world, "PUT", "notifications", body, brin, **headers)


async def confirm(world: World, provider: str, consumer: str, place: str = "16SW", **more: Any) -> Answer:
    client_id = more.pop("client_id", "rekenrijk")
    names = {"providerReferenceId": provider, "consumerReferenceId": consumer}
    return await by_partner(
        world, "PUT", "confirmations", {**names, "school": school(place), "api": API, **more}, client_id
    )


def revoke(place: str = "16SW", **more: Any) -> dict[str, Any]:
    return {"school": school(place), "api": API, **more}


async def all_of(world: World, token: str, path: str, **query: Any) -> list[dict[str, Any]]:
    """Every part of a list, by its links."""
    address = f"{PATH}/consent/{path}" + (f"?{urlencode(query)}" if query else "")
    found: list[dict[str, Any]] = []
    while address:
        answer = await world.call("GET", address, token)
        assert answer.status_code == 200, answer.text
        found += answer.json()
        link = answer.headers.get("Link", "")
        assert not link or link.endswith('>; rel="next"')
        address = link[1:].partition(">")[0]
    return found


async def statuses(world: World, client_id: str = "rekenrijk", **query: Any) -> list[dict[str, Any]]:
    return await all_of(world, world.token("partner", client_id=client_id), "statuses", **query)


def code(answer: Answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["status"]
