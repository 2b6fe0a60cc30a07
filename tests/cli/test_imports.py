"""What a process imports: a command what it needs, and the service nothing that only some installations use."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
#: The libraries of the service's parts, by the part that needs them.
PDF: Final = frozenset({"reportlab", "pymupdf_fonts", "PIL"})
MAIL: Final = frozenset({"aiosmtplib"})
XML: Final = frozenset({"lxml", "xml.etree.ElementTree", "xml.sax"})
MIGRATIONS: Final = frozenset({"alembic"})
COMMANDS: Final = frozenset({"typer", "rich", "api.cli"})
WEBHOOKS: Final = frozenset({"httpcore2", "standardwebhooks"})
WEB: Final = frozenset({"fastapi", "starlette", "uvicorn", "httpx2"})
STORE: Final = frozenset({"sqlalchemy", "sqlmodel", "asyncpg", "aiosqlite", "models.tables"})
SERVICE: Final = frozenset({"api.app", "api.openapi", "limits", "holidays"})

#: Run before the interpreter ends: what was loaded of the names that follow.
_TELL: Final = "import sys; sys.stderr.write(' '.join(sorted(set(sys.argv[1].split(',')) & sys.modules.keys())))"


def loaded(program: str, names: frozenset[str], folder: Path) -> set[str]:
    """Which of these modules a process has loaded after this program."""
    words = [sys.executable, "-c", f"{program}\n{_TELL}", ",".join(sorted(names))]
    settings = {"PATH": os.environ["PATH"], "HOME": str(folder), "PRIVACY_MANAGER_VAR_DIR": str(folder)}
    done = subprocess.run(words, cwd=ROOT, env=settings, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def after_command(*words: str) -> str:
    """The command as the console script runs it."""
    return (
        "import sys\nfrom api.cli import main\n"
        f"given, sys.argv[1:] = sys.argv[1:], {list(words)}\n"
        "try:\n    main.main()\nexcept SystemExit as ended:\n    assert not ended.code, ended.code\n"
        "sys.argv[1:] = given"
    )


@pytest.mark.parametrize(
    "words", [("--help",), ("serve", "--help"), ("verify", "--help"), ("replay", "--help"), ("openapi", "--help")]
)
def test_help_loads_nothing_of_the_service(tmp_path: Path, words: tuple[str, ...]) -> None:
    of_service = (
        PDF | MAIL | XML | MIGRATIONS | WEBHOOKS | WEB | STORE | SERVICE | {"api.settings", "jose", "cryptography"}
    )
    assert loaded(after_command(*words), of_service, tmp_path) == set()


def test_a_token_is_minted_without_the_web_and_the_store(tmp_path: Path) -> None:
    not_needed = PDF | MAIL | XML | MIGRATIONS | WEBHOOKS | WEB | STORE | SERVICE
    assert loaded(after_command("token", "--role", "gateway"), not_needed, tmp_path) == set()
    assert (tmp_path / "embedded-issuer.jwk").is_file()


def test_the_contract_is_made_without_what_serves_it(tmp_path: Path) -> None:
    not_needed = PDF | MAIL | XML | MIGRATIONS | WEBHOOKS | {"asyncpg", "aiosqlite", "limits", "holidays"}
    not_needed |= {"api.app", "api.startup", "uvicorn", "pydantic_settings"}
    for more in ((), ("--edu-v",)):
        assert loaded(after_command("openapi", *more), not_needed, tmp_path) == set()


def test_the_service_loads_what_an_installation_uses(tmp_path: Path) -> None:
    """It serves from a store that is migrated, with a request through all of it, and has loaded no more than that."""
    program = """
import asyncio, subprocess, sys
subprocess.run([sys.executable, "-c", "from api.cli.main import main; main()", "migrate"], check=True,
               stdout=subprocess.DEVNULL)
from api.app import create_app; from api.startup import require_ready
from api.settings import Mode, Settings

async def serve():
    settings = Settings(mode=Mode.TEST, deliver=False)
    await require_ready(settings)
    service = create_app(settings)
    sent = []
    async def receive():
        return {"type": "http.request"}
    async def send(message):
        sent.append(message)
    about = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
             "path": "/health/ready", "raw_path": b"/health/ready", "query_string": b"", "root_path": "",
             "headers": [], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "state": {}}
    async with service.running():
        await service(about, receive, send)
    assert sent[0]["status"] == 200, sent

asyncio.run(serve())
"""
    not_needed = PDF | MAIL | XML | MIGRATIONS | COMMANDS | WEBHOOKS | {"asyncpg", "httpx2"}
    assert loaded(program, not_needed, tmp_path) == set()
