"""Sends the letters that wait by e-mail, over SMTP: each at least once, with pauses that grow, for some days.

A letter is taken for some minutes by who sends it. Whoever dies meanwhile leaves it to the next one; the same letter
has the same Message-ID, by which a mail server or reader knows it again.
"""

import asyncio
import logging
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiosmtplib
from pydantic import SecretStr
from sqlalchemy import update
from sqlmodel import col, select

from api.queries import registry_rows, school_rows
from api.queries.session import Session
from api.reminders.letters_job import address_of
from api.settings import Settings
from api.store.outage import StoreUnreachable
from api.store.store import Store
from models.consents.reminders import Letter, LetterSubject, Mail

log = logging.getLogger("privacy_manager.mailing")

INTERVAL_SECONDS: Final = 15.0
BATCH: Final = 20
SEND_SECONDS: Final = 30.0
#: For so long a letter is taken by who sends it.
TAKEN_FOR: Final = timedelta(minutes=5)
#: How long a letter waits after its first, second, ... attempt; after the last one it is given up.
DELAYS: Final = (
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=8),
    timedelta(hours=24),
    timedelta(hours=48),
)


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where e-mail is handed in, and by whom."""

    host: str
    port: int
    tls: bool
    starttls: bool
    user: str
    password: SecretStr
    sender: str
    operator: str

    @classmethod
    def of(cls, settings: Settings) -> "MailServer | None":
        """As the settings say; None where no e-mail is sent."""
        if not settings.smtp_url:
            return None
        address = urlsplit(settings.smtp_url)
        return cls(
            host=address.hostname or "",
            port=address.port or 25,
            tls=address.scheme == "smtps",
            starttls=address.scheme == "smtp+starttls",
            user=settings.smtp_user,
            password=settings.smtp_password,
            sender=settings.mail_from,
            operator=settings.operator_email,
        )

    async def send(self, message: EmailMessage) -> None:
        """Hands it in. Raises `aiosmtplib.SMTPException`, `OSError` or `TimeoutError`."""
        async with asyncio.timeout(SEND_SECONDS):
            await aiosmtplib.send(
                message,
                recipients=[str(message["To"].addresses[0].addr_spec)],
                hostname=self.host,
                port=self.port,
                use_tls=self.tls,
                start_tls=self.starttls,
                username=self.user or None,
                password=self.password.get_secret_value() or None,
                tls_context=ssl.create_default_context() if self.tls or self.starttls else None,
                timeout=SEND_SECONDS,
            )


async def send_waiting(store: Store, server: MailServer) -> int:
    """Tries up to `BATCH` letters whose turn it is; returns how many. Raises `StoreUnreachable`."""
    async with store.reading() as session:
        now = await store.now(session)
        turn = Letter.mail == Mail.WAITING, col(Letter.next_at) <= now
        found = (await session.exec(select(Letter).where(*turn).order_by(col(Letter.next_at)).limit(BATCH))).all()
    for letter in found:
        if await _taken(store, letter, now):
            await _send(store, server, letter, now)
    return len(found)


async def keep_sending(store: Store, server: MailServer, interval: float = INTERVAL_SECONDS) -> None:
    """The same for as long as the process runs, every `interval` seconds. Several processes may do so at once."""
    while True:
        await asyncio.sleep(interval)
        try:
            while await send_waiting(store, server) == BATCH:
                pass
        except StoreUnreachable as error:
            log.warning("the store did not answer: %s", error)
        except Exception:
            log.exception("letters could not be sent")


async def _taken(store: Store, letter: Letter, now: datetime) -> bool:
    """Whether it is this process that sends it."""
    values = {"next_at": now + TAKEN_FOR, "attempts": letter.attempts + 1}
    return await _marked(store, letter, letter.attempts, values) == 1


async def _send(store: Store, server: MailServer, letter: Letter, now: datetime) -> None:
    attempt = letter.attempts + 1
    async with store.reading() as session:
        address = await address_of(session, letter.kind, letter.recipient, server.operator)
        if address is not None:
            text = await _text(session, letter)
    if address is None:
        await _marked(store, letter, attempt, {"mail": Mail.NONE, "next_at": None})
        return
    try:
        await server.send(message_of(letter, text, server.sender, address))
    except Exception as error:
        # Whatever is wrong with one letter keeps no other waiting. What a server says may hold the address.
        log.warning("letter %s was not taken: %s", letter.letter_id, type(error).__name__)
        left = attempt <= len(DELAYS)
        later = {"next_at": now + DELAYS[attempt - 1]} if left else {"mail": Mail.GIVEN_UP, "next_at": None}
        await _marked(store, letter, attempt, later)
    else:
        await _marked(store, letter, attempt, {"mail": Mail.SENT, "next_at": None, "sent_at": now})


async def _marked(store: Store, letter: Letter, attempts: int, values: dict[str, Any]) -> int:
    mine = col(Letter.letter_id) == letter.letter_id, col(Letter.attempts) == attempts, col(Letter.mail) == Mail.WAITING
    async with store.marking() as session:
        connection = await session.connection()
        return (await connection.execute(update(Letter).where(*mine).values(values))).rowcount


# -- what it says -----------------------------------------------------------------------------------------------------

_SAID: Final = {
    LetterSubject.GRANT_ENDS: ("Toestemmingen die binnen 30 dagen eindigen", "Permissions that end within 30 days"),
    LetterSubject.NEEDS_RECONFIRMATION: (
        "Toestemmingen die opnieuw bevestigd moeten worden",
        "Permissions that need to be confirmed again",
    ),
    LetterSubject.SCHOOL_YEAR: (
        "Toestemmingen die voor dit schooljaar nog niet zijn nagekeken",
        "Permissions that were not looked at yet for this school year",
    ),
    LetterSubject.DELETION_DUE: ("Gegevens die binnenkort gewist moeten zijn", "Data to be deleted soon"),
    LetterSubject.DELETION_OVERDUE: ("Gegevens waarvan het wissen te laat is", "Data whose deletion is overdue"),
    LetterSubject.GROUND_RULE_CHECK: ("Spelregels die opnieuw nagekeken moeten worden", "Ground rules to check again"),
    LetterSubject.GROUND_RULE_END: ("Spelregels waarvan het bewijs afloopt", "Ground rules whose evidence ends"),
}


def message_of(letter: Letter, text: str, sender: str, address: str) -> EmailMessage:
    """The e-mail, to one address. Raises what that library raises for one that is none."""
    message = EmailMessage()
    message["From"], message["To"] = sender, Address(addr_spec=address)
    message["Subject"] = f"Privacymanager: herinneringen van de week van {letter.week.isoformat()}"
    message["Date"] = format_datetime(letter.made_at)
    message["Message-ID"] = f"<{letter.letter_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message


async def _text(session: Session, letter: Letter) -> str:
    """Both languages, with the names of connections and schools: no person is in it."""
    items = [item for part in letter.parts for item in part["items"]]
    connections = await registry_rows.connections_named(
        session, {item["clientId"] for item in items if item["clientId"]}
    )
    schools = await school_rows.schools_named(session, {item["place"][:4] for item in items if item["place"]})
    lines: list[str] = []
    for part in letter.parts:
        dutch, english = _SAID[LetterSubject(part["subject"])]
        lines += [f"{dutch} / {english}: {part['count']}", ""]
        for item in part["items"]:
            named = connections.get(item["clientId"] or "")
            place = item["place"] or ""
            school = schools.get(place[:4])
            told = [named.name if named is not None else item["clientId"], place, school.name if school else None]
            when = f"  {item['at'][:10]}" if item["at"] else ""
            lines.append(f"  - {', '.join(word for word in told if word)}{when}")
        if (more := part["count"] - len(part["items"])) > 0:
            lines.append(f"  ... en nog {more} / and {more} more")
        lines.append("")
    lines.append("U leest en regelt dit in de privacymanager. / You read and settle this in the privacy manager.")
    return "\n".join(lines)
