"""The commands as a user gives them: in this process, or, for what only a process shows, in one of its own.

In this process a command starts in a few milliseconds. `main` runs with the words, the environment and the standard
streams of the command; an exception that `main` does not catch fails the test.
"""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Final
from unittest import mock

from api.cli.main import main

ROOT: Final = Path(__file__).resolve().parents[2]
#: The console script as it was installed.
SCRIPT: Final = Path(sys.executable).parent / "privacy-manager"

Ended = subprocess.CompletedProcess[str]


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """These settings, an installation in `folder`, and nothing else of the environment of the tests."""
    given = {f"PRIVACY_MANAGER_{name}": value for name, value in settings.items()}
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PRIVACY_MANAGER_VAR_DIR": str(folder), **given}


def run(folder: Path, *words: str, **settings: str) -> Ended:
    """A command in this process. Nothing is served: a command that comes so far fails the test."""
    out, err = _captured(), _captured()
    with (
        mock.patch.dict(os.environ, environment(folder, **settings), clear=True),
        mock.patch.multiple(sys, argv=["privacy-manager", *words], stdout=out, stderr=err),
        mock.patch("uvicorn.Server.run", side_effect=AssertionError("it serves")),
    ):
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = _status(ended)
    return Ended([*words], status, _text(out), _text(err))


def run_script(folder: Path, *words: str, **settings: str) -> Ended:
    """The installed console script, in a process of its own that starts in `folder`."""
    return subprocess.run(
        [SCRIPT, *words],
        cwd=folder,
        env=environment(folder, **settings),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def _captured() -> io.TextIOWrapper:
    """A standard stream that is kept. It holds bytes: a text that cannot be encoded fails as in a process."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


def _text(captured: io.TextIOWrapper) -> str:
    captured.seek(0)
    return captured.read()


def _status(ended: SystemExit) -> int:
    if ended.code is None:
        return 0
    return ended.code if isinstance(ended.code, int) else 1
