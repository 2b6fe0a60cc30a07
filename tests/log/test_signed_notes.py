"""Signed notes: the published example, two keys, and texts that are not notes."""

import base64
import contextlib
from typing import Final
from unicodedata import category

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from models.log.signed_notes import (
    ED25519,
    MOST_BYTES,
    MOST_SIGNATURES,
    Checkpoint,
    NoteInvalid,
    SigningKey,
    VerifierKey,
    opened,
    signed,
)

#: The example in the documentation of Go's package golang.org/x/mod/sumdb/note, the origin of the C2SP specification.
KEY: Final = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT: Final = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE: Final = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
NOTE: Final = f"{TEXT}\n— PeterNeumann {SIGNATURE}\n"
ROOT: Final = bytes(range(32))
ENCODED_ROOT: Final = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#: Characters allowed in a line of a note, and characters that are not.
CHARACTERS: Final = st.characters(codec="utf-8", exclude_characters="".join(map(chr, [*range(32), 127])))
LINES: Final = st.text(CHARACTERS, min_size=1, max_size=20)
#: Lines without invisible characters, and names of keys.
SEEN: Final = LINES.filter(lambda line: not any(category(sign) in ("Cc", "Cf", "Zl", "Zp") for sign in line))
NAMES: Final = SEEN.filter(lambda name: "+" not in name and not any(map(str.isspace, name)))
#: Pieces of notes, checkpoints and keys, so that generated texts are nearly valid.
PIECES: Final = st.sampled_from(
    [
        *["\n", "\n\n", "\r", "\t", "— ", " ", "+", "a", "0", "1", "42", "\ud800", "\udc80", "\x85", "٤", "=", "/"],
        *["PeterNeumann", "c74f20a3", KEY, KEY[22:], TEXT, SIGNATURE, NOTE, ENCODED_ROOT, "example.com/log", "AQ=="],
    ]
)


def key_of(name: str = "example.com/log", seed: int = 1) -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


@pytest.mark.parametrize("sign", ["\x85", "\x9b", "\u202e", "\u200b", "\ufeff", "\u2028", "\u2029", "\U000e0041"])
def test_a_name_with_what_nobody_sees_is_refused(sign: str) -> None:
    """Some of these are terminal control characters; others make a name look like another one."""
    public = key_of().verifier.public
    with pytest.raises(NoteInvalid, match="nobody sees"):
        VerifierKey(f"example.com/{sign}log", public)
    with pytest.raises(NoteInvalid, match="nobody sees"):
        Checkpoint.parse(Checkpoint(f"example.com/{sign}log", 1, ROOT).text)


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


@pytest.mark.parametrize("part", range(4))
def test_the_published_example_with_any_byte_replaced_added_or_left_out_is_refused(part: int) -> None:
    note, verifiers = NOTE.encode(), [VerifierKey.parse(KEY)]
    for at in range(part, len(note), 4):
        others = [bytes([other]) for other in range(256)]
        longer = [other + note[at : at + 1] for other in others[9:128:7]]
        for instead in ({*others, *longer, b""}) - {note[at : at + 1]}:
            changed = note[:at] + instead + note[at + 1 :]
            with pytest.raises(NoteInvalid):
                opened(changed, verifiers)


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


def test_of_two_signatures_by_one_key_both_must_hold() -> None:
    one, other = key_of(seed=1), key_of(seed=2)
    text, _, good, seconded, _ = signed("een\n", [one, other]).split("\n")
    bad = signed("twee\n", [one]).split("\n")[2]
    twice = "\n".join([text, "", good, good, ""])
    assert opened(twice.encode(), [one.verifier]) == ("een\n", [str(one.verifier)])
    for lines in ([good, bad], [bad, good], [good, seconded, bad]):
        mixed = "\n".join([text, "", *lines, ""])
        with pytest.raises(NoteInvalid, match="does not hold"):
            opened(mixed.encode(), [one.verifier])


def test_a_signature_by_a_key_that_shares_the_name_or_the_id_alone_is_passed_over() -> None:
    known = key_of(seed=1)
    text, _, good, _ = signed("een\n", [known]).split("\n")
    signature = base64.b64decode(good.rpartition(" ")[2])
    namesake = f"— {known.name} {base64.b64encode(b'none' + signature[4:]).decode()}"
    same_id = f"— another {base64.b64encode(signature[:4] + bytes(64)).decode()}"
    another_algorithm = f"— {known.name} {base64.b64encode(b'none' + bytes(2420)).decode()}"
    passed_over = [namesake, same_id, another_algorithm]
    for lines in ([good, *passed_over], [*passed_over, good]):
        assert opened("\n".join([text, "", *lines, ""]).encode(), [known.verifier]) == (
            "een\n",
            [str(known.verifier)],
        )
    with pytest.raises(NoteInvalid, match="nobody"):
        opened("\n".join([text, "", *passed_over, ""]).encode(), [known.verifier])


