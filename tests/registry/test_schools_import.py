"""An import stores all schools that DUO lists, or none; a repeated import changes nothing."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlmodel import col, select

from api.registry import schools_import
from api.registry.schools_import import Counts, ImportRefused, ImportReport, import_files
from api.store.store import Store
from models.consents.schools import Board, Location, School
from models.log.events import Event, Revision
from models.vocabulary.event_kinds import EventKind

pytestmark = pytest.mark.both_stores

COLUMNS = (
    "INSTELLINGSCODE",
    "VESTIGINGSCODE",
    "VESTIGINGSNAAM",
    "HUISNUMMER-TOEVOEGING",
    "BEVOEGD GEZAG NUMMER",
    "BEVOEGD GEZAG NAAM",
)


def _row(code: str, name: str = "De Brug", *, house: str = "", board: str = "", board_name: str = "") -> str:
    return ";".join([code[:4], code, name, house, board, board_name])


class Files:
    """The files that a test imports, in a folder of its own."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder, store

    def write(self, name: str, *rows: str) -> Path:
        path = self.folder / name
        path.write_bytes("\r\n".join([";".join(COLUMNS), *rows, ""]).encode("cp1252"))
        return path

    async def bring_in(
        self, files: Mapping[str, list[str]], *, allow_mass_removal: bool = False, kind: str | None = None
    ) -> ImportReport:
        paths = [self.write(name, *rows) for name, rows in files.items()]
        return await import_files(self.store, paths, kind=kind, allow_mass_removal=allow_mass_removal)

    async def school(self, brin: str) -> School:
        async with self.store.reading() as session:
            return await session.get_one(School, brin)

    async def location(self, code: str) -> Location:
        async with self.store.reading() as session:
            return await session.get_one(Location, code)

    async def revision(self) -> tuple[int, int]:
        async with self.store.reading() as session:
            row = await session.get_one(Revision, 1)
            return row.revision, row.events


@pytest.fixture
def files(tmp_path: Path, store: Store) -> Files:
    return Files(tmp_path, store)


async def test_an_import_adds_boards_schools_and_locations_in_one_revision_with_one_event(files: Files) -> None:
    report = await files.bring_in(
        {
            "bo.csv": [_row("16SW00", "Café €", board="41785", board_name="Stichting"), _row("16SW01")],
            "vo.csv": [_row("17TX00")],
        }
    )
    assert report.locations == Counts(added=3)
    assert report.schools == Counts(added=2)
    assert report.boards == Counts(added=1)
    assert (report.rows, report.repeated, report.refused, report.revision) == (3, 0, 0, 1)
    assert await files.revision() == (1, 1)
    location = await files.location("16SW00")
    assert (location.name, location.kinds, location.gone_at, location.revision) == ("Café €", ["bo"], None, 1)
    assert (await files.school("16SW")).board_number == "41785"
    async with files.store.reading() as session:
        assert (await session.get_one(Board, "41785")).name == "Stichting"
        event = await session.get_one(Event, 1)
    assert (event.kind, event.actor_role) == (EventKind.SCHOOLS_IMPORTED, "system")
    assert event.state["kinds"] == ["bo", "vo"]
    assert event.state["locations"] == {"added": 3, "changed": 0, "unchanged": 0, "gone": 0}


async def test_the_same_files_again_change_nothing_and_take_no_revision(files: Files) -> None:
    listed = {
        "bo.csv": [_row("16SW00", board="41785", board_name="Stichting"), _row("17TX00")],
        "so.csv": [_row("16SW00")],
    }
    await files.bring_in(listed)
    report = await files.bring_in(listed)
    assert report.locations == Counts(unchanged=2)
    assert report.schools == Counts(unchanged=2)
    assert report.boards == Counts(unchanged=1)
    assert report.revision is None
    assert "nothing changed" in str(report)
    assert await files.revision() == (1, 1)


async def test_of_a_repeated_location_the_first_row_counts(files: Files) -> None:
    report = await files.bring_in(
        {"bo.csv": [_row("16SW00", house="1"), _row("16SW00", house="2"), _row("16SW00", house="1")]}
    )
    assert (report.rows, report.repeated) == (3, 2)
    assert report.lines()[0] == "bo.csv (bo): 3 read, 2 repeated"
    assert (await files.location("16SW00")).house_number == "1"


async def test_a_school_is_named_after_its_main_location_or_else_its_lowest(files: Files) -> None:
    await files.bring_in(
        {"bo.csv": [_row("16SW02", "Twee"), _row("16SW00", "Hoofd"), _row("17TX05", "Vijf"), _row("17TX03", "Drie")]}
    )
    assert (await files.school("16SW")).name == "Hoofd"
    assert (await files.school("17TX")).name == "Drie"


