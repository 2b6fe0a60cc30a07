"""The keys of the evidence: kept in a file outside the store, so that who can write to the store cannot forge it.

    origin      the log's name
    sealing     seals the texts that can be erased (AES-256-GCM)
    notes       sign checkpoints (Ed25519); two while one takes the place of the other
    receipts    sign receipts (ES256); the last one does
    retired     public halves of keys that signed before: what they signed is still verified

The first process that serves a store makes the file, and notes in the store which one it is. From then on a process
with another file, or none, refuses to start: copy it to every machine that serves the store, and keep a copy apart.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from api.security import private_files
from api.security.tokens import new_private_jwk
from models.log.signed_notes import SigningKey, VerifierKey


class KeysInvalid(ValueError):
    """The file of keys cannot be used. The text says why, and nothing of what is in it."""


class _Retired(BaseModel):
    model_config = ConfigDict(extra="forbid")

    notes: list[str] = []
    receipts: list[dict[str, str]] = []


class _File(BaseModel):
    """The file as it is, in JSON."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    origin: Annotated[str, StringConstraints(pattern=r"^[!-*,-~]{1,200}$")]
    sealing: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
    notes: Annotated[list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]], Field(min_length=1)]
    receipts: Annotated[list[dict[str, str]], Field(min_length=1)]
    retired: _Retired = _Retired()


@dataclass(frozen=True)
class EvidenceKeys:
    """The keys, ready to be used."""

    origin: str
    sealing: bytes = field(repr=False)
    notes: tuple[SigningKey, ...] = field(repr=False)
    #: As JWKs with their private members, oldest first.
    receipts: tuple[dict[str, str], ...] = field(repr=False)
    retired_notes: tuple[VerifierKey, ...] = ()
    retired_receipts: tuple[dict[str, str], ...] = ()

    @property
    def sealed_with(self) -> str:
        """What tells the sealing key from another one, and nothing more of it."""
        return hashlib.sha256(b"sealed with\0" + self.sealing).hexdigest()

    @property
    def verifiers(self) -> tuple[VerifierKey, ...]:
        """Who may have signed a checkpoint of this log."""
        return (*(key.verifier for key in self.notes), *self.retired_notes)

    @property
    def jwks(self) -> dict[str, Any]:
        """The public halves of those that may have signed a receipt, as a JWK set."""
        return {"keys": [*(_public(key) for key in self.receipts), *self.retired_receipts]}


def read(path: Path) -> EvidenceKeys:
    """The keys in a file. Raises `FileNotFoundError` and `KeysInvalid`."""
    try:
        return _keys(_read(path))
    except (ValidationError, ValueError, KeyError):
        raise KeysInvalid(f"{path} is not a file of keys of the evidence.") from None


def make(path: Path) -> EvidenceKeys:
    """Makes a file with new keys, for nobody else to read; where another process was first, its file."""
    origin = f"privacy-manager.example/log/{secrets.token_hex(8)}"
    made = _File(origin=origin, sealing=_secret(), notes=[_secret()], receipts=[new_private_jwk()])
    private_files.publish(path, _written(made))
    return read(path)


def rotate(path: Path) -> EvidenceKeys:
    """Adds a new key of each kind: checkpoints are signed by both from now on, receipts by the new one.

    Raises `KeysInvalid` while a rotation is under way.
    """
    found = _read(path)
    if len(found.notes) > 1:
        raise KeysInvalid("There are two keys already: retire the old one first.")
    found.notes.append(_secret())
    found.receipts.append(new_private_jwk())
    return _replaced(path, found)


def retire(path: Path) -> EvidenceKeys:
    """Ends a rotation: of the older keys, only the public halves are kept. Raises `KeysInvalid` without a newer one."""
    found = _read(path)
    if len(found.notes) < 2:
        raise KeysInvalid("There is no newer key: rotate first.")
    keys = _keys(found)
    found.retired.notes += [str(key.verifier) for key in keys.notes[:-1]]
    found.retired.receipts += [_public(key) for key in keys.receipts[:-1]]
    found.notes, found.receipts = found.notes[-1:], found.receipts[-1:]
    return _replaced(path, found)


def _read(path: Path) -> _File:
    return _File.model_validate_json(path.read_bytes())


def _replaced(path: Path, found: _File) -> EvidenceKeys:
    private_files.replace(path, _written(found))
    return read(path)


def _written(found: _File) -> bytes:
    return found.model_dump_json(indent=2).encode() + b"\n"


def _keys(found: _File) -> EvidenceKeys:
    return EvidenceKeys(
        origin=found.origin,
        sealing=_decoded(found.sealing),
        notes=tuple(
            SigningKey(found.origin, Ed25519PrivateKey.from_private_bytes(_decoded(seed))) for seed in found.notes
        ),
        receipts=tuple(found.receipts),
        retired_notes=tuple(VerifierKey.parse(text) for text in found.retired.notes),
        retired_receipts=tuple(found.retired.receipts),
    )


def _secret() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=")


def _public(key: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in key.items() if name != "d"}
