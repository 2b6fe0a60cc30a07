"""Reminders: content and recipients of a week's letters, each of which arrives once, through a real mail server."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from pydantic import SecretStr
from sqlalchemy import update
from sqlmodel import col

from api.deletions.duties import DutyJob
from api.reminders import letters_job
from api.reminders.letters_job import LettersJob
from api.reminders.mail_job import DELAYS, LEASE, MailServer, send_waiting
from api.settings import Settings
from models.consents.reminders import Contact, week_of, year_to_confirm
from tests.proxies.proxies import free_port
from tests.worlds.world import BASIS, TERMS, World

OPERATOR = "beheer@platform.example"


class Received:
    """The messages that a mail server received, unless it refused them."""

    def __init__(self) -> None:
        self.messages: list[tuple[list[str], Message]] = []
        self.refuses = False

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refuses:
            return "451 Later."
        self.messages.append((envelope.rcpt_tos, message_from_bytes(envelope.content)))
        return "250 OK"


@pytest.fixture
def received() -> Received:
    return Received()


@pytest.fixture
def server(received: Received) -> Iterator[MailServer]:
    """A real mail server, in a thread of its own."""
    controller = Controller(received, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        port = controller.port
        yield MailServer("127.0.0.1", port, False, False, "", SecretStr(""), "no-reply@platform.example", OPERATOR)
    finally:
        controller.stop()


async def written(world: World, *, mails: bool = True) -> None:
    """One run of the job that runs beside the service."""
    job = LettersJob(world.store, OPERATOR, mails=mails)
    for _ in range(20):
        if not await job.run():
            return
    raise AssertionError("the job comes to no end")


async def to_school(world: World, brin: str = "16SW") -> list[dict[str, Any]]:
    return list((await world.administer("GET", "/reminders", brin=brin)).json()["items"])


async def to_partner(world: World, client_id: str = "rekenrijk") -> list[dict[str, Any]]:
    return list((await world.look(client_id, "/reminders")).json()["items"])


async def to_operators(world: World) -> list[dict[str, Any]]:
    return list((await world.operate("GET", "/v1/reminders")).json()["items"])


def subjects(letter: dict[str, Any]) -> dict[str, list[str]]:
    assert all(part["count"] == len(part["items"]) for part in letter["parts"])
    return {part["subject"]: [item["id"] for item in part["items"]] for part in letter["parts"]}


async def test_who_has_nothing_to_look_at_gets_no_letter(world: World) -> None:
    await world.granted()
    await written(world)
    assert (await to_school(world), await to_partner(world), await to_operators(world)) == ([], [], [])


async def test_a_grant_that_ends_is_told_once_a_week_to_both_sides(world: World) -> None:
    given = await world.granted(validUntil="2026-10-05T00:00:00Z")
    await world.granted(brin="17TX", validUntil="2027-08-01T00:00:00Z")
    await written(world)
    assert (await to_school(world), await to_partner(world)) == ([], [])
    world.clock.advance(days=7)
    await written(world)
    await written(world)
    (letter,) = await to_school(world)
    assert (letter["week"], letter["mail"], letter["sentAt"]) == ("2026-09-07", "none", None)
    told = {"id": given["grantId"], "clientId": "rekenrijk", "place": "16SW", "at": "2026-10-05T00:00:00Z"}
    assert letter["parts"] == [{"subject": "grant_ends", "count": 1, "items": [told]}]
    assert [each["parts"] for each in await to_partner(world)] == [letter["parts"]]
    assert (await to_school(world, "17TX"), await to_operators(world)) == ([], [])
    world.clock.advance(days=7)
    await written(world)
    assert [each["week"] for each in await to_school(world)] == ["2026-09-14", "2026-09-07"]
    (entry, *_) = [
        each
        for each in (await world.operate("GET", "/v1/log/entries?limit=500")).json()["items"]
        if each["kind"] == "reminder.given" and each["clientId"] == "rekenrijk"
    ]
    assert entry["state"]["parts"] == letter["parts"], "it can be shown that the partner was told"
    first = (await world.administer("GET", "/reminders?limit=1")).json()
    second = (await world.administer("GET", f"/reminders?limit=1&cursor={first['next']}")).json()
    assert [each["week"] for each in (*first["items"], *second["items"])] == ["2026-09-14", "2026-09-07"]
    assert second["next"] is None


async def test_what_must_be_deleted_is_told_to_the_partner_and_what_is_overdue_to_all(world: World) -> None:
    given = await world.granted()
    world.clock.advance(hours=1)
    await world.step(given["grantId"], "revoke")
    await DutyJob(world.store).run()
    world.clock.advance(days=TERMS["retentionDays"] - 10)
    await written(world)
    assert [subjects(each) for each in await to_partner(world)] == [{"deletion_due": [given["grantId"]]}]
    assert (await to_school(world), await to_operators(world)) == ([], [])
    world.clock.advance(days=14)
    await written(world)
    for letters in (await to_partner(world), await to_school(world), await to_operators(world)):
        assert subjects(letters[0]) == {"deletion_overdue": [given["grantId"]]}
    token = world.token("partner", client_id="rekenrijk")
    await world.call("POST", f"/v1/consents/deletions/{given['grantId']}/_confirm", token, {"statement": "Gewist."})
    world.clock.advance(days=7)
    await written(world)
    assert [len(each) for each in (await to_partner(world), await to_school(world))] == [2, 1]


@pytest.mark.empty_world
async def test_ground_rules_to_check_again_are_told_to_partner_and_operators(world: World) -> None:
    await world.register(rules=())
    kept = await world.keep("rekenrijk", "kvk", checkAgainOn="2026-09-20")
    assert kept.status_code == 201, kept.text
    await written(world)
    expected = {"ground_rule_check": [kept.json()["groundRuleId"]]}
    assert [subjects(each) for each in await to_partner(world)] == [expected]
    assert [subjects(each) for each in await to_operators(world)] == [expected]


@pytest.mark.empty_world
async def test_what_needs_reconfirmation_is_told(world: World) -> None:
    await world.register(agreed=BASIS)
    given = await world.granted(scopes=BASIS)
    await world.agree("rekenrijk", [*BASIS, "leerling.naam"], given["purposes"], graceUntil="2026-09-15T00:00:00Z")
    await written(world)
    assert [subjects(each) for each in await to_school(world)] == [{"needs_reconfirmation": [given["grantId"]]}]


async def test_in_september_schools_look_at_what_they_permitted_in_an_earlier_school_year(world: World) -> None:
    old, kept_up = await world.granted(), await world.granted(location="16SW01")
    world.clock.now = datetime(2027, 9, 6, 8, 0, tzinfo=UTC)
    confirmed = {"scopes": kept_up["scopes"], "purposes": kept_up["purposes"]}
    answer = await world.amend(kept_up, **confirmed)
    assert answer.status_code == 200, answer.text
    await written(world)
    assert [subjects(each) for each in await to_school(world)] == [{"school_year": [old["grantId"]]}]
    assert await to_partner(world) == []
    world.clock.now = datetime(2027, 11, 1, 8, 0, tzinfo=UTC)
    await written(world)
    assert len(await to_school(world)) == 1


@pytest.mark.parametrize(
    ("now", "asked"),
    [
        (datetime(2027, 8, 31, 23, 59, tzinfo=UTC), None),
        (datetime(2027, 9, 1, tzinfo=UTC), datetime(2027, 8, 1, tzinfo=UTC)),
        (datetime(2027, 9, 28, 23, tzinfo=UTC), datetime(2027, 8, 1, tzinfo=UTC)),
        (datetime(2027, 9, 29, tzinfo=UTC), None),
    ],
)
def test_nobody_is_asked_before_schools_are_open_or_for_ever(now: datetime, asked: datetime | None) -> None:
    assert year_to_confirm(now) == asked


def test_a_week_begins_on_monday() -> None:
    assert week_of(datetime(2026, 9, 6, 23, 59, tzinfo=UTC)).isoformat() == "2026-08-31"
    assert week_of(datetime(2026, 9, 7, tzinfo=UTC)).isoformat() == "2026-09-07"


async def test_of_many_the_first_are_named_and_all_are_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters_job, "MOST_NAMED", 2)
    monkeypatch.setattr(letters_job, "BATCH", 1)
    until = [f"2026-09-{day:02}T00:00:00Z" for day in (20, 10, 15)]
    for place, end in zip((None, "16SW00", "16SW01"), until, strict=True):
        await world.granted(location=place, validUntil=end)
    await world.granted(brin="17TX", validUntil=until[0])
    await written(world)
    ((part,),) = [each["parts"] for each in await to_school(world)]
    assert (part["count"], [item["at"] for item in part["items"]]) == (3, sorted(until)[:2])
    assert len(await to_school(world, "17TX")) == 1, "parts of the schools follow each other"


# -- e-mail -----------------------------------------------------------------------------------------------------------


async def ending(world: World) -> None:
    await world.granted(validUntil="2026-09-20T00:00:00Z")


async def give(world: World, email: str | None) -> None:
    """School and partner set the addresses for their letters."""
    for answer in (
        await world.administer("PUT", "/contact", {"email": email}),
        await world.call(
            "PUT", "/v1/consents/contact", world.token("partner", client_id="rekenrijk"), {"email": email}
        ),
    ):
        assert (answer.status_code, answer.json()) == (200, {"email": email})


async def test_letters_are_sent_once_to_the_address_that_was_given(
    world: World, received: Received, server: MailServer
) -> None:
    await ending(world)
    await give(world, "privacy@voorbeeld.example")
    await written(world)
    assert [each["mail"] for each in await to_school(world)] == ["waiting"]
    assert [await send_waiting(world.store, server) for _ in range(2)] == [2, 0]
    assert [to for to, _ in received.messages] == [["privacy@voorbeeld.example"]] * 2
    (letter,) = await to_school(world)
    assert (letter["mail"], letter["sentAt"]) == ("sent", "2026-09-01T08:00:00Z")
    sent = {message["Message-ID"]: message for _, message in received.messages}
    message = sent[f"<{letter['letterId']}@platform.example>"]
    assert (message["From"], message["Auto-Submitted"]) == ("no-reply@platform.example", "auto-generated")
    text = message.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert "Rekenrijk, 16SW, School 16SW  2026-09-20" in text.decode()


async def test_a_server_that_refuses_is_tried_again_and_given_up_at_last(
    world: World, received: Received, server: MailServer
) -> None:
    await ending(world)
    await give(world, "privacy@voorbeeld.example")
    await written(world)
    received.refuses = True
    assert [await send_waiting(world.store, server) for _ in range(2)] == [2, 0]
    received.refuses = False
    world.clock.advance(seconds=DELAYS[0].total_seconds())
    assert await send_waiting(world.store, server) == 2
    assert [each["mail"] for each in (*await to_school(world), *await to_partner(world))] == ["sent", "sent"]
    world.clock.advance(days=7)
    await written(world)
    received.refuses = True
    for delay in (*DELAYS, timedelta()):
        assert await send_waiting(world.store, server) == 2
        world.clock.advance(seconds=delay.total_seconds())
    assert [each["mail"] for each in await to_school(world)] == ["given_up", "sent"]
    assert await send_waiting(world.store, server) == 0


@pytest.mark.both_stores
async def test_one_address_that_is_none_keeps_no_other_letter_waiting(
    world: World, received: Received, server: MailServer
) -> None:
    """An address as an older version, or an application, may have stored it."""
    await ending(world)
    await give(world, "privacy@voorbeeld.example")
    await written(world)
    async with world.store.marking() as session:
        await (await session.connection()).execute(
            update(Contact).where(col(Contact.kind) == "school").values(email="a:b;@c.nl")
        )
    assert await send_waiting(world.store, server) == 2
    assert len(received.messages) == 1
    for delay in DELAYS:
        world.clock.advance(seconds=delay.total_seconds())
        assert await send_waiting(world.store, server) == 1
    assert [each["mail"] for each in await to_school(world)] == ["given_up"]
    assert [each["mail"] for each in await to_partner(world)] == ["sent"]


async def test_a_letter_whose_sender_died_is_sent_by_the_next(
    world: World, received: Received, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Killed` simulates the death of the process: no handler and no later statement runs."""
    await ending(world)
    await give(world, "privacy@voorbeeld.example")
    await written(world)

    class Killed(BaseException):
        pass

    async def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(MailServer, "send", die)
        await send_waiting(world.store, server)
    assert await send_waiting(world.store, server) == 1, "the other letter; this one is taken"
    world.clock.advance(seconds=LEASE.total_seconds())
    assert await send_waiting(world.store, server) == 1
    assert len(received.messages) == 2