async def test_a_school_keeps_the_name_of_a_main_location_that_another_kind_of_file_lists(files: Files) -> None:
    await files.bring_in({"bo.csv": [_row("16SW00", "Hoofd")]})
    report = await files.bring_in({"vo.csv": [_row("16SW01", "Dependance")]})
    assert (await files.school("16SW")).name == "Hoofd"
    assert report.schools == Counts(unchanged=1)


async def test_only_what_changed_gets_the_new_revision(files: Files) -> None:
    await files.bring_in({"bo.csv": [_row("16SW00"), _row("16SW01"), _row("17TX00")]})
    report = await files.bring_in({"bo.csv": [_row("16SW00"), _row("16SW01", house="7"), _row("17TX00", "De Poort")]})
    assert report.locations == Counts(changed=2, unchanged=1)
    assert report.schools == Counts(changed=1, unchanged=1)
    assert [(await files.location(code)).revision for code in ("16SW00", "16SW01", "17TX00")] == [1, 2, 2]
    assert [(await files.school(brin)).revision for brin in ("16SW", "17TX")] == [1, 2]
    assert (await files.location("16SW01")).house_number == "7"


async def test_a_location_that_is_listed_no_more_is_marked_and_its_school_with_the_last_one(files: Files) -> None:
    await files.bring_in({"bo.csv": [_row("16SW00"), _row("16SW01"), _row("17TX00")]})
    report = await files.bring_in({"bo.csv": [_row("16SW00")]})
    assert report.locations == Counts(unchanged=1, gone=2)
    assert report.schools == Counts(unchanged=1, gone=1)
    gone, school = await files.location("17TX00"), await files.school("17TX")
    assert gone.gone_at is not None
    assert (gone.kinds, gone.name, gone.revision) == ([], "De Brug", 2)
    assert (school.gone_at, school.revision) == (gone.gone_at, 2)
    assert (await files.school("16SW")).gone_at is None
    assert (await files.bring_in({"bo.csv": [_row("16SW00")]})).revision is None


async def test_a_location_that_is_listed_again_is_back_and_so_is_its_school(files: Files) -> None:
    for rows in ([_row("16SW00"), _row("17TX00")], [_row("16SW00")]):
        await files.bring_in({"bo.csv": rows})
    report = await files.bring_in({"vo.csv": [_row("17TX00")]})
    assert report.locations == report.schools == Counts(changed=1)
    location = await files.location("17TX00")
    assert (location.gone_at, location.kinds, location.revision) == (None, ["vo"], 3)
    assert (await files.school("17TX")).gone_at is None


async def test_an_import_speaks_only_for_its_kinds_of_file(files: Files) -> None:
    await files.bring_in({"bo.csv": [_row("16SW00"), _row("17TX00")]})
    report = await files.bring_in({"vo.csv": [_row("18AB00")]})
    assert report.locations == Counts(added=1)
    assert (await files.location("16SW00")).gone_at is None


async def test_a_location_is_gone_only_when_no_kind_of_file_lists_it(files: Files) -> None:
    await files.bring_in({"bo.csv": [_row("16SW00"), _row("17TX00")], "so.csv": [_row("16SW00"), _row("17TX00")]})
    assert (await files.location("16SW00")).kinds == ["bo", "so"]
    report = await files.bring_in({"bo.csv": [_row("17TX00")]})
    assert report.locations == Counts(changed=1, unchanged=1)
    assert (await files.location("16SW00")).kinds == ["so"]
    assert (await files.bring_in({"so.csv": [_row("17TX00")]})).locations == Counts(unchanged=1, gone=1)


async def test_a_school_that_changes_board_gets_the_new_revision(files: Files) -> None:
    await files.bring_in({"bo.csv": [_row("16SW00", board="41785")]})
    report = await files.bring_in({"bo.csv": [_row("16SW00", board="12345", board_name="Nieuw")]})
    assert (report.locations, report.schools) == (Counts(unchanged=1), Counts(changed=1))
    school = await files.school("16SW")
    assert (school.board_number, school.revision) == ("12345", 2)


async def test_a_file_that_leaves_the_board_empty_says_nothing_about_it(files: Files) -> None:
    await files.bring_in({"bo.csv": [_row("16SW00", board="41785", board_name="Stichting")]})
    assert (await files.bring_in({"bo.csv": [_row("16SW00", board="41785")]})).revision is None
    assert (await files.bring_in({"bo.csv": [_row("16SW00")]})).revision is None
    assert (await files.school("16SW")).board_number == "41785"


