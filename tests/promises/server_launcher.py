"""`privacy-manager serve` again and again: each line of the standard input starts it, in a process of its own.

The service is imported once for all of them. Two lines are written for each: the number of the process, and its exit
status once it has ended.
"""

import os
import sys
from typing import Final

from api import app
from api.cli.main import main

#: Imported before the first process is forked.
IMPORTED: Final = app.create_app


def _serve() -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # What the server writes goes to the log, not to who waits for the two lines.
    os.dup2(2, 1)
    main()


if __name__ == "__main__":
    for _ in sys.stdin:
        if (child := os.fork()) == 0:
            _serve()
            sys.exit()
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
