"""Signed notes: the published example, two keys, and every text that is not one."""

from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from models.signed_notes import Checkpoint, NoteInvalid, SigningKey, VerifierKey, opened, signed

#: The example in the documentation of Go's package golang.org/x/mod/sumdb/note, from which C2SP made its specification.
KEY: Final = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT: Final = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE: Final = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
NOTE: Final = f"{TEXT}\n— PeterNeumann {SIGNATURE}\n"
ROOT: Final = bytes(range(32))


def key_of(name: str = "example.com/log", seed: int = 1) -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def test_the_published_example_verifies() -> None:
    assert opened(NOTE.encode(), [VerifierKey.parse(KEY)]) == (TEXT, [KEY])
    assert str(VerifierKey.parse(KEY)) == KEY


def test_the_published_example_with_any_byte_changed_is_refused() -> None:
    note, verifiers = NOTE.encode(), [VerifierKey.parse(KEY)]
    for at in range(len(note)):
        for other in {note[at] ^ 1, note[at] ^ 0x20, ord("A"), ord("\n")} - {note[at]}:
            with pytest.raises(NoteInvalid):
                opened(note[:at] + bytes([other]) + note[at + 1 :], verifiers)
        with pytest.raises(NoteInvalid):
            opened(note[:at], verifiers)


def test_a_note_by_two_keys_verifies_with_either() -> None:
    one, other = key_of(seed=1), key_of(seed=2)
    note = signed("een regel\n", [one, other]).encode()
    for known in ([one], [other], [one, other]):
        text, names = opened(note, [key.verifier for key in known])
        assert (text, names) == ("een regel\n", [str(key.verifier) for key in known])
    with pytest.raises(NoteInvalid, match="nobody"):
        opened(note, [key_of(seed=3).verifier])
    with pytest.raises(NoteInvalid, match="nobody"):
        opened(note, [key_of("example.com/other", 1).verifier])


def test_a_bad_signature_by_a_known_key_refuses_the_note_though_another_holds() -> None:
    one, other = key_of(seed=1), key_of(seed=2)
    good, bad = signed("een\n", [one, other]), signed("twee\n", [one, other])
    mixed = "\n".join([*good.split("\n")[:3], bad.split("\n")[3], ""])
    assert opened(mixed.encode(), [one.verifier])
    with pytest.raises(NoteInvalid, match="does not hold"):
        opened(mixed.encode(), [one.verifier, other.verifier])


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}\n\n",
        NOTE.rstrip("\n"),
        NOTE + "\n",
        NOTE.replace("— ", "- "),
        NOTE.replace("— ", "—"),
        NOTE.replace("PeterNeumann", "Peter Neumann"),
        NOTE.replace("PeterNeumann", "Peter+Neumann"),
        NOTE.replace("PeterNeumann", ""),
        NOTE.replace("=", ""),
        NOTE.replace("=", "==="),
        NOTE.replace(SIGNATURE, SIGNATURE[:-2] + "N="),
        NOTE.replace(SIGNATURE, "AAAA"),
        NOTE.replace(SIGNATURE, ""),
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("cryptography", "crypto\tgraphy"),
        NOTE.replace("cryptography", "crypto\0graphy"),
        NOTE + f"— PeterNeumann {SIGNATURE}\n" * 16,
        "x\n" * 40_000 + "\n" + NOTE,
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(NoteInvalid):
        opened(note.encode(), [VerifierKey.parse(KEY)])


@given(st.binary(max_size=400))
def test_nothing_but_a_refusal_comes_of_any_bytes(noise: bytes) -> None:
    verifiers = [VerifierKey.parse(KEY)]
    for note in (noise, TEXT.encode() + noise, NOTE.encode() + noise, noise + b"\n\n" + noise + b"\n"):
        if note != NOTE.encode():
            with pytest.raises(NoteInvalid):
                opened(note, verifiers)
    text = noise.decode("utf-8", "surrogateescape")
    for parse in (Checkpoint.parse, VerifierKey.parse):
        with pytest.raises(NoteInvalid):
            parse(text)


@pytest.mark.parametrize("extensions", [(), ("een", "twee drie")])
def test_a_checkpoint_is_its_lines(extensions: tuple[str, ...]) -> None:
    checkpoint = Checkpoint("example.com/log", 42, ROOT, extensions)
    assert Checkpoint.parse(checkpoint.text) == checkpoint
    lines = ["example.com/log", "42", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", *extensions]
    assert checkpoint.text == "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("42", "042"),
        ("42", "-42"),
        ("42", "+42"),
        ("42", "4 2"),
        ("42", "٤٢"),
        ("42", "9" * 20),
        ("42", ""),
        ("8=", "9="),
        ("8=", "8"),
        ("8=\n", "8=\n\n"),
        ("8=\n", "8="),
        ("AAEC", "AAECAAAA"),
        ("example.com/log", ""),
        ("example.com/log", "example\r"),
        ("\n", "\r\n"),
    ],
)
def test_what_is_no_checkpoint_is_refused(old: str, new: str) -> None:
    text = Checkpoint("example.com/log", 42, ROOT).text
    assert old in text
    with pytest.raises(NoteInvalid):
        Checkpoint.parse(text.replace(old, new, 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "++",
        "naam",
        KEY[:-1],
        KEY.replace("c74f20a3", "c74f20a4"),
        KEY.replace("+AR", "+AB"),
        "x" + KEY,
        KEY + "x",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "a\t"])
def test_a_name_that_could_be_read_otherwise_is_no_keys_name(name: str) -> None:
    with pytest.raises(NoteInvalid):
        signed("een\n", [key_of(name)])


@pytest.mark.parametrize("text", ["", "zonder einde", "een\rtwee\n", "nul\0\n"])
def test_what_is_no_text_is_not_signed(text: str) -> None:
    with pytest.raises(NoteInvalid):
        signed(text, [key_of()])
