"""A store whose schema is not at the head of the migrations is refused at the start."""

import asyncio
from pathlib import Path

import pytest

from api.app import create_app
from api.settings import Mode, Settings
from api.startup import NotReadyToServe
from api.store.migrations import head, migrate, revision_of
from api.store.store import Store
from tests.cli.commands import run, run_script
from tests.store.test_migrations import NOT_AT_HEAD

pytestmark = pytest.mark.both_stores


@pytest.mark.parametrize("state", NOT_AT_HEAD)
async def test_a_store_that_is_not_at_the_head_is_not_served(store_url: str, tmp_path: Path, state: str) -> None:
    await asyncio.to_thread(NOT_AT_HEAD[state], store_url)
    service = create_app(Settings(mode=Mode.TEST, database_url=store_url, var_dir=tmp_path))
    with pytest.raises(NotReadyToServe, match="privacy-manager migrate"):
        async with service.running():
            pytest.fail("it served")
    await service.services.of(Store).aclose()


@pytest.mark.parametrize("state", NOT_AT_HEAD)
def test_serve_says_in_one_line_that_the_store_is_not_at_the_head(store_url: str, tmp_path: Path, state: str) -> None:
    NOT_AT_HEAD[state](store_url)
    found = "nothing" if state == "at nothing" else "9999"
    refused = run(tmp_path, "serve", "--port", "0", MODE="test", DATABASE_URL=store_url)
    assert (refused.returncode, refused.stdout) == (1, "")
    [line] = refused.stderr.splitlines()
    assert line.startswith("privacy-manager: ")
    assert f"is at {found}, " in line
    assert str(head()) in line
    assert "privacy-manager migrate" in line


def test_serve_does_not_make_a_store_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "privacy-manager.db"
    url = f"sqlite+aiosqlite:///{path}"
    refused = run_script(tmp_path, "serve", "--port", "0", MODE="test", DATABASE_URL=url)
    assert refused.returncode == 1
    [line] = refused.stderr.splitlines()
    assert "privacy-manager migrate" in line
    assert not path.exists()


async def test_the_revision_of_a_store_is_what_it_was_migrated_to(store: Store, store_url: str) -> None:
    assert await revision_of(store) == head()
    await asyncio.to_thread(migrate, store_url, "base")
    assert await revision_of(store) is None
