"""A file of DUO is accepted or refused as a whole; bad lines are numbered as in an editor."""

import csv
import io
import time
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.registry import duo
from api.registry.duo import ImportRefused, ListedBoard, ListedLocation, Row, kind_of, parse

HEADER = "INSTELLINGSCODE;VESTIGINGSCODE;VESTIGINGSNAAM;PLAATSNAAM"
FULL_HEADER = [*duo.REQUIRED, duo.BOARD_NUMBER, duo.BOARD_NAME, *duo.OPTIONAL]


def _refused(data: bytes | str) -> list[str]:
    with pytest.raises(ImportRefused) as caught:
        parse(data.encode() if isinstance(data, str) else data, "file.csv")
    return [str(line) for line in caught.value.refused]


def _lines(*lines: str, end: str = "\r\n") -> str:
    return "".join(line + end for line in lines)


def _names(data: bytes) -> list[str]:
    return [row.location.name for row in parse(data, "file.csv")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("delimiter", [";", ","])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_a_file_reads_the_same_in_each_encoding_delimiter_and_line_ending(
    encoding: str, delimiter: str, end: str
) -> None:
    text = _lines(HEADER, "16SW;16SW00;Café de €uro;ITTERVOORT", end=end).replace(";", delimiter)
    assert parse(text.encode(encoding), "file.csv") == (
        Row(2, ListedLocation("16SW00", "16SW", "Café de €uro", city="ITTERVOORT"), None),
    )


def test_a_header_is_matched_whatever_its_case_spaces_and_quotes() -> None:
    text = _lines(
        ' instellingscode ;"Vestigings code";VESTIGINGSNAAM;bevoegd gezag  nummer', "16SW;16SW00;De Brug;41785"
    )
    (row,) = parse(text.encode(), "file.csv")
    assert row.board == ListedBoard("41785")


def test_columns_that_we_do_not_know_are_passed_over_in_any_order() -> None:
    text = _lines("TELEFOON;VESTIGINGSNAAM;VESTIGINGSCODE;INSTELLINGSCODE", "0475\x01;De Brug;16SW00;16SW")
    assert _names(text.encode()) == ["De Brug"]


def test_quotes_may_hold_delimiters_doubled_quotes_and_line_breaks() -> None:
    text = _lines(HEADER, '16SW;16SW00;"De ""Brug""; noord";X', '16SW;16SW01;"De\r\nBrug";X')
    assert _names(text.encode()) == ['De "Brug"; noord', "De Brug"]


def test_a_line_number_counts_the_line_breaks_inside_quotes_and_blank_lines() -> None:
    text = _lines(HEADER, '16SW;16SW00;"De\r\nBrug";X', "", "16SW;16sw0;De Poort;X")
    assert _refused(text) == ["file.csv line 5: VESTIGINGSCODE '16sw0' is not a BRIN6"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("16sw;16SW00;De Brug;X", "INSTELLINGSCODE '16sw' is not a BRIN4"),
        (";16SW00;De Brug;X", "INSTELLINGSCODE is empty"),
        ("16SW;16SW;De Brug;X", "VESTIGINGSCODE '16SW' is not a BRIN6"),
        ("16SW;16SW٠٠;De Brug;X", "VESTIGINGSCODE '16SW٠٠' is not a BRIN6"),
        ("16SW;17TX00;De Brug;X", "VESTIGINGSCODE '17TX00' is not a location of INSTELLINGSCODE '16SW'"),
        ("16SW;16SW00;  ;X", "VESTIGINGSNAAM is empty"),
        ("16SW;16SW00;De Brug", "the header has 4 columns and this row 3"),
        ("16SW;16SW00;De Brug;X;", "the header has 4 columns and this row 5"),
        (f"16SW;16SW00;{'n' * 201};X", "VESTIGINGSNAAM has 201 characters, more than 200"),
        (f"16SW;16SW00;De Brug;{'n' * 101}", "PLAATSNAAM has 101 characters, more than 100"),
        ("16SW;16SW00;De\tBrug;X", "VESTIGINGSNAAM 'De\\tBrug' holds a control character"),
        ("16SW;16SW00;\x1b[31mDe Brug;X", "VESTIGINGSNAAM '\\x1b[31mDe Brug' holds a control character"),
    ],
)
def test_a_line_that_does_not_fit_is_refused_with_its_number(line: str, message: str) -> None:
    assert _refused(_lines(HEADER, "16SW;16SW01;De Poort;X", line)) == [f"file.csv line 3: {message}"]


def test_a_board_number_is_five_digits() -> None:
    text = _lines("INSTELLINGSCODE;VESTIGINGSCODE;VESTIGINGSNAAM;BEVOEGD GEZAG NUMMER", "16SW;16SW00;De Brug;4178")
    assert _refused(text) == ["file.csv line 2: BEVOEGD GEZAG NUMMER '4178' is not 5 digits"]


def test_a_name_as_long_as_its_column_is_kept_whole() -> None:
    assert _names(_lines(HEADER, f"16SW;16SW00;{'é' * 200};X").encode()) == ["é" * 200]


def test_every_bad_line_is_named_up_to_twenty_and_the_others_are_counted() -> None:
    with pytest.raises(ImportRefused) as caught:
        parse(_lines(HEADER, *["16SW;x;De Brug;X"] * 25).encode(), "file.csv")
    summary, *named, more = str(caught.value).split("\n")
    assert summary == "Nothing was imported. Refused lines: 25."
    assert len(named) == 20
    assert more == "... and 5 more"
    assert [line.line for line in caught.value.refused] == list(range(2, 27))


