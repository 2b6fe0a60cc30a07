"""Files with secrets: made whole or not at all, for their owner only."""

import os
import secrets
from pathlib import Path


def publish(path: Path, content: bytes) -> None:
    """Makes the file; one that is there by then stays as it is."""
    draft = _draft(path, content)
    try:
        # A link, not a rename: it fails when the name is taken.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def replace(path: Path, content: bytes) -> None:
    """Puts this content in the file's place."""
    _draft(path, content).replace(path)


def _draft(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft
