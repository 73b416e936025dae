"""python -m trainer: runs one command, and turns how it ended into words and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from trainer import Stopped, UserError, ranks
from trainer.cli import make_parser

SEVERAL = ("run", "resume")  # may be started several times by a launcher
PIPE = 13  # the number of SIGPIPE, which Windows has not


def stop(number: int, frame: Any) -> NoReturn:
    raise Stopped(number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0, or 1 for what the user can mend, 130 after Ctrl-C, 143 after SIGTERM, and 141 where nobody reads on.
    """
    signal.signal(signal.SIGTERM, stop)  # being ended is being stopped: the record says so
    try:
        arguments = vars(make_parser().parse_args(argv))
        do = arguments.pop("act")
        act = do.__name__
        if ranks.count() > 1 and act not in SEVERAL:
            raise UserError(f"Only {' and '.join(SEVERAL)} work in several processes. Start others with python alone.")
        do(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has seen enough, as `head` does; a run has other pipes too
        if act in SEVERAL:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + PIPE
    except UserError as error:
        if ranks.tells(error):
            print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        if ranks.is_first():
            print(f"\n{stopped or 'Stopped.'}", file=sys.stderr)
        return 128 + getattr(stopped, "signal", signal.SIGINT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
