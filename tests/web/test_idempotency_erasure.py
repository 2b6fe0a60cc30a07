"""What is remembered of requests with an Idempotency-Key tells nobody whom it was erased, nor who guesses a name."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from sqlmodel import select

from api.security.sealing import SEALING
from api.security.tokens import DEMO_CLIENT
from api.store.events import SYSTEM, record
from api.store.shredding import forget_person
from api.web.idempotency import unsealed
from models.log.events import RememberedAnswer
from models.log.sealed_texts import SealedText
from models.vocabulary.event_kinds import EventKind
from tests.incidents.reporters import reported
from tests.worlds.world import Answer, World
from tests.worlds.world_evidence import entries_of, where_it_is

SUBJECT: Final = "zq-sjoukje-van-der-meer-4711"
COLLEAGUE: Final = "zq-bertus-van-verzonnen-4712"
#: With what JSON writes in its own way.
AWKWARD: Final = 'zq-"Zoë" \\ de Vries & <zoon>'
KEY: Final = "een-sleutel-van-ons-4711"


async def by(world: World, subject: str, path: str, body: Any, key: str | None = KEY) -> Answer:
    """A write by that operator, done with success."""
    answer = await tried(world, subject, path, body, key)
    assert answer.status_code in (200, 201), answer.text
    return answer


async def tried(world: World, subject: str, path: str, body: Any, key: str | None = KEY) -> Answer:
    token = world.issuer.mint("operator", subject=subject, lifetime=timedelta(hours=1), now=datetime.now(UTC))
    headers = {"Idempotency-Key": key} if key is not None else {}
    return await world.call("POST", path, token, body, **headers)


async def erased(world: World, subject: str) -> None:
    answer = await world.operate("POST", "/v1/actors/_erase", {"subject": subject})
    assert answer.status_code == 200, answer.text


async def remembered(world: World) -> list[RememberedAnswer]:
    async with world.store.reading() as session:
        return list(await session.exec(select(RememberedAnswer)))


async def taken(world: World, subject: str) -> str:
    """An incident that they have taken; the path of its comments."""
    incident = f"/v1/incidents/{(await reported(world))['incidentId']}"
    await by(world, subject, f"{incident}/_take", {"text": "Ik kijk ernaar."}, None)
    return f"{incident}/comments"


@pytest.mark.parametrize("subject", [SUBJECT, AWKWARD])
async def test_an_answer_that_named_who_was_erased_is_given_again_without_the_name(world: World, subject: str) -> None:
    path = await taken(world, subject)
    first = await by(world, COLLEAGUE, path, {"text": "Ik ook."})
    shown = first.json()
    assert (shown["assignee"], [line["by"] for line in shown["course"][1:]]) == (subject, [subject, COLLEAGUE])
    again = await by(world, COLLEAGUE, path, {"text": "Ik ook."})
    assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")

    await erased(world, subject)
    before = await entries_of(world)
    later = await by(world, COLLEAGUE, path, {"text": "Ik ook."})
    assert (later.status_code, later.headers["Idempotency-Replayed"]) == (first.status_code, "true")
    shown["assignee"] = shown["course"][1]["by"] = None
    assert later.json() == shown
    assert await entries_of(world) == before
    (kept,) = await remembered(world)
    assert json.dumps(subject, ensure_ascii=False)[1:-1] not in unsealed(kept, KEY)


async def test_a_commitment_that_somebody_typed_is_no_name_in_an_answer_that_is_given_again(world: World) -> None:
    path = await taken(world, SUBJECT)
    actor = (await entries_of(world))[-1]["actor"]
    typed = f'Wie is {actor} of "{actor}"?'
    await by(world, COLLEAGUE, path, {"text": typed})
    again = await by(world, COLLEAGUE, path, {"text": typed})
    assert again.json()["course"][-1]["text"] == typed
    assert again.json()["assignee"] == SUBJECT


async def test_who_erased_someone_is_answered_the_same_again(world: World) -> None:
    await taken(world, SUBJECT)
    first = await by(world, COLLEAGUE, "/v1/actors/_erase", {"subject": SUBJECT})
    again = await by(world, COLLEAGUE, "/v1/actors/_erase", {"subject": SUBJECT})
    assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")


# -- guesses ----------------------------------------------------------------------------------------------------------


def digest(*parts: str) -> str:
    """As anyone can make it."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def guesses(world: World, path: str, body: bytes) -> tuple[str, str]:
    """Digests of who called and of what was asked, of what somebody might guess."""
    issuer = world.issuer.trusted().issuer
    return digest(issuer, SUBJECT, DEMO_CLIENT, ""), digest("POST", path, "", body.hex())


