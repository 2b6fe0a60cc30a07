"""The process that draws documents: reads one document at a time from its standard input and writes each as a PDF.

`api/processing_register/pdf_process.py` starts it. It has no store, no key and no socket, and ends at the end of its
input, so it never outlives the server, however the server ends.
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

#: Niceness that this process adds, so that decisions get the processor first.
_NICENESS: Final = 10
_MOST_FILES: Final = 65_536


def main() -> None:
    """Draws until the input ends. An empty answer means that drawing failed."""
    # uvicorn makes its listening socket inheritable, and uvloop does not close descriptors in child processes.
    os.closerange(3, _MOST_FILES)
    with contextlib.suppress(AttributeError, OSError):
        os.nice(_NICENESS)
    # Standard output is redirected to standard error, so that only answers are written to the pipe.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, requests), daemon=True).start()
    while True:
        answers.write(pipe_frames.framed(_drawn(requests.get())))
        answers.flush()


def _listen(pipe: BinaryIO, requests: "SimpleQueue[bytes]") -> None:
    """Queues the requested documents. At the end of the input it ends this process, also while a document is drawn."""
    while (message := pipe_frames.read(pipe)) is not None:
        requests.put(message)
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
