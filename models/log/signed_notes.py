"""Checkpoints of the log as signed notes: C2SP signed-note (https://c2sp.org/signed-note) and tlog-checkpoint.

<origin>
<size>
<root, base64>

— <key's name> <base64 of key id and Ed25519 signature>
"""

import base64
import binascii
import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from models.log.merkle import HASH_BYTES

MOST_BYTES: Final = 64 * 1024
MOST_SIGNATURES: Final = 16
ED25519: Final = b"\x01"
KEY_ID_BYTES: Final = 4
SIGNATURE_BYTES: Final = 64

_DASH: Final = "\N{EM DASH} "
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f\ud800-\udfff]+")
#: Invisible characters, which a terminal may obey. C2SP allows them in a name; no log needs them.
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Zl", "Zp"})
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
#: No control character but the newline, and no lone surrogate.
_TEXT: Final = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f\ud800-\udfff]*")


class NoteInvalid(ValueError):
    """Not a note, or not signed by a required key."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The size of the log with this name and the root (32 bytes) of its tree. `extensions` are lines by others."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        root = base64.b64encode(self.root).decode()
        return "".join(f"{line}\n" for line in (self.origin, str(self.size), root, *self.extensions))

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Parses the text of a checkpoint. Raises `NoteInvalid`."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines) or not _TEXT.fullmatch(text):
            raise NoteInvalid("not the lines of a checkpoint")
        origin, size, root, *extensions = lines
        if not _SIZE.fullmatch(size):
            raise NoteInvalid("no number of entries")
        if not _is_visible(origin):
            raise NoteInvalid("an origin with characters that nobody sees")
        return cls(origin, int(size), _decoded(root, HASH_BYTES), tuple(extensions))


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key that signs notes. As text: `<name>+<key id>+<base64 of the key>`."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not (_NAME.fullmatch(self.name) and _is_visible(self.name)) or len(self.public) != HASH_BYTES:
            raise NoteInvalid("not a key of a name without spaces, plus signs and characters that nobody sees")

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Parses a verifier key. Raises `NoteInvalid`."""
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        key = _decoded(encoded, 1 + HASH_BYTES)
        if key[:1] != ED25519:
            raise NoteInvalid("not a key of Ed25519")
        parsed = cls(name, key[1:])
        if parsed.key_id.hex() != key_id:
            raise NoteInvalid("a key id of another key")
        return parsed

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:KEY_ID_BYTES]

    def has_signed(self, text: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs notes, under a name."""

    name: str
    private: Ed25519PrivateKey

    @property
    def verifier(self) -> VerifierKey:
        return VerifierKey(self.name, self.private.public_key().public_bytes_raw())


def signed(text: str, keys: Iterable[SigningKey]) -> str:
    """The note: the text, signed with each key. Raises `NoteInvalid` for text that is no lines of text."""
    if not text.endswith("\n") or not _TEXT.fullmatch(text):
        raise NoteInvalid("a note is lines of text")
    lines = []
    for key in keys:
        signature = key.verifier.key_id + key.private.sign(text.encode())
        lines.append(f"{_DASH}{key.name} {base64.b64encode(signature).decode()}\n")
    return f"{text}\n{''.join(lines)}"


def opened(note: bytes, verifiers: Iterable[VerifierKey]) -> tuple[str, list[str]]:
    """The text of a note, and the verifiers, as text, that signed it: at least one of `verifiers`.

    Signatures by other keys are ignored. Raises `NoteInvalid`, also when the signature of a known key does not verify.
    """
    text, lines = _parts(note)
    known = {(key.name, key.key_id): key for key in verifiers}
    signers: list[str] = []
    for name, signature in map(_signature, lines):
        key = known.get((name, signature[:KEY_ID_BYTES]))
        if key is None:
            continue
        if not key.has_signed(text.encode(), signature[KEY_ID_BYTES:]):
            raise NoteInvalid("a signature that does not hold")
        if str(key) not in signers:
            signers.append(str(key))
    if not signers:
        raise NoteInvalid("signed by nobody who is known")
    return text, signers


def checkpoint_in(note: bytes, verifiers: Iterable[VerifierKey]) -> Checkpoint:
    """The checkpoint in a note that one of these keys has signed, under the log's own name. Raises `NoteInvalid`."""
    text, signers = opened(note, verifiers)
    checkpoint = Checkpoint.parse(text)
    if any(VerifierKey.parse(signer).name != checkpoint.origin for signer in signers):
        raise NoteInvalid("signed by the key of another log")
    return checkpoint


def _parts(note: bytes) -> tuple[str, list[str]]:
    """The text, and the signature lines after the last empty line."""
    try:
        whole = note.decode() if len(note) <= MOST_BYTES else ""
    except UnicodeDecodeError:
        whole = ""
    before, separator, behind = whole.rpartition("\n\n")
    lines = behind.split("\n")
    if not separator or lines.pop() or not 0 < len(lines) <= MOST_SIGNATURES or not _TEXT.fullmatch(whole):
        raise NoteInvalid("not a text with signatures behind an empty line")
    return f"{before}\n", lines


def _signature(line: str) -> tuple[str, bytes]:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not _NAME.fullmatch(name):
        raise NoteInvalid("a line that is no signature")
    signature = _decoded(encoded)
    if len(signature) <= KEY_ID_BYTES:
        raise NoteInvalid("a signature that is too short")
    return name, signature


def _is_visible(text: str) -> bool:
    return not any(unicodedata.category(sign) in _INVISIBLE for sign in text)


def _decoded(text: str, size: int | None = None) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise NoteInvalid("not base64") from None
    if base64.b64encode(data).decode() != text or size not in (None, len(data)):
        raise NoteInvalid("not base64 of that many bytes")
    return data
