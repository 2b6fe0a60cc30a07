"""The main job: a school grants, a partner looks, a gateway asks; and the whole life of a grant."""

from tests.world import World


async def test_a_school_grants_a_partner_looks_and_a_gateway_asks(world: World) -> None:
    await world.register()
    grant = await world.granted()
    consents = (await world.look()).json()["items"]
    assert [(consent["grantId"], consent["status"], consent["reason"]) for consent in consents] == [
        (grant["grantId"], "granted", None)
    ]
    answer = (await world.ask(scopes=["leerling.naam"])).json()
    assert answer["decision"] is True
    assert answer["context"]["fields"] == ["@eckid", "@key", "achternaam", "voorvoegsel", "roepnaam"]


async def test_a_revoked_grant_denies_the_next_request(world: World) -> None:
    await world.register()
    grant = await world.granted()
    assert await world.reason() == "granted"
    revoked = await world.step(grant["grantId"], "revoke", {"reason": "De les is voorbij."})
    assert (revoked.status_code, revoked.json()["status"]) == (200, "revoked")
    assert await world.reason() == "revoked"
