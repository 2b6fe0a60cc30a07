"""Receipts of the changes of a grant: signed, with the proof that the change is in the log.

A receipt is a compact JWS (ES256) over {record, entry, proof, checkpoint}. The public keys are enough to verify it.
"""

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse
from sqlmodel.ext.asyncio.session import AsyncSession

from api.evidence.proofs import checkpoint, inclusion, size_of
from api.queries import registry_rows, school_rows
from api.security.evidence_keys import EvidenceKeys
from api.security.strict_json import Malformed, base64url, strict_object
from api.security.tokens import has_signed, signed
from api.web.callers import Caller, Concerned
from api.web.read_request import Reading
from api.web.schemas import EntryNumber, Wire
from api.web.services import provided
from models.consents.agreements import Agreement
from models.log.events import Event
from models.log.log_entries import canonical, entry_of
from models.log.merkle import leaf_hash, verify_inclusion
from models.log.signed_notes import Checkpoint, NoteInvalid, VerifierKey, opened
from models.past.receipts import HAPPENINGS, IN_DUTCH, ReceiptContext, record
from models.vocabulary.refusals import NotFound

router = APIRouter(prefix="/v1/receipts", tags=["evidence"])

KIND: Final = "privacy-manager-receipt+jws"
MOST_CHARACTERS: Final = 256 * 1024

Number = Annotated[EntryNumber, Path()]


class ReceiptRefused(Exception):
    """A receipt that fails verification; the text says why."""


class ReceiptView(Wire):
    """A receipt, of the change with this number in the log."""

    number: int
    grant_id: str
    event: str
    receipt: str


@router.get("/{receipt_number}", operation_id="getReceipt")
async def get_receipt(caller: Concerned, receipt_number: Number, reading: Reading, request: Request) -> ReceiptView:
    """The receipt of one change of a grant, for its school, the partner that it is about, and operators."""
    event = await _event(reading.session, caller, int(receipt_number))
    keys = provided(request, EvidenceKeys)
    payload = await _payload(reading.session, event, keys)
    text = signed(json.dumps(payload, ensure_ascii=False).encode(), keys.receipts[-1], KIND)
    return ReceiptView(number=event.number, grant_id=event.grant_id or "", event=event.kind, receipt=text)


@router.get("/{receipt_number}/page", operation_id="readReceipt", response_class=HTMLResponse)
async def read_receipt(caller: Concerned, receipt_number: Number, reading: Reading, request: Request) -> HTMLResponse:
    """The same for people, in Dutch and English."""
    event = await _event(reading.session, caller, int(receipt_number))
    payload = await _payload(reading.session, event, provided(request, EvidenceKeys))
    headers = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'"}
    return HTMLResponse(page(payload), headers=headers)


def verified(text: str, jwks: Mapping[str, Any], verifiers: Iterable[VerifierKey]) -> dict[str, Any]:
    """The payload of a receipt, after verification of its signature, its checkpoint and its inclusion in the log.

    Raises `ReceiptRefused`.
    """
    payload = _signed_payload(text, jwks)
    try:
        note, _ = opened(payload["checkpoint"].encode(), verifiers)
        seen = Checkpoint.parse(note)
        entry, proof = payload["entry"], [bytes.fromhex(each) for each in payload["proof"]]
        leaf, number = leaf_hash(canonical(entry)), entry["number"]
        is_in_log = verify_inclusion(leaf, number - 1, seen.size, proof, seen.root)
    except NoteInvalid as invalid:
        raise ReceiptRefused(f"its checkpoint does not hold: {invalid}") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ReceiptRefused("it lacks what a receipt has") from None
    if not is_in_log:
        raise ReceiptRefused("its entry is not in the log of its checkpoint")
    return payload


