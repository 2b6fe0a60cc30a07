"""Remembered answers of an Idempotency-Key show no erased name, and confirm no guess of one.

An answer that names what is erased is destroyed with it. Its key stays used: a retry is refused, and does nothing.
"""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from sqlmodel import select

from api.deletions.duties import DutyJob
from api.security.sealing import SEALING
from api.security.tokens import DEMO_CLIENT
from api.store.events import SYSTEM, record
from api.store.shredding import forget_person
from api.web.idempotency import digest_of_key, unsealed
from models.log.events import RememberedAnswer
from models.log.sealed_texts import SealedText
from models.vocabulary.event_kinds import EventKind
from tests.incidents.reporters import reported
from tests.worlds.world import Answer, World
from tests.worlds.world_evidence import entries_of, opened_by_a_guess, seal_of_older_versions, where_it_is

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


def opened(world: World, kept: RememberedAnswer, key: str = KEY) -> str:
    """The answer that is remembered, for one who has all three: the store, its key and the Idempotency-Key."""
    assert world.store.sealing is not None
    return unsealed(world.store.sealing, kept, key)


def require_refused(answer: Answer, says: str) -> None:
    """Raises `AssertionError` for anything but the refusal of a key that was used."""
    assert answer.status_code == 409, answer.text
    problem = answer.json()
    assert problem["type"].endswith("idempotency_key_reused")
    assert says in problem["detail"]


async def taken(world: World, subject: str) -> str:
    """An incident that they have taken; the path of its comments."""
    incident = f"/v1/incidents/{(await reported(world))['incidentId']}"
    await by(world, subject, f"{incident}/_take", {"text": "Ik kijk ernaar."}, None)
    return f"{incident}/comments"


@pytest.mark.parametrize("subject", [SUBJECT, AWKWARD])
@pytest.mark.both_stores
async def test_an_answer_that_named_who_was_erased_is_destroyed_and_its_retry_refused(
    world: World, subject: str
) -> None:
    """Until it was erased, the answer is given again as it was, with the names."""
    path = await taken(world, subject)
    first = await by(world, COLLEAGUE, path, {"text": "Ik ook."})
    shown = first.json()
    assert (shown["assignee"], [line["by"] for line in shown["course"][1:]]) == (subject, [subject, COLLEAGUE])
    again = await by(world, COLLEAGUE, path, {"text": "Ik ook."})
    assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")

    (kept,) = await remembered(world)
    assert json.dumps(subject, ensure_ascii=False)[1:-1] in opened(world, kept)
    assert opened_by_a_guess(kept, KEY) is None, "the Idempotency-Key alone opens nothing"
    assert kept.body not in opened(world, kept)

    await erased(world, subject)
    before = await entries_of(world)
    for text in ("Ik ook.", "Iets anders."):
        require_refused(await tried(world, COLLEAGUE, path, {"text": text}), "was erased; it was done then.")
    assert await entries_of(world) == before
    (dropped,) = await remembered(world)
    assert (dropped.key, dropped.fingerprint, dropped.body, dropped.names) == (digest_of_key(KEY), "", "", [])
    if world.store.is_sqlite:
        assert await where_it_is(world, kept.body.encode()) == [], "not even sealed"
    assert await where_it_is(world, subject.encode()) == []


async def test_an_erasure_leaves_the_answers_that_name_others_and_those_that_name_nobody(world: World) -> None:
    path = await taken(world, SUBJECT)
    await by(world, COLLEAGUE, path, {"text": "Ik ook."})
    other = f"/v1/incidents/{(await reported(world))['incidentId']}/_take"
    named = await by(world, COLLEAGUE, other, {"text": "Deze wel."}, "een-tweede-sleutel-4711")
    partner = {"kvkNumber": "90000009", "name": "Uitgeverij De Negende"}
    nobody = await by(world, SUBJECT, "/v1/partners", partner, "een-derde-sleutel-4711")
    await erased(world, SUBJECT)
    again = await by(world, COLLEAGUE, other, {"text": "Deze wel."}, "een-tweede-sleutel-4711")
    assert (again.content, again.json()["assignee"]) == (named.content, COLLEAGUE)
    assert (await by(world, SUBJECT, "/v1/partners", partner, "een-derde-sleutel-4711")).content == nobody.content
    assert sorted(kept.body == "" for kept in await remembered(world)) == [False, False, True]


async def test_an_answer_that_shows_a_reason_of_another_entry_is_destroyed_with_that_reason(world: World) -> None:
    """A school declines, and is shown what the partner wrote when it asked: another write, with another reason."""
    token = world.token("partner", client_id="rekenrijk")
    message = "zq-Jip Invented uit groep 7 heeft het nodig."
    asked = await world.call("POST", "/v1/consents/requests", token, {"schools": ["16SW"], "message": message})
    number, request = len(await entries_of(world)), asked.json()["items"][0]
    path, reason = f"/requests/{request['requestId']}/_decline", {"reason": "Nee."}
    declined = await world.administer("POST", path, reason, Idempotency_Key=KEY)
    assert (declined.json()["message"], declined.json()["answer"]) == (message, "Nee.")
    again = await world.administer("POST", path, reason, Idempotency_Key=KEY)
    assert (again.content, again.headers["Idempotency-Replayed"]) == (declined.content, "true")

    assert (await world.operate("POST", f"/v1/log/entries/{number}/reason/_erase")).status_code == 200
    before = await entries_of(world)
    require_refused(await world.administer("POST", path, reason, Idempotency_Key=KEY), "was erased; it was done then.")
    assert await entries_of(world) == before
    assert [kept.body for kept in await remembered(world)] == [""]
    assert await where_it_is(world, message.encode()) == []


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


