"""The register of processing as a table and as a document: all of it is in there, and nothing in it does harm."""

import base64
import csv
import hashlib
import io
import re
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, Final, cast

import pypdf
import pytest
from reportlab.pdfbase.pdfmetrics import stringWidth

from api.processing_register import pdf
from api.processing_register.csv_table import cell, csv_of
from api.processing_register.document import document_of
from api.processing_register.pdf import pdf_of as printed_document
from api.processing_register.pdf_style import BOLD, MARGIN, SIDE, SMALL, Typesetter, printed
from api.processing_register.text import SAID, TO_STATE, of_processing, of_register
from models.consents.partners import RecipientRole, Stage
from models.decision.grant_status import Status
from models.past.processing_register import (
    AgreementThen,
    CategoryOfData,
    Controller,
    Processing,
    PurposeOfProcessing,
    Recipient,
    Register,
    SubProcessorThen,
    Version,
)
from models.past.register_texts import BOARD_OF_THEN, BY_THE_SCHOOL, DATA_SUBJECTS, INSTRUCTION, SECURITY
from tests.processing_register.test_processing_register import register
from tests.worlds.world import World

AT: Final = datetime(2026, 9, 1, 8, tzinfo=UTC)
HOSTILE: Final = (
    "=1+1",
    "+31 20 1234567",
    "-2+3",
    "@SUM(A1:A9)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    " \u00a0=1+1",
    "\u200b=1+1",
    "\ufeff@A1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    " \uff20A1",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("https://evil.example";"klik")',
)
NAMES: Final = (
    *HOSTILE,
    'Een "naam"; met | alles, erin',
    "Twee\r\nregels",
    "<b>vet</b> &amp; <para>&lt;</para> <font color='[[[__import__]]]'>",
    "Ştefan Żółć & Ðorđe Nguyễn Θεός Жук Ĳsselmeer ﬁ",
    "日本語 עברית العربية 🦊",
    "\u202eanders om\u2066",
    "n\u0303a\u0308\u0301",
    "\ud7ff\ufffd\uffff\U0010ffff",
    "%s %(x)s {0} \\n \\",
    "W" * 200,
    "🦊" * 200,
)


def processing(name: str = "Uitgeverij", **changed: Any) -> Processing:
    """A processing in which every name is this one."""
    agreement = AgreementThen(
        "00000000-0000-0000-0000-00000000000a",
        "4.0",
        "1.2",
        date(2026, 8, 1),
        AT,
        None,
        in_force=False,
        replaced_by=Version("00000000-0000-0000-0000-00000000000b", "5.0", "2.0"),
        categories=(name, "leerprestaties"),
        sub_processors=(SubProcessorThen(name, "US"), SubProcessorThen("Hosting", "NL")),
        storage_countries=("NL", "GB"),
        outside_eea=("GB", f"{name} (US)"),
        retention_days=90,
    )
    made = Processing(
        grant_id="00000000-0000-0000-0000-000000000001",
        status=Status.SUSPENDED,
        location="16SW01",
        location_name=name,
        recipient=Recipient(name, "01234567", "rekenrijk", name, RecipientRole.PROCESSOR, Stage.LIVE, AT),
        purposes=(PurposeOfProcessing("toegang-en-identificatie", "Toegang geven"),),
        instruction=INSTRUCTION[RecipientRole.PROCESSOR],
        lawful_basis=BY_THE_SCHOOL,
        data_subjects=tuple(DATA_SUBJECTS.values()),
        data=(CategoryOfData("leerling.pseudoniem", "Een leerling herkennen.", ("@eckid", "@key"), {"@key": "soms"}),),
        agreement=agreement,
        security=SECURITY,
        granted_at=AT,
        valid_from=AT,
        valid_until=None,
        suspended_until=AT.replace(month=10),
        reconfirm_by=AT.replace(month=11),
        ended_at=None,
        retention_days=90,
        retention_from=None,
        delete_by=None,
    )
    return replace(made, **changed)


