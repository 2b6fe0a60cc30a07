"""Measurements in a fresh process, so that the memory of this run does not count."""

import json
import subprocess
import sys
from typing import Any, Final

from bench import servers

_SECONDS: Final = 900


def measured(module: str, *arguments: str) -> Any:
    """The JSON printed by `python -m bench.MODULE ARGUMENT...`. Raises `RuntimeError` with the end of its errors."""
    command = [sys.executable, "-m", f"bench.{module}", *arguments]
    done = subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(" ".join(done.stderr.split())[-300:])
    return json.loads(done.stdout)