async def test_a_school_under_two_boards_at_once_is_refused(files: Files) -> None:
    with pytest.raises(ImportRefused) as caught:
        await files.bring_in({"bo.csv": [_row("16SW00", board="41785")], "so.csv": [_row("16SW01", board="12345")]})
    (refused,) = caught.value.refused
    assert str(refused) == "so.csv line 2: school 16SW is under board 12345 here, under 41785 on a row before"


async def test_one_refused_line_in_one_file_keeps_everything_out(files: Files) -> None:
    with pytest.raises(ImportRefused) as caught:
        await files.bring_in({"bo.csv": [_row("16SW00")], "vo.csv": [_row("17TX00"), _row("17tx0")], "so.csv": ["x"]})
    assert [(line.file, line.line) for line in caught.value.refused] == [("vo.csv", 3), ("so.csv", 2)]
    assert await files.revision() == (0, 0)
    async with files.store.reading() as session:
        assert (await session.exec(select(School))).all() == []


async def test_a_write_that_fails_halfway_leaves_no_half_import(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schools_import, "ROWS_AT_ONCE", 1)
    path = files.write("bo.csv", _row("16SW00"), _row("17TX00"))

    def fail_on_the_last_row(done: int, total: int) -> None:
        if total > 3 and done == total:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await import_files(files.store, [path], on_progress=fail_on_the_last_row)
    assert await files.revision() == (0, 0)
    async with files.store.reading() as session:
        assert (await session.exec(select(School))).all() == []


async def test_a_file_that_cannot_be_read_is_refused_by_name(files: Files, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"nowhere-bo.csv: it cannot be read: No such file") as caught:
        await import_files(files.store, [tmp_path / "nowhere-bo.csv", tmp_path])
    assert len(caught.value.refused) == 2
    with pytest.raises(ImportRefused, match=r"no file was named"):
        await import_files(files.store, [])


async def test_a_truncated_file_does_not_switch_off_schools(files: Files) -> None:
    rows = [_row(f"{number:02}AB00") for number in range(100)] + [_row("16SW00")]
    await files.bring_in({"bo.csv": rows, "vo.csv": [_row("17TX00")]})
    with pytest.raises(ImportRefused, match=r"11 of the 101 bo locations would be gone, more than 10%"):
        await files.bring_in({"bo.csv": rows[:90], "vo.csv": [_row("17TX00")]})
    assert await files.revision() == (1, 1)
    assert (await files.bring_in({"bo.csv": rows[:91]})).locations == Counts(unchanged=91, gone=10)


async def test_a_mass_removal_that_is_meant_goes_through(files: Files) -> None:
    rows = [_row(f"{number:02}AB00") for number in range(100)] + [_row("16SW00")]
    await files.bring_in({"bo.csv": rows})
    report = await files.bring_in({"bo.csv": rows[:1]}, allow_mass_removal=True)
    assert report.locations == Counts(unchanged=1, gone=100)


async def test_a_small_kind_may_lose_any_share(files: Files) -> None:
    rows = [_row(f"{number:02}AB00") for number in range(100)]
    await files.bring_in({"register.csv": rows}, kind="demo")
    assert (await files.bring_in({"register.csv": rows[:1]}, kind="demo")).locations.gone == 99


async def test_progress_ends_at_its_total(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schools_import, "ROWS_AT_ONCE", 1)
    told: list[tuple[int, int]] = []
    path = files.write("bo.csv", _row("16SW00"), _row("16SW01"))
    await import_files(files.store, [path], on_progress=lambda done, total: told.append((done, total)))
    assert told == [(3, 3), (4, 6), (5, 6), (6, 6)]


@pytest.fixture
def duo_files() -> list[Path]:
    """DUO's three files of 22 November 2024, which we may not publish."""
    if "DUO_DATA_DIR" not in os.environ:
        pytest.skip("DUO_DATA_DIR is not set: the folder with DUO's three files of 22 November 2024")
    return sorted(Path(os.environ["DUO_DATA_DIR"]).glob("duo-vestigingen-??-20241122.csv"))


async def test_the_whole_of_duo_is_imported_once(store: Store, duo_files: list[Path]) -> None:
    report = await import_files(store, duo_files)
    assert (report.rows, report.repeated) == (8_717, 95)
    assert (report.locations, report.schools) == (Counts(added=8_622), Counts(added=7_161))
    again = await import_files(store, duo_files)
    assert (again.locations, again.schools) == (Counts(unchanged=8_622), Counts(unchanged=7_161))
    assert again.revision is None
    async with store.reading() as session:
        mains = set((await session.exec(select(Location.brin).where(col(Location.code).endswith("00")))).all())
    assert 7_161 - len(mains) == 5