def ended(name: str = "Uitgeverij") -> Processing:
    grants = ("00000000-0000-0000-0000-000000000002",)
    return processing(
        name,
        status=Status.REVOKED,
        ended_at=AT,
        retention_from=AT,
        delete_by=date(2026, 11, 30),
        continued_by=grants,
        reconfirm_by=None,
    )


def register_with(*processings: Processing, past: tuple[Processing, ...] = (), name: str = "De School") -> Register:
    return Register(
        controller=Controller("16SW", name, "10001", name, BOARD_OF_THEN, {}),
        at=AT,
        drawn_up_at=AT.replace(year=2027),
        last_event=42,
        contact=BY_THE_SCHOOL,
        joint_controllers=BY_THE_SCHOOL,
        data_protection_officer=BY_THE_SCHOOL,
        security=BY_THE_SCHOOL,
        processings=processings,
        ended=past,
    )


def pdf_of(register: Register) -> bytes:
    return printed_document(document_of(register))


def read_table(content: bytes) -> list[dict[str, str]]:
    text = content.decode("utf-8-sig")
    assert text.count("\n") == text.count("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=";", strict=True))


def read_document(content: bytes) -> pypdf.PdfReader:
    return pypdf.PdfReader(io.BytesIO(content), strict=True)


def text_of(content: bytes) -> str:
    """All text of the document, without what breaking lines and pages does to it."""
    pages = [page.extract_text() for page in read_document(content).pages]
    return bare("".join(re.sub(r"16SW · stand per .*van\s+\d+", "", page, flags=re.DOTALL) for page in pages))


def bare(text: str) -> str:
    return re.sub(r"\s", "", text)


# -- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_spreadsheet_would_take_for_a_formula_begins_with_an_apostrophe(text: str) -> None:
    assert cell(text) == "'" + re.sub(r"[\t\r\n]", " ", text)


@pytest.mark.parametrize("text", ["", "De Boom", "a=b", "1-2", "2026-09-01 10:00", "e-mail@x", "é", "  Boom", "'"])
def test_other_cells_stay_as_they_are(text: str) -> None:
    assert cell(text) == text


def test_a_cell_is_one_line() -> None:
    assert cell("a\r\nb\nc\u2028d\x85e\tf\vg") == "a b c d e f g"


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_every_value_of_a_row_is_read_back_from_the_table(name: str) -> None:
    shown = register_with(processing(name), past=(ended(name),), name=name)
    content = csv_of(shown)
    assert content.startswith(b"\xef\xbb\xbf")
    rows = read_table(content)
    assert len(rows) == 2
    for row, each in zip(rows, (*shown.processings, *shown.ended), strict=True):
        lines = [*of_register(shown), *of_processing(shown.controller, each)]
        assert row == {line.nl: cell(" | ".join(line.values)) for line in lines}
        assert not any(value.lstrip().startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20")) for value in row.values())
        assert not any(set(value) & set("\r\n\t") for value in row.values())


def test_every_cell_is_quoted() -> None:
    lines = csv_of(register_with(processing())).decode("utf-8-sig").removesuffix("\r\n").split("\r\n")
    assert len(lines) == 2
    assert all(re.fullmatch(r'"[^"]*"(;"[^"]*")*', line) for line in lines)


def test_an_empty_table_has_its_headings() -> None:
    (headings,) = csv.reader(io.StringIO(csv_of(register_with()).decode("utf-8-sig"), newline=""), delimiter=";")
    assert headings[-len(SAID) :] == [nl for nl, _, _ in SAID]


# -- the document -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_every_value_is_read_back_from_the_document_whatever_characters_it_has(name: str) -> None:
    shown = register_with(processing(name), past=(ended(name),), name=name)
    text = text_of(pdf_of(shown))
    for each in (*shown.processings, *shown.ended):
        for line in (*of_register(shown), *of_processing(shown.controller, each)):
            for value in (line.nl, line.en, *line.values) if line.values else ():
                assert bare(printed(value)) in text, (line.nl, value)
    assert bare("Een leerling herkennen.") in text


def test_a_character_that_no_font_has_or_nobody_sees_is_told_by_its_number() -> None:
    text = text_of(pdf_of(register_with(name="日 \u202eboos \U0001f98a Żółć")))
    assert "[U+65E5][U+202E]boos[U+1F98A]Żółć" in text


def test_long_lists_go_on_over_pages_and_lose_nothing() -> None:
    categories = tuple(f"{number:03} {'lang woord ' * 17}".strip() for number in range(100))
    processors = tuple(SubProcessorThen(f"{number:03}{'🦊' * 197}", "NL") for number in range(100))
    one = processing()
    assert one.agreement is not None
    agreement = replace(
        one.agreement, categories=categories, sub_processors=processors, storage_countries=("NL",) * 100
    )
    shown = register_with(replace(one, agreement=agreement))
    text = text_of(pdf_of(shown))
    assert all(bare(each) in text for each in categories)
    assert all(f"{number:03}{'[U+1F98A]' * 197}(NL)" in text for number in range(100))


def test_the_document_says_what_it_is_in_which_language_and_how_many_pages_there_are() -> None:
    reader = read_document(pdf_of(register_with(*[processing()] * 5, past=(ended(),) * 2)))
    assert reader.metadata is not None
    assert reader.metadata.title == "Register van verwerkingsactiviteiten De School (16SW)"
    assert str(reader.root_object["/Lang"]) == "nl"
    pages = [page.extract_text() for page in reader.pages]
    assert len(pages) > 3
    for number, text in enumerate(pages, 1):
        assert bare(f"Pagina {number} van {len(pages)}") in bare(text)
        assert "16SW · stand per 2026-09-01 10:00 · logboek t/m nr. 42 · opgemaakt 2027-09-01 10:00" in text
    assert all(round(float(page.mediabox.height / page.mediabox.width), 3) == 1.414 for page in reader.pages)
    assert "2027-09-01 10:00:00+02:00" in pages[0]


def test_the_outline_names_each_processing_and_the_summary_leads_there() -> None:
    reader = read_document(pdf_of(register_with(processing("Een"), processing("日本 <b>"), past=(ended("Drie"),))))
    outline: Any = reader.outline
    assert [each.title for each in outline if not isinstance(each, list)] == [
        "Verwerkingen",
        "Beëindigd",
        "Toelichting op de gegevens",
    ]
    assert [[each.title for each in part] for part in outline if isinstance(part, list)] == [
        ["1. Een – Een", "2. [U+65E5][U+672C] <b> – [U+65E5][U+672C] <b>"],
        ["3. Drie – Drie"],
    ]
    for part in outline:
        for entry in part if isinstance(part, list) else ():
            page = reader.get_destination_page_number(entry)
            assert page is not None
            assert entry.title[:8] in reader.pages[page].extract_text()
    links = [each.get_object() for page in reader.pages for each in page.get("/Annots", ())]
    assert [str(each["/Subtype"]) for each in links] == ["/Link"] * 3
    assert "/DisplayDocTitle" in cast(Any, reader.root_object["/ViewerPreferences"])


def test_a_processing_stands_on_one_page_where_that_has_room_for_it() -> None:
    reader = read_document(pdf_of(register_with(*(processing(f"Naam {number}") for number in range(4)))))
    pages = [page.extract_text() for page in reader.pages]
    for number in range(1, 5):
        (page,) = (text for text in pages if f"\n{number}. Naam" in f"\n{text}")
        assert bare("Geldig tot Valid until") in bare(page)


def test_no_heading_is_wider_than_its_column() -> None:
    Typesetter()
    lines = [*of_register(register_with()), *of_processing(register_with().controller, ended())]
    words = {word for line in lines for word in line.nl.split()}
    assert max(stringWidth(word, BOLD, SMALL.fontSize) for word in words) < pdf._LEFT - 2 * SIDE


def test_what_the_school_must_state_has_room_to_be_filled_in() -> None:
    text = text_of(pdf_of(register_with(processing())))
    for heading in ("Contact details", "Joint controllers", "Data protection officer", "Security by the school"):
        assert bare(f"{heading} {TO_STATE}") + "." * 60 in text, heading
    assert bare(f"Lawful basis (GDPR art. 6(1)) {TO_STATE} ....") in text
    # A table is filled in with the keyboard.
    assert "..." not in csv_of(register_with(processing())).decode()


def test_a_word_that_no_line_holds_is_parted_and_stays_on_the_page() -> None:
    for page in read_document(pdf_of(register_with(processing("W" * 200)))).pages:
        edges: list[float] = []
        page.extract_text(visitor_text=lambda text, _, matrix, *__, found=edges: found.append(matrix[4]))
        assert max(edges) < page.mediabox.width - MARGIN


def test_an_empty_document_says_that_there_is_nothing() -> None:
    text = text_of(pdf_of(register_with()))
    assert text.count(bare("Er zijn er op dit moment geen.")) == 2


def test_three_hundred_processings_take_seconds() -> None:
    shown = register_with(*(processing(f"Uitgeverij {number}") for number in range(300)))
    began = time.process_time()
    reader = read_document(pdf_of(shown))
    assert time.process_time() - began < 30
    summary = bare("".join(page.extract_text() for page in reader.pages[:14]))
    assert all(f"{number}Uitgeverij{number - 1}(KvK" in summary for number in (1, 150, 300))
    assert bare("300. Uitgeverij 299") in bare("".join(page.extract_text() for page in reader.pages[-4:]))


# -- over the wire ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "media_type"), [("csv", "text/csv; charset=utf-8"), ("pdf", "application/pdf")])
async def test_both_are_downloads_that_are_never_shown_in_place(ending: str, media_type: str, world: World) -> None:
    world.clock.now = datetime(2026, 9, 2, 22, 30, tzinfo=UTC)
    answer = await world.administer("GET", f"/register.{ending}")
    digest = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
    assert answer.status_code == 200
    told = {name: answer.headers[name] for name in answer.headers if name.startswith(("content", "x-content", "repr"))}
    assert told == {
        "content-type": media_type,
        "content-length": str(len(answer.content)),
        "content-disposition": (
            f"attachment; filename=\"file.{ending}\"; filename*=UTF-8''verwerkingsregister-16SW-2026-09-03.{ending}"
        ),
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
        "repr-digest": f"sha-256=:{digest}:",
    }


@pytest.mark.empty_world
async def test_the_table_and_the_document_say_what_the_register_says(world: World) -> None:
    await world.operate("POST", "/v1/partners", {"kvkNumber": "90000001", "name": "=Żółć <b>& zonen"})
    await world.register()
    await world.granted()
    revoked = await world.granted(location="16SW01")
    await world.step(revoked["grantId"], "revoke")
    past = world.clock.now
    world.clock.advance(hours=1)
    await world.operate("PATCH", "/v1/partners/90000001", {"name": "Heel iets anders"})
    shown = await register(world, past)
    query = "?at=2026-09-01T08:00:00Z"
    rows = read_table((await world.administer("GET", f"/register.csv{query}")).content)
    text = text_of((await world.administer("GET", f"/register.pdf{query}")).content)
    listed = [*shown["processings"], *shown["ended"]]
    assert [row["Toestemming"] for row in rows] == [each["grantId"] for each in listed]
    assert {row["Ontvanger"] for row in rows} == {"'=Żółć <b>& zonen (KvK 90000001)"}
    assert {row["Laatste gebeurtenis in het logboek"] for row in rows} == {str(shown["lastEvent"])}
    for each in listed:
        agreement = each["agreement"]
        for value in (
            each["grantId"],
            "=Żółć <b>& zonen",
            *(purpose["title"] for purpose in each["purposes"]),
            *(field for data in each["data"] for field in data["fields"]),
            *(data["description"] for data in each["data"]),
            *agreement["categories"],
            agreement["agreementId"],
            agreement["signedOn"],
            each["instruction"]["nl"],
            each["deleteBy"] or "",
        ):
            assert bare(value) in text, value
    assert "Heelietsanders" not in text
