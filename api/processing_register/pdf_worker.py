"""The process that draws documents: it reads one after another from its input, and writes each as a PDF.

`api/processing_register/pdf_process.py` starts it. It has no store, no key and no socket, and ends with its input: so
it never outlives the server, however that ends.
"""

import contextlib
import os
import pickle
import sys
import threading
import traceback
from queue import SimpleQueue
from typing import BinaryIO, Final

from api.processing_register import pipe_frames
from api.processing_register.pdf import pdf_of
from api.processing_register.pdf_model import Document

#: Decisions go first: by so much this process steps back where there is no processor for all.
_STEP_BACK: Final = 10
_MOST_FILES: Final = 65_536


def main() -> None:
    """Draws until the input ends. An answer without content says that drawing failed."""
    # uvicorn lets the socket that it listens on be inherited, and uvloop closes nothing in who does.
    os.closerange(3, _MOST_FILES)
    with contextlib.suppress(AttributeError, OSError):
        os.nice(_STEP_BACK)
    # What anything prints goes where errors go: the answers are alone on their way.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asked: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, asked), daemon=True).start()
    while True:
        answers.write(pipe_frames.framed(_drawn(asked.get())))
        answers.flush()


def _listen(pipe: BinaryIO, asked: "SimpleQueue[bytes]") -> None:
    """Takes in what is asked for; at the end of the input it ends this process, also in the middle of a document."""
    while (message := pipe_frames.read(pipe)) is not None:
        asked.put(message)
    os._exit(0)


def _drawn(message: bytes) -> bytes:
    try:
        document: Document = pickle.loads(message)  # noqa: S301 - from the process that started this one
        return pdf_of(document)
    except Exception:
        traceback.print_exc()
        return b""


if __name__ == "__main__":
    main()