def test_sixteen_signatures_are_read_and_no_more() -> None:
    keys = [key_of(seed=seed) for seed in range(1, MOST_SIGNATURES + 2)]
    known = [key.verifier for key in keys]
    assert opened(signed("een\n", keys[:-1]).encode(), known)[1] == [str(key) for key in known[:-1]]
    with pytest.raises(NoteInvalid, match="signatures"):
        opened(signed("een\n", keys).encode(), known)


def test_a_note_is_read_up_to_its_most_bytes() -> None:
    key = key_of()
    rest = len(signed("\n", [key]).encode())
    longest = signed("x" * (MOST_BYTES - rest) + "\n", [key]).encode()
    assert len(longest) == MOST_BYTES
    assert opened(longest, [key.verifier])
    with pytest.raises(NoteInvalid):
        opened(signed("x" * (MOST_BYTES - rest + 1) + "\n", [key]).encode(), [key.verifier])


def test_a_text_may_hold_empty_lines_and_what_looks_like_signatures() -> None:
    key = key_of()
    for text in (f"een\n\ntwee\n{NOTE}", NOTE, "\n", "\n\n", f"{NOTE}\n"):
        assert opened(signed(text, [key]).encode(), [key.verifier]) == (text, [str(key.verifier)])


def test_without_a_known_key_no_note_opens() -> None:
    with pytest.raises(NoteInvalid, match="nobody"):
        opened(NOTE.encode(), [])


@given(st.lists(LINES | st.just(""), max_size=6), st.lists(NAMES, min_size=1, max_size=3, unique=True))
def test_every_text_that_is_signed_opens_with_each_of_its_keys(lines: list[str], names: list[str]) -> None:
    text, keys = "".join(f"{line}\n" for line in ["een", *lines]), [key_of(name) for name in names]
    note = signed(text, keys).encode()
    assert opened(note, [key.verifier for key in keys]) == (text, [str(key.verifier) for key in keys])
    for key in keys:
        assert opened(note, [VerifierKey.parse(str(key.verifier))]) == (text, [str(key.verifier)])
    with pytest.raises(NoteInvalid):
        opened(note.replace(b"een", b"twee", 1), [key.verifier for key in keys])


@pytest.mark.parametrize(
    "note",
    [
        b"\xff" + NOTE.encode(),
        NOTE.encode("utf-16"),
        NOTE.encode().replace(b"\xe2\x80\x94", b"\xe2\x80"),
        NOTE.encode().replace(b"answer", b"an\xc0\xb3wer"),
        NOTE.encode().replace(b"answer", b"an\xed\xa0\x80swer"),
        NOTE.encode().replace(b"answer", b"an\x7fswer"),
        NOTE.encode("utf-8-sig"),
    ],
)
def test_bytes_that_are_no_text_are_refused(note: bytes) -> None:
    with pytest.raises(NoteInvalid):
        opened(note, [VerifierKey.parse(KEY)])


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
        NOTE + f"— another {SIGNATURE}",
        NOTE + "x\n",
        NOTE + "\n— another AAAAAAA=\n",
        NOTE + "— another\n",
        NOTE + "— another \n",
        NOTE + "— another AAAAAA==\n",
        NOTE + f"—  {SIGNATURE}\n",
        NOTE + f"— an\N{NO-BREAK SPACE}other {SIGNATURE}\n",
        NOTE + f"— another  {SIGNATURE}\n",
        NOTE + f"— another {SIGNATURE} \n",
        NOTE + f"— another {SIGNATURE.replace('/', '_')}\n",
        NOTE + f"— another {SIGNATURE[:40]}\r{SIGNATURE[40:]}\n",
        NOTE + f"— another {SIGNATURE}٤\n",
        NOTE.replace("— ", "— — "),
        NOTE.replace("— ", "– "),
        NOTE.replace("PeterNeumann", "peterneumann"),
        NOTE.replace("PeterNeumann", "PeterNeumann\u0301"),
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("\n\n", "\n\n\n"),
        NOTE.replace("\n\n", "\n \n"),
        NOTE.replace("\n\n", "\u2028\u2028"),
        NOTE[len(TEXT) :],
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


@settings(max_examples=500)
@given(st.lists(PIECES | st.text(st.characters(), max_size=3), max_size=12).map("".join))
def test_what_is_read_of_any_pieces_is_written_the_same_or_refused(text: str) -> None:
    with contextlib.suppress(NoteInvalid):
        assert Checkpoint.parse(text).text == text
    with contextlib.suppress(NoteInvalid):
        assert str(VerifierKey.parse(text)) == text
    with contextlib.suppress(NoteInvalid):
        assert opened(text.encode("utf-8", "surrogatepass"), [VerifierKey.parse(KEY)]) == (TEXT, [KEY])


