"""One import in a process of its own, which prints the most memory that it held, in MiB: bench.peak FILE HOME."""

import re
import sys
from pathlib import Path

from curator import create_app, database, imports


def main(file: str, home: str) -> None:
    """Import a file into a fresh database, as `flask import` does."""
    app = create_app({"CURATOR_HOME": home, "DATABASE_URL": f"sqlite:///{home}/peak.db"})
    with database.open_session(app) as session:
        imports.apply(session, Path(file), by="bench")
    # Not from getrusage: what a process inherits from the one that started it counts there too.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(int(peak.group(1)) // 1024 if peak else "unknown")


if __name__ == "__main__":
    main(*sys.argv[1:])