async def commitment_of(world: World, subject: str) -> str:
    """By what they are known in the store."""
    assert world.store.sealing is not None
    lookup = world.store.sealing.lookup(subject)
    async with world.store.reading() as session:
        return (await session.exec(select(SealedText.commitment).where(SealedText.lookup == lookup))).one()


# -- what looks like a commitment --------------------------------------------------------------------------------------


async def test_a_reason_that_is_typed_as_a_commitment_tells_nobody_what_that_commits_to(world: World) -> None:
    """Commitments stand in the log and in receipts, where schools and partners read them."""
    actor = await commitment_of(world, "operator-subject")
    token = world.token("partner", client_id="rekenrijk")
    asked = await world.call("POST", "/v1/consents/requests", token, {"schools": ["16SW"], "message": actor})
    (shown,) = asked.json()["items"]
    declined = await world.administer("POST", f"/requests/{shown['requestId']}/_decline", {"reason": actor})
    assert (shown["message"], declined.json()["message"], declined.json()["answer"]) == (actor, actor, actor)
    given = await world.granted()
    world.clock.advance(hours=1)
    await world.step(given["grantId"], "revoke")
    await DutyJob(world.store).run()
    path = f"/v1/consents/deletions/{given['grantId']}/_confirm"
    confirmed = await world.call("POST", path, token, {"statement": actor})
    assert (confirmed.status_code, confirmed.json()["statement"]) == (200, actor)


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
        kept.caller, kept.fingerprint, kept.key, kept.body, kept.names = caller, fingerprint, KEY, sealed, None
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


async def kept_by_the_version_before(world: World, body: str) -> None:
    """Brings the one answer that is remembered to how the last version without `names` kept it."""
    async with world.store.writing() as write:
        (kept,) = (await write.session.exec(select(RememberedAnswer))).all()
        kept.body, kept.names = seal_of_older_versions(kept.caller, KEY).encrypt(body.encode()).decode(), None
        write.session.add(kept)
        record(write, EventKind.SCHOOLS_IMPORTED, SYSTEM, {})


async def test_what_the_version_before_remembered_with_marks_for_names_is_refused_and_not_done_twice(
    world: World,
) -> None:
    path = await taken(world, SUBJECT)
    await by(world, COLLEAGUE, path, {"text": "Ik ook."})
    actor = (await entries_of(world))[-1]["actor"]
    mark = "0123456789abcdef" * 2
    await kept_by_the_version_before(world, f'{mark}\n{{"assignee":"{mark}{actor}"}}')
    before = await entries_of(world)
    refused = await tried(world, COLLEAGUE, path, {"text": "Ik ook."})
    require_refused(refused, "was kept by an older version")
    assert (actor in refused.text, mark in refused.text, SUBJECT in refused.text) == (False, False, False)
    require_refused(await tried(world, COLLEAGUE, path, {"text": "Anders."}), "was used for another request")
    assert await entries_of(world) == before


async def test_what_the_version_before_remembered_without_a_name_is_given_again(world: World) -> None:
    partner = {"kvkNumber": "90000009", "name": "Uitgeverij De Negende"}
    first = await by(world, SUBJECT, "/v1/partners", partner)
    await kept_by_the_version_before(world, first.text)
    again = await by(world, SUBJECT, "/v1/partners", partner)
    assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")


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
    commitment = await commitment_of(world, COLLEAGUE)
    async with world.store.writing() as write:
        write.session.info[SEALING] = None
        assert await forget_person(write, commitment)
        record(write, EventKind.STORE_REPLAYED, SYSTEM, {})
    (kept,) = await remembered(world)
    assert (kept.fingerprint, kept.body) == ("", "")
    assert (await tried(world, SUBJECT, path, {"text": "Ik ook."})).status_code == 409


@pytest.mark.both_stores
async def test_a_command_that_has_no_key_drops_the_answers_that_name_whom_it_erases_again(world: World) -> None:
    path = await taken(world, COLLEAGUE)
    await by(world, SUBJECT, path, {"text": "Ik ook."})
    commitment = await commitment_of(world, COLLEAGUE)
    async with world.store.writing() as write:
        write.session.info[SEALING] = None
        assert await forget_person(write, commitment)
        record(write, EventKind.STORE_REPLAYED, SYSTEM, {})
    assert [each.body for each in await remembered(world)] == [""]
    require_refused(await tried(world, SUBJECT, path, {"text": "Ik ook."}), "was erased; it was done then.")
