"""python -m trainer: runs one command, and turns how it ended into words and an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from trainer import Stopped, UserError, ranks
from trainer.cli import make_parser

SEVERAL = ("run", "resume")  # may be started several times by a launcher


def stop(number: int, frame: Any) -> NoReturn:
    raise Stopped(number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 for what the user can mend, or 130 after Ctrl-C and 143 after SIGTERM."""
    signal.signal(signal.SIGTERM, stop)  # being ended is being stopped: the record says so
    try:
        arguments = vars(make_parser().parse_args(argv))
        act = arguments.pop("act")
        if ranks.count() > 1 and act.__name__ not in SEVERAL:
            raise UserError(f"Only {' and '.join(SEVERAL)} work in several processes. Start others with python alone.")
        act(arguments)
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
