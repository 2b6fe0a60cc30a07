"""The examples in Python of the README and the docs run as they stand there, against a running server."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.worlds.served_app import serving
from tests.worlds.world import World

ROOT: Final = Path(__file__).resolve().parents[2]
ADDRESS: Final = "http://127.0.0.1:8000"
#: Of each document: whose token its examples are run with, and what each says first.
SAID: Final = {
    "README.md": ("gateway", ["release ['@eckid', '@key', 'achternaam', 'roepnaam', 'voorvoegsel']"]),
    "docs/for-gateways.md": ("gateway", ["leerling granted ['@eckid'"]),
    "docs/for-partners.md": ("partner", ["16SW grant.granted ['leerling.naam'", "16SW open"]),
}


def examples_of(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("document", SAID)
async def test_the_examples_run(document: str, world: World, tmp_path: Path) -> None:
    role, said = SAID[document]
    # Less than the connection is registered for, so that there is something to ask for.
    await world.granted()
    token = world.token(role, client_id="rekenrijk" if role == "partner" else None)
    examples = examples_of(document)
    assert len(examples) == len(said)
    async with serving(world.service) as (host, port):
        for example, first in zip(examples, said, strict=True):
            assert ADDRESS in example
            running = await asyncio.create_subprocess_exec(
                sys.executable,
                "-u",
                "-c",
                # So much time a decision never has; a machine that runs tests may need it.
                example.replace(ADDRESS, f"http://{host}:{port}").replace("deadline=1.0", "deadline=30.0"),
                cwd=tmp_path,
                env={**os.environ, "TOKEN": token, "PYTHONPATH": str(ROOT / "client")},
                stdout=asyncio.subprocess.PIPE,
            )
            assert running.stdout is not None
            try:
                async with asyncio.timeout(60):
                    assert (await running.stdout.readline()).decode().startswith(first)
            finally:
                # One that follows changes does so for ever.
                if running.returncode is None:
                    running.kill()
                await running.wait()