async def test_a_guess_of_a_name_cannot_be_checked_by_what_is_remembered(world: World) -> None:
    await taken(world, SUBJECT)
    path = "/v1/actors/_erase"
    body = json.dumps({"subject": SUBJECT}, separators=(",", ":")).encode()
    done = await by(world, SUBJECT, path, {"subject": SUBJECT})
    assert done.request.content == body
    (kept,) = await remembered(world)
    for guess, has in zip(guesses(world, path, body), (kept.caller, kept.fingerprint), strict=True):
        assert has.startswith("hmac:")
        assert has != guess
        assert await where_it_is(world, guess.encode()) == []


async def made_older(world: World, path: str, body: bytes, *, sealed: str) -> None:
    """Brings the one answer that is remembered to how older versions kept it: digests with no key, names in it."""
    caller, fingerprint = guesses(world, path, body)
    async with world.store.writing() as write:
        (kept,) = (await write.session.exec(select(RememberedAnswer))).all()
        kept.caller, kept.fingerprint, kept.key, kept.body = caller, fingerprint, KEY, sealed
        write.session.add(kept)
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {})


@pytest.mark.both_stores
async def test_what_an_older_version_remembered_is_known_again_and_goes_with_the_next_name_that_is_erased(
    world: World,
) -> None:
    path = await taken(world, COLLEAGUE)
    first = await by(world, SUBJECT, path, {"text": "Ik ook."})
    await made_older(world, path, first.request.content, sealed=first.text)
    again = await by(world, SUBJECT, path, {"text": "Ik ook."})
    assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")

    guessed = guesses(world, path, first.request.content)
    await erased(world, COLLEAGUE)
    before = await entries_of(world)
    for text in ("Ik ook.", "Iets anders."):
        refused = await tried(world, SUBJECT, path, {"text": text})
        assert refused.status_code == 409
        assert refused.json()["type"].endswith("idempotency_key_reused")
    assert await entries_of(world) == before
    (kept,) = await remembered(world)
    assert (kept.fingerprint, kept.body) == ("", "")
    assert kept.caller not in guessed
    if world.store.is_sqlite:
        for guess in guessed:
            assert await where_it_is(world, guess.encode()) == []


async def test_an_erasure_goes_through_where_two_versions_remembered_something_under_one_key(world: World) -> None:
    path = await taken(world, COLLEAGUE)
    first = await by(world, SUBJECT, path, {"text": "Ik ook."})
    await made_older(world, path, first.request.content, sealed=first.text)
    async with world.store.writing() as write:
        (kept,) = (await write.session.exec(select(RememberedAnswer))).all()
        assert world.store.sealing is not None
        newer = RememberedAnswer(**{**kept.model_dump(), "caller": world.store.sealing.keyed(kept.caller)})
        write.session.add(newer)
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {})
    await erased(world, COLLEAGUE)
    assert len(await remembered(world)) == 1


@pytest.mark.both_stores
async def test_a_command_that_has_no_key_replays_an_erasure_all_the_same(world: World) -> None:
    path = await taken(world, COLLEAGUE)
    first = await by(world, SUBJECT, path, {"text": "Ik ook."})
    await made_older(world, path, first.request.content, sealed=first.text)
    assert world.store.sealing is not None
    colleague = world.store.sealing.lookup(COLLEAGUE)
    async with world.store.writing() as write:
        write.session.info[SEALING] = None
        (row,) = await write.session.exec(select(SealedText).where(SealedText.lookup == colleague))
        assert await forget_person(write, row.commitment)
        record(write, EventKind.STORE_REPLAYED, SYSTEM, {})
    (kept,) = await remembered(world)
    assert (kept.fingerprint, kept.body) == ("", "")
    assert (await tried(world, SUBJECT, path, {"text": "Ik ook."})).status_code == 409