@pytest.mark.parametrize("rest", ["\r\n16SW;16SW01;De Poort;X\r\n", "\r\n" + "x" * 200_000])
def test_a_quote_that_is_never_closed_is_refused_where_it_opens(rest: str) -> None:
    (message,) = _refused(_lines(HEADER, "16SW;16SW00;De Brug;X") + '16SW;16SW02;"De Poort;X' + rest)
    assert message.startswith("file.csv line 3: cannot be read; is a quote opened here and never closed?")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"\xef\xbb\xbf\r\n", "it is empty"),
        (_lines(HEADER).encode(), "it has a header and no rows"),
        (b"PK\x03\x04rest", "it is a spreadsheet or an archive: save or unpack it as CSV first"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "it is a spreadsheet or an archive: save or unpack it as CSV first"),
        (HEADER.encode("utf-16"), "it is a binary file, not CSV"),
        (HEADER.encode() + b"\n\x81", "it is neither UTF-8 nor Windows-1252 text"),
        (b"\xef\xbb\xbf" + HEADER.encode() + b"\n\xe9", "it is neither UTF-8 nor Windows-1252 text"),
    ],
)
def test_a_file_that_is_no_list_of_schools_is_refused_by_what_it_is(data: bytes, message: str) -> None:
    assert _refused(data) == [f"file.csv: {message}"]


def test_a_file_without_the_needed_columns_is_refused_by_their_names() -> None:
    assert _refused("<!doctype html>\n<p>Not found") == [
        "file.csv line 1: the header lacks INSTELLINGSCODE, VESTIGINGSCODE, VESTIGINGSNAAM"
    ]
    assert _refused(_lines(f"{HEADER};Vestigingsnaam", "16SW;16SW00;De Brug;X;De Poort")) == [
        "file.csv line 1: the header has VESTIGINGSNAAM more than once"
    ]


def test_a_file_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duo, "MAX_BYTES", 1024 * 1024)
    assert _refused(b"x" * (1024 * 1024 + 1)) == ["file.csv: it is larger than 1 MiB"]


def test_a_field_of_spaces_takes_no_time() -> None:
    started = time.monotonic()
    parse(_lines(HEADER, f"16SW;16SW00;De Brug{' ' * 130_000};X").encode(), "file.csv")
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("duo-vestigingen-bo-20241122.csv", "bo"),
        ("SO_2024.CSV", "so"),
        ("02. alle schoolvestigingen basisonderwijs.csv", "bo"),
        ("vestigingen-voortgezet-onderwijs.csv", "vo"),
        ("vestigingen-voortgezet-speciaal-onderwijs.csv", "so"),
        ("mbo-2024.csv", "mbo"),
        ("hbo_wo.csv", "hbowo"),
        ("bo", "bo"),
    ],
)
def test_the_name_of_a_file_tells_its_kind(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_the_kind_that_is_given_counts_before_the_name() -> None:
    assert kind_of("duo-vestigingen-bo.csv", "demo") == "demo"


@pytest.mark.parametrize(("name", "kind"), [("20241122.csv", None), ("bo-en-vo.csv", None), ("bo.csv", "B O")])
def test_a_kind_that_cannot_be_told_is_refused(name: str, kind: str | None) -> None:
    with pytest.raises(ImportRefused, match=r"kind"):
        kind_of(name, kind)


@given(st.binary(), st.sampled_from([b"", b"\xef\xbb\xbf", f"{HEADER}\r\n".encode(), f"{HEADER}\n16SW;".encode()]))
def test_whatever_the_bytes_are_they_are_rows_or_a_refusal(data: bytes, start: bytes) -> None:
    with suppress(ImportRefused):
        assert parse(start + data, "file.csv")


@given(st.text(), st.text())
def test_whatever_the_name_is_it_has_a_kind_or_a_refusal(name: str, kind: str) -> None:
    for given_kind in (None, kind):
        with suppress(ImportRefused):
            assert 1 <= len(kind_of(name, given_kind)) <= 40


_brins = st.from_regex(r"[0-9]{2}[A-Z]{2}", fullmatch=True)
_texts = st.text(st.characters(codec="cp1252", exclude_categories=["Cc"]), max_size=10).map(str.strip)
_optional = _texts.map(lambda text: text or None)


@st.composite
def _rows(draw: st.DrawFn) -> Row:
    brin = draw(_brins)
    code = brin + draw(st.from_regex(r"[0-9]{2}", fullmatch=True))
    fields = {field: draw(_optional) for field in duo.OPTIONAL.values()}
    board = draw(st.none() | st.builds(ListedBoard, st.from_regex(r"[0-9]{5}", fullmatch=True), _optional))
    return Row(0, ListedLocation(code, brin, draw(_texts.filter(bool)), **fields), board)


def _written(rows: Sequence[Row], delimiter: str) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(FULL_HEADER)
    for row in rows:
        location, board = row.location, row.board or ListedBoard("")
        listed = [getattr(location, field) for field in duo.OPTIONAL.values()]
        writer.writerow([location.brin, location.code, location.name, board.number, board.name, *listed])
    return text.getvalue()


@given(
    st.lists(_rows(), min_size=1, max_size=5),
    st.sampled_from([";", ","]),
    st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_rows_that_are_written_are_read_back(rows: list[Row], delimiter: str, encoding: str) -> None:
    read = parse(_written(rows, delimiter).encode(encoding), "file.csv")
    assert [(row.location, row.board) for row in read] == [(row.location, row.board) for row in rows]
    assert [row.line for row in read] == list(range(2, len(rows) + 2))
