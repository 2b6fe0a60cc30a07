"""The exceptions that end a command with a sentence. Any other one is a defect and is shown with its traceback."""

from typing import Final

import httpx2
from alembic.util import CommandError
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from api.evidence.backup_recovery import ReplayRefused
from api.evidence.exports import ExportRefused
from api.evidence.key_custody import StoreRefused
from api.evidence.witness import LogRefused
from api.printable_text import printable_lines
from api.registry.duo import ImportRefused
from api.settings import NotReadyToServe, explained
from api.store.outage import StoreBehind, StoreUnreachable
from models.vocabulary.refusals import ConsentError

REFUSALS: Final = (
    CommandError,
    ConsentError,
    ExportRefused,
    StoreRefused,
    LogRefused,
    ReplayRefused,
    httpx2.HTTPError,
    ImportRefused,
    NotReadyToServe,
    OSError,
    SQLAlchemyError,
    StoreBehind,
    StoreUnreachable,
    ValueError,
)


def sentence_of(error: Exception) -> str:
    """The exception's message, a line for each faulty setting, without characters that control a terminal."""
    return printable_lines(explained(error) if isinstance(error, ValidationError) else str(error))
