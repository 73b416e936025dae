"""The `flask` commands: doors for a terminal. Results go to standard output, words about them to standard error."""

from curator.cli.accounts import token
from curator.cli.backups import backup, restore
from curator.cli.bulk import pairs_
from curator.cli.checks import check
from curator.cli.cleaning import clean
from curator.cli.convert import convert
from curator.cli.door import list_by, stand_in
from curator.cli.duplicates import duplicates
from curator.cli.pairs import export, import_, preferences, stats, undo
from curator.cli.queue import queue
from curator.cli.runs import import_run
from curator.cli.tables import init_db, settings_
from curator.cli.versions import freeze, publish, versions

# As `flask --help` lists them: what a person is about to do.
GROUPS = {
    "Data in and out": (import_, export, convert, preferences),
    "Look and curate": (stats, pairs_, check, queue, clean, duplicates, undo),
    "Versions": (freeze, versions, publish),
    "Training": (import_run, token),
    "Database and settings": (init_db, backup, restore, settings_),
}
COMMANDS = tuple(command for commands in GROUPS.values() for command in commands)

stand_in()
list_by(GROUPS)
