"""The job that sends waiting letters by SMTP: each at least once, with growing delays between attempts, for some days.

A process leases a letter for some minutes while it sends it. If the process dies, another one sends the letter after
the lease; all attempts have the same Message-ID, by which a mail server or reader recognises a repeat.
"""

import asyncio
import logging
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import update
from sqlmodel import col, select

from api.queries import registry_rows, school_rows
from api.queries.session import Session
from api.reminders.letters_job import address_of
from api.settings import Settings
from api.store.jobs import drain, every, repeat
from api.store.store import Store
from models.consents.reminders import Letter, LetterSubject, Mail

log = logging.getLogger("privacy_manager.mailing")

INTERVAL_SECONDS: Final = 15.0
BATCH: Final = 20
SEND_SECONDS: Final = 30.0
#: The lease of a letter by the process that sends it.
LEASE: Final = timedelta(minutes=5)
#: The delays after the first, second, ... failed attempt; after one attempt more the letter is given up.
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
    """The SMTP server and its credentials, the sender's address, and the operators' address."""

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
        """The mail server of the settings; None where they have no `smtp_url`, so that no e-mail is sent."""
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
        """Sends one message within `SEND_SECONDS`. Raises `aiosmtplib.SMTPException`, `OSError` or `TimeoutError`."""
        import aiosmtplib

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
    """Attempts up to `BATCH` letters that are due; returns how many. Raises `StoreUnreachable`."""
    async with store.reading() as session:
        now = await store.now(session)
        due = Letter.mail == Mail.WAITING, col(Letter.next_at) <= now
        letters = (await session.exec(select(Letter).where(*due).order_by(col(Letter.next_at)).limit(BATCH))).all()
    for letter in letters:
        if await _lease(store, letter, now):
            await _send(store, server, letter, now)
    return len(letters)


async def run_mail_job(store: Store, server: MailServer, interval: float = INTERVAL_SECONDS) -> None:
    """Sends all due letters every `interval` seconds, for as long as the process runs."""
    turn = partial(drain, partial(send_waiting, store, server), BATCH)
    await repeat(turn, every(interval), log, "letters could not be sent")


async def _lease(store: Store, letter: Letter, now: datetime) -> bool:
    """Leases the letter to this process; False where another process has leased it since."""
    values = {"next_at": now + LEASE, "attempts": letter.attempts + 1}
    return await _update(store, letter, letter.attempts, values) == 1


async def _send(store: Store, server: MailServer, letter: Letter, now: datetime) -> None:
    attempt = letter.attempts + 1
    async with store.reading() as session:
        address = await address_of(session, letter.kind, letter.recipient, server.operator)
        if address is not None:
            text = await _text(session, letter)
    if address is None:
        await _update(store, letter, attempt, {"mail": Mail.NONE, "next_at": None})
        return
    try:
        await server.send(message_of(letter, text, server.sender, address))
    except Exception as error:
        # A failure of one letter must not delay the others. The server's text is not logged: it may hold the address.
        log.warning("letter %s was not taken: %s", letter.letter_id, type(error).__name__)
        has_attempts_left = attempt <= len(DELAYS)
        later = (
            {"next_at": now + DELAYS[attempt - 1]} if has_attempts_left else {"mail": Mail.GIVEN_UP, "next_at": None}
        )
        await _update(store, letter, attempt, later)
    else:
        await _update(store, letter, attempt, {"mail": Mail.SENT, "next_at": None, "sent_at": now})


async def _update(store: Store, letter: Letter, attempts: int, values: dict[str, Any]) -> int:
    """Updates the letter if it waits and `attempts` is still its number of attempts; returns the rows updated."""
    own = col(Letter.letter_id) == letter.letter_id, col(Letter.attempts) == attempts, col(Letter.mail) == Mail.WAITING
    async with store.marking() as session:
        connection = await session.connection()
        return (await connection.execute(update(Letter).where(*own).values(values))).rowcount


# -- the text of a letter ---------------------------------------------------------------------------------------------

#: The headings of the parts, in Dutch and English.
_HEADINGS: Final = {
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
    """The e-mail of a letter to one address. Raises what `email.headerregistry.Address` does for an invalid one."""
    message = EmailMessage()
    message["From"], message["To"] = sender, Address(addr_spec=address)
    message["Subject"] = f"Privacymanager: herinneringen van de week van {letter.week.isoformat()}"
    message["Date"] = format_datetime(letter.made_at)
    message["Message-ID"] = f"<{letter.letter_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message


async def _text(session: Session, letter: Letter) -> str:
    """The text in both languages, with the names of connections and schools, and of no person."""
    items = [item for part in letter.parts for item in part["items"]]
    connections = await registry_rows.connections_named(
        session, {item["clientId"] for item in items if item["clientId"]}
    )
    schools = await school_rows.schools_named(session, {item["place"][:4] for item in items if item["place"]})
    lines: list[str] = []
    for part in letter.parts:
        dutch, english = _HEADINGS[LetterSubject(part["subject"])]
        lines += [f"{dutch} / {english}: {part['count']}", ""]
        for item in part["items"]:
            connection = connections.get(item["clientId"] or "")
            place = item["place"] or ""
            school = schools.get(place[:4])
            words = [
                connection.name if connection is not None else item["clientId"],
                place,
                school.name if school else None,
            ]
            when = f"  {item['at'][:10]}" if item["at"] else ""
            lines.append(f"  - {', '.join(word for word in words if word)}{when}")
        if (more := part["count"] - len(part["items"])) > 0:
            lines.append(f"  ... en nog {more} / and {more} more")
        lines.append("")
    lines.append("U leest en regelt dit in de privacymanager. / You read and settle this in the privacy manager.")
    return "\n".join(lines)