async def test_an_address_is_in_no_log_and_gone_once_it_is_taken_away(
    world: World, received: Received, server: MailServer
) -> None:
    await ending(world)
    await give(world, "privacy@voorbeeld.example")
    log = (await world.operate("GET", "/v1/log/entries?limit=500")).text
    assert "contact.changed" in log
    assert "voorbeeld.example" not in log
    await written(world)
    await give(world, None)
    assert (await world.administer("GET", "/contact")).json() == {"email": None}
    await send_waiting(world.store, server)
    assert received.messages == []
    assert [each["mail"] for each in await to_school(world)] == ["none"]


NO_ADDRESSES = [
    *("geen adres", "a@b", "a@voorbeeld.example\r\nBcc: x@y.nl", "x" * 250 + "@a.nl", ""),
    *(
        "directie,beheer,a@b.nl",
        "a@b,c.nl",
        "[a@b.nl",
        "a@[b.nl",
        "a:b;@c.nl",
        "<a@b.nl>",
        '"a"@b.nl',
        "a@b..nl",
        "a@-b.nl",
    ),
]


@pytest.mark.parametrize("email", NO_ADDRESSES)
async def test_what_is_no_address_is_refused(world: World, email: str) -> None:
    assert (await world.administer("PUT", "/contact", {"email": email})).status_code == 400


async def test_without_a_mail_server_nothing_waits(world: World) -> None:
    await ending(world)
    await give(world, "privacy@voorbeeld.example")
    await written(world, mails=False)
    assert [each["mail"] for each in await to_school(world)] == ["none"]


def test_settings_say_where_the_mail_server_is() -> None:
    assert MailServer.of(Settings()) is None
    url, password = "smtp+starttls://mail.example:587", SecretStr("geheim")
    server = MailServer.of(Settings(smtp_url=url, mail_from="a@b.example", smtp_user="wie", smtp_password=password))
    assert server is not None
    assert (server.host, server.port, server.tls, server.starttls) == ("mail.example", 587, False, True)
    assert "geheim" not in repr(server)
    with pytest.raises(ValueError, match="MAIL_FROM"):
        Settings(smtp_url="smtps://mail.example:465")
    with pytest.raises(ValueError, match="smtps"):
        Settings(smtp_url="smtp://mail.example:25", mail_from="a@b.example", smtp_user="wie", smtp_password=password)
