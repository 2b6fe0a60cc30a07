"""The keys of the evidence, in a file outside the store: write access to the store does not suffice to forge it.

    origin      the log's name
    sealing     seals the texts that can be erased (AES-256-GCM)
    notes       sign checkpoints (Ed25519); two during a rotation
    receipts    sign receipts (ES256); the last one is used
    retired     public halves of former keys, to verify what they signed

The first process that serves a store creates the file and records its identity in the store. From then on a process
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
    """The file of keys is unusable. The message says why, without any of its content."""


class _Retired(BaseModel):
    model_config = ConfigDict(extra="forbid")

    notes: list[str] = []
    receipts: list[dict[str, str]] = []


class _File(BaseModel):
    """The content of the file, in JSON."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    origin: Annotated[str, StringConstraints(pattern=r"^[!-*,-~]{1,200}$")]
    sealing: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
    notes: Annotated[list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]], Field(min_length=1)]
    receipts: Annotated[list[dict[str, str]], Field(min_length=1)]
    retired: _Retired = _Retired()


@dataclass(frozen=True)
class EvidenceKeys:
    """The parsed keys."""

    origin: str
    sealing: bytes = field(repr=False)
    notes: tuple[SigningKey, ...] = field(repr=False)
    #: JWKs with private members, oldest first.
    receipts: tuple[dict[str, str], ...] = field(repr=False)
    retired_notes: tuple[VerifierKey, ...] = ()
    retired_receipts: tuple[dict[str, str], ...] = ()

    @property
    def sealed_with(self) -> str:
        """A digest that identifies the sealing key and reveals nothing else."""
        return hashlib.sha256(b"sealed with\0" + self.sealing).hexdigest()

    @property
    def verifiers(self) -> tuple[VerifierKey, ...]:
        """The keys that may have signed a checkpoint of this log."""
        return (*(key.verifier for key in self.notes), *self.retired_notes)

    @property
    def jwks(self) -> dict[str, Any]:
        """The public halves of the keys that may have signed a receipt, as a JWK set."""
        return {"keys": [*(_public(key) for key in self.receipts), *self.retired_receipts]}


def read(path: Path) -> EvidenceKeys:
    """Reads the keys from a file. Raises `FileNotFoundError` and `KeysInvalid`."""
    try:
        return _keys(_read(path))
    except (ValidationError, ValueError, KeyError):
        raise KeysInvalid(f"{path} is not a file of keys of the evidence.") from None


def make(path: Path) -> EvidenceKeys:
    """Creates a file with new keys, readable by the owner only; reads it if another process created it first."""
    origin = f"privacy-manager.example/log/{secrets.token_hex(8)}"
    file = _File(origin=origin, sealing=_secret(), notes=[_secret()], receipts=[new_private_jwk()])
    private_files.publish(path, _serialized(file))
    return read(path)


def rotate(path: Path) -> EvidenceKeys:
    """Adds a new key of each kind: from now on both sign checkpoints, the new one signs receipts.

    Raises `KeysInvalid` during a rotation.
    """
    file = _read(path)
    if len(file.notes) > 1:
        raise KeysInvalid("There are two keys already: retire the old one first.")
    file.notes.append(_secret())
    file.receipts.append(new_private_jwk())
    return _replace(path, file)


def retire(path: Path) -> EvidenceKeys:
    """Ends a rotation and keeps only the public halves of the older keys. Raises `KeysInvalid` without a newer one."""
    file = _read(path)
    if len(file.notes) < 2:
        raise KeysInvalid("There is no newer key: rotate first.")
    keys = _keys(file)
    file.retired.notes += [str(key.verifier) for key in keys.notes[:-1]]
    file.retired.receipts += [_public(key) for key in keys.receipts[:-1]]
    file.notes, file.receipts = file.notes[-1:], file.receipts[-1:]
    return _replace(path, file)


def _read(path: Path) -> _File:
    return _File.model_validate_json(path.read_bytes())


def _replace(path: Path, file: _File) -> EvidenceKeys:
    private_files.replace(path, _serialized(file))
    return read(path)


def _serialized(file: _File) -> bytes:
    return file.model_dump_json(indent=2).encode() + b"\n"


def _keys(file: _File) -> EvidenceKeys:
    return EvidenceKeys(
        origin=file.origin,
        sealing=_decoded(file.sealing),
        notes=tuple(
            SigningKey(file.origin, Ed25519PrivateKey.from_private_bytes(_decoded(seed))) for seed in file.notes
        ),
        receipts=tuple(file.receipts),
        retired_notes=tuple(VerifierKey.parse(text) for text in file.retired.notes),
        retired_receipts=tuple(file.retired.receipts),
    )


def _secret() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=")


def _public(key: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in key.items() if name != "d"}