def page(payload: Mapping[str, Any]) -> str:
    """A receipt as an HTML page, in Dutch and English."""
    entry, record_ = payload["entry"], payload["record"]
    state, controller = entry["state"], record_["dpv:hasDataController"]
    dutch, english = HAPPENINGS[entry["kind"]]
    basis = record_["dpv:hasLegalBasis"]["dct:description"]
    lines = [
        ("School", "School", f"{controller['dct:title']} ({state['school']})"),
        ("Vestiging", "Location", state["location"] or "alle / all"),
        ("Ontvanger", "Recipient", f"{state['partner']['name']} (KvK {state['partner']['kvkNumber']})"),
        ("Koppeling", "Connection", state["clientId"]),
        ("Gegevens", "Data", ", ".join(state["scopes"])),
        ("Doelen", "Purposes", ", ".join(each["dct:title"] for each in record_["dpv:hasProcess"]["dpv:hasPurpose"])),
        ("Geldig vanaf", "Valid from", state["validFrom"]),
        ("Geldig tot", "Valid until", state["validUntil"] or "nader bericht / further notice"),
        ("Status", "Status", state["status"]),
        ("Wanneer", "When", entry["at"]),
        ("Toestemming", "Grant", state["grantId"]),
        ("Nummer in het logboek", "Number in the log", str(entry["number"])),
        ("Blad van het logboek", "Leaf of the log", leaf_hash(canonical(entry)).hex()),
    ]
    table_rows = "".join(
        f'<tr><th>{escape(nl)}<br><small lang="en">{escape(en)}</small></th><td>{escape(str(value))}</td></tr>'
        for nl, en, value in lines
    )
    return (
        '<!doctype html><html lang="nl"><head><meta charset="utf-8"><title>Ontvangstbewijs</title><style>'
        "body{font:16px/1.5 sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}"
        "th{text-align:left;vertical-align:top;padding:.4rem 1.5rem .4rem 0;font-weight:600}td{word-break:break-word}"
        "small{font-weight:400;color:#555}</style></head><body>"
        f'<h1>{escape(dutch)}<br><small lang="en">{escape(english)}</small></h1><table>{table_rows}</table>'
        f'<p>{escape(IN_DUTCH[basis])}</p><p lang="en">{escape(basis)}</p></body></html>'
    )


async def _event(session: AsyncSession, caller: Caller, number: int) -> Event:
    """The event, if it is about a grant that the caller may see. Raises `NotFound`."""
    # The size is checked first: a number beyond the log may be larger than the store's integers.
    event = await session.get(Event, number) if number <= await size_of(session) else None
    claims = caller.claims
    concerned = event is not None and {
        "operator": True,
        "school": event.brin == claims.school,
        "partner": event.client_id == claims.client_id,
    }.get(caller.role, False)
    if event is None or not concerned or event.kind not in HAPPENINGS:
        raise NotFound("There is no such receipt, or it is not yours.")
    return event


async def _payload(session: AsyncSession, event: Event, keys: EvidenceKeys) -> dict[str, Any]:
    entry = entry_of(event)
    proof = await inclusion(session, event.number, await size_of(session))
    return {
        "record": record(entry, await _context(session, event)),
        "entry": entry,
        "proof": [each.hex() for each in proof.hashes],
        "checkpoint": await checkpoint(session, keys),
    }


async def _context(session: AsyncSession, event: Event) -> ReceiptContext:
    agreement_id = event.state.get("agreementId")
    return ReceiptContext(
        school=await school_rows.school(session, event.brin or ""),
        connection=await registry_rows.connection(session, event.client_id or ""),
        agreement=await session.get(Agreement, agreement_id) if agreement_id is not None else None,
    )


def _signed_payload(text: str, jwks: Mapping[str, Any]) -> dict[str, Any]:
    parts = text.split(".")
    if len(text) > MOST_CHARACTERS or len(parts) != 3:
        raise ReceiptRefused("it is not a compact JWS")
    try:
        header, _ = strict_object(base64url(parts[0])), base64url(parts[2])
        payload = strict_object(base64url(parts[1]))
    except Malformed as malformed:
        raise ReceiptRefused(f"it is not a compact JWS: {malformed}") from None
    if set(header) != {"alg", "kid", "typ"} or header["typ"] != KIND:
        raise ReceiptRefused("it is a JWS of another kind")
    known = [key for key in jwks.get("keys", ()) if key.get("kid") == header["kid"]]
    if len(known) != 1 or not has_signed(text, known[0]):
        raise ReceiptRefused("it is not signed by a key that is known")
    return payload
