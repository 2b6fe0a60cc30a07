"""The decision log as operators and schools read it, and the use of grants that it tells."""

import base64
from typing import Final

from tests.worlds.world import BASIS, PURPOSE, START, World, question


async def test_an_operator_reads_every_line_in_order_and_in_parts(world: World) -> None:
    places = ["16SW", "17TX", "16SW01", "16SW00", "17TX00"]
    for place in places:
        await world.ask(place=place)
    assert [each["place"] for each in await world.listed("/v1/decisions", 2)] == places
    assert [each["place"] for each in await world.listed("/v1/decisions", 2, school="17TX")] == ["17TX", "17TX00"]
    assert await world.listed("/v1/decisions", 2, clientId="taalhuis") == []
    assert await world.listed("/v1/decisions", 2, until="2026-09-01T08:00:00Z") == []
    assert len(await world.listed("/v1/decisions", 2, since="2026-09-01T08:00:00Z")) == 5


async def test_a_school_reads_the_lines_about_itself_alone(world: World) -> None:
    for place in ("16SW", "17TX", "16SW01"):
        await world.ask(place=place)
    shown = (await world.administer("GET", "/decisions")).json()["items"]
    assert [each["place"] for each in shown] == ["16SW", "16SW01"]
    assert (
        await world.call("GET", "/v1/schools/17TX/decisions", world.token("school", school="16SW"))
    ).status_code == 404


NOT_GIVEN_OUT: Final = (
    "x",
    "2026-09-01 5",
    "2026-09-01T08:00:00+00:00 0",
    "2026-09-01T08:00:00+00:00 01",
    "2026-09-01T08:00:00+00:00  1",
    "2026-09-01T08:00:00+00:00 1_0",
    "2026-09-01T08:00:00+00:00 9223372036854775808",
    "2026-09-01T08:00:00Z 1",
    "2026-09-01T08:00:00.000+00:00 1",
    "2026-09-01T08:00:00+14:00 1",
    "0001-01-01T00:00:00+14:00 1",
    "0001-01-01T00:00:00+00:00 1",
    "1999-12-31T23:59:59+00:00 1",
    "3000-01-01T00:00:00+00:00 1",
    "9999-12-31T23:59:59-14:00 1",
)


async def test_a_cursor_that_was_not_given_out_is_refused(world: World) -> None:
    for key in NOT_GIVEN_OUT:
        cursor = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
        for path in ("/v1/decisions", "/v1/decisions/otlp"):
            assert (await world.operate("GET", f"{path}?cursor={cursor}")).status_code == 400, key
        assert (await world.administer("GET", f"/decisions?cursor={cursor}")).status_code == 400, key


async def test_a_period_reaches_back_no_further_than_moments_go(world: World) -> None:
    for until in ("2000-01-01T00:00:00Z", "2000-01-20T00:00:00Z"):
        use = await world.administer("GET", f"/use?until={until}")
        assert (use.status_code, use.json()["since"], use.json()["until"]) == (200, "2000-01-01T00:00:00Z", until)


async def test_the_use_of_a_grant_tells_how_often_it_permitted_what_was_refused_and_what_was_beyond_it(
    world: World,
) -> None:
    used = await world.granted(scopes=BASIS)
    unused = await world.granted(location="16SW01")
    for scopes in (["leerling.pseudoniem"], ["leerling.pseudoniem"], ["leerling.naam"]):
        await world.ask(scopes=scopes)
    await world.ask(purpose="wettelijke-plicht")
    await world.ask(client_id="nobody")
    await world.step(used["grantId"], "revoke")
    await world.ask()
    use = (await world.administer("GET", "/use")).json()
    grants = {each["grantId"]: each for each in use["grants"]}
    assert PURPOSE in used["purposes"]
    assert grants[used["grantId"]] == {
        "grantId": used["grantId"],
        "clientId": "rekenrijk",
        "location": None,
        "status": "revoked",
        "permitted": 2,
        "lastPermittedAt": START.isoformat().replace("+00:00", "Z"),
        "neverUsed": False,
        "refused": {"purpose_not_granted": 1, "revoked": 1, "scope_not_granted": 1},
        "beyond": ["leerling.naam"],
    }
    assert (grants[unused["grantId"]]["permitted"], grants[unused["grantId"]]["neverUsed"]) == (0, True)
    assert use["withoutGrant"] == {"unknown_partner": 1}


async def test_the_lines_can_be_had_as_opentelemetry_has_them(world: World) -> None:
    traced = f"00-{'a' * 32}-{'b' * 16}-01"
    await world.call("POST", "/access/v1/evaluation", world.token("gateway"), question(), traceparent=traced)
    await world.ask()
    answer = await world.operate("GET", "/v1/decisions/otlp?activity=https://register.example/7")
    [resource] = answer.json()["resourceSpans"]
    first, second = resource["scopeSpans"][0]["spans"]
    assert (first["traceId"], first["name"]) == ("a" * 32, "decision.evaluation")
    assert first["startTimeUnixNano"] == first["endTimeUnixNano"] == str(int(START.timestamp()) * 10**9)
    assert len({first["spanId"], second["spanId"], second["traceId"][:16]}) == 3
    told = {each["key"]: each["value"]["stringValue"] for each in first["attributes"]}
    assert told["dpl.core.processing_activity_id"] == "https://register.example/7"
    assert (told["dpl.core.data_subject_id"], told["privacy_manager.reason"]) == ("", "no_grant")
    assert answer.json()["next"] is None
