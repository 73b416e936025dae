"""The `flask` commands: doors for a terminal. Results go to standard output, words about them to standard error."""

from curator.cli.accounts import token
from curator.cli.backups import backup, restore
from curator.cli.bulk import pairs_
from curator.cli.checks import check
from curator.cli.cleaning import clean
from curator.cli.convert import convert
from curator.cli.door import stand_in
from curator.cli.duplicates import duplicates
from curator.cli.pairs import export, import_, preferences, stats, undo
from curator.cli.queue import queue
from curator.cli.runs import import_run
from curator.cli.tables import init_db, settings_
from curator.cli.versions import freeze, publish, versions

COMMANDS = (
    init_db, import_, export, preferences, convert, duplicates, pairs_, clean, check, queue, undo, freeze, versions,
    publish, import_run, token, stats, backup, restore, settings_,
)  # fmt: skip

stand_in()
