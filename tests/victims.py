"""Processes that are killed at their work, as by a power cut: at any moment, with no time to put things right."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

# One process imports what the work needs, and each victim is a fork of it: importing takes longer than to be killed.
MOTHER = """
import json, os, sys
{work}
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        work(*json.loads(line))
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Victims:
    """Runs a function `work`, given as the text of a program, in a process after the other."""

    def __init__(self, mother: subprocess.Popen[str]):
        self.mother = mother

    def start(self, *arguments: object) -> int:
        """Let one begin. Return its process number."""
        assert self.mother.stdin
        print(json.dumps(arguments, default=str), file=self.mother.stdin, flush=True)
        return self.said()

    def said(self) -> int:
        assert self.mother.stdout
        return int(self.mother.stdout.readline())

    def spare(self, *arguments: object) -> float:
        """Let one end its work. Return the seconds that it took."""
        began = time.monotonic()
        self.start(*arguments)
        assert self.said() == 0
        return time.monotonic() - began

    def kill(self, seconds: float, *arguments: object) -> bool:
        """Kill one after some seconds of work. Return whether it was not done by then."""
        child = self.start(*arguments)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):  # it was done
            os.kill(child, signal.SIGKILL)
        return self.said() == -signal.SIGKILL


@contextlib.contextmanager
def victims_of(work: str) -> Iterator[Victims]:
    """Give processes to be killed; `work` is the text of a program that makes a function of that name."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", MOTHER.format(work=work)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as mother:  # leaving it closes stdin, which ends the mother
        yield Victims(mother)