@given(st.text(st.characters(), max_size=12), st.binary(min_size=32, max_size=32), st.binary(max_size=4))
def test_any_name_beside_a_sound_key_is_a_key_of_that_name_or_refused(name: str, public: bytes, key_id: bytes) -> None:
    encoded = base64.b64encode(ED25519 + public).decode()
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(f"{name}+{key_id.hex()}+{encoded}")
    with contextlib.suppress(NoteInvalid):
        text = str(VerifierKey(name, public))
        assert VerifierKey.parse(text) == VerifierKey(name, public)


@given(SEEN, st.integers(0, 10**19 - 1), st.binary(min_size=32, max_size=32), st.lists(LINES, max_size=3).map(tuple))
def test_every_checkpoint_is_read_as_it_was_written(
    origin: str, size: int, root: bytes, extensions: tuple[str, ...]
) -> None:
    checkpoint = Checkpoint(origin, size, root, extensions)
    assert Checkpoint.parse(checkpoint.text) == checkpoint
    key = key_of()
    text, _ = opened(signed(checkpoint.text, [key]).encode(), [key.verifier])
    assert Checkpoint.parse(text) == checkpoint


@pytest.mark.parametrize("extensions", [(), ("een", "twee drie")])
def test_a_checkpoint_is_its_lines(extensions: tuple[str, ...]) -> None:
    checkpoint = Checkpoint("example.com/log", 42, ROOT, extensions)
    assert Checkpoint.parse(checkpoint.text) == checkpoint
    lines = ["example.com/log", "42", ENCODED_ROOT, *extensions]
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
        ("42", "4_2"),
        ("42", " 42"),
        ("42", "42 "),
        ("42", "42.0"),
        ("42", "4e2"),
        ("42", "0x2a"),
        ("42", "00"),
        ("42", "-0"),
        ("42", "²"),
        ("42\n", ""),
        ("42\n", "42\n42\n"),
        ("AAEC", ""),
        ("AAEC", "AAE-"),
        ("AAEC", "AA EC"),
        ("AAEC", " AAEC"),
        (ENCODED_ROOT, ""),
        (ENCODED_ROOT, ROOT.hex()),
        (ENCODED_ROOT, "===="),
        (f"{ENCODED_ROOT}\n", ""),
        ("8=\n", "8=\neen\n\n"),
        ("8=\n", "8=\n\neen\n"),
        ("8=\n", "8=\neen"),
        ("8=\n", "8=\neen\t\n"),
        ("8=\n", "8=\n\udc80\n"),
        ("example.com/log", "\ud800"),
        ("example.com/log", "example\0"),
        ("example.com/log", "\nexample.com/log"),
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
        KEY + "\n",
        KEY + "+",
        KEY.replace("c74f20a3", "C74F20A3"),
        KEY.replace("c74f20a3", "c74f20a"),
        KEY.replace("c74f20a3", ""),
        KEY.replace("c74f20a3", "0xc74f20a3"),
        KEY.replace("PeterNeumann", "peterneumann"),
        KEY.replace("PeterNeumann", "Peter Neumann"),
        KEY.replace("PeterNeumann", ""),
        KEY.replace("PeterNeumann", "\udcff"),
        KEY.replace("PeterNeumann", "\ud83d\ude00"),
        KEY.replace("/LDE", "_LDE"),
        KEY.replace("TW", "TX"),
        KEY.replace("TW", "TW=="),
        KEY.replace("+ARpc", "+Axpc"),
        "naam+00000000+AQ==",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "a\t", "a\u2003", "a\x85", "a\0", "a\ud800", "\udc80"])
def test_a_name_that_could_be_read_otherwise_is_no_keys_name(name: str) -> None:
    with pytest.raises(NoteInvalid, match="not a key of a name"):
        signed("een\n", [key_of(name)])
    with pytest.raises(NoteInvalid, match="not a key of a name"):
        VerifierKey(name, ROOT)


@pytest.mark.parametrize("public", [b"", ROOT[1:], ROOT + b"x"])
def test_a_key_has_thirty_two_bytes(public: bytes) -> None:
    with pytest.raises(NoteInvalid):
        VerifierKey("example.com/log", public)
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(f"example.com/log+00000000+{base64.b64encode(ED25519 + public).decode()}")


@pytest.mark.parametrize("text", ["", "zonder einde", "een\rtwee\n", "nul\0\n", "\x7f\n", "\ud800\n"])
def test_what_is_no_text_is_not_signed(text: str) -> None:
    with pytest.raises(NoteInvalid):
        signed(text, [key_of()])
