"""What is measured in a fresh process, so that nothing of the run's own weighs in it."""

import json
import subprocess
import sys
from typing import Any, Final

from bench import servers

_SECONDS: Final = 900


def measured(module: str, *arguments: str) -> Any:
    """What `python -m bench.MODULE ARGUMENT...` printed as JSON. Raises `RuntimeError` with its last words."""
    command = [sys.executable, "-m", f"bench.{module}", *arguments]
    done = subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(" ".join(done.stderr.split())[-300:])
    return json.loads(done.stdout)
