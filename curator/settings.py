"""Each setting once: name, type, default, unit, reason; configuration, `flask settings` and README come from it."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from curator.errors import UserError

HERE = Path(__file__).parent
# In a wheel templates/, static/ and migrations/ lie inside the package; in a checkout, beside it.
SHELF = HERE if (HERE / "templates").is_dir() else HERE.parent


@dataclass(frozen=True)
class Setting:
    """One setting: read from the environment variable `name`, else its default."""

    name: str
    type: Callable[[str], Any]
    default: str
    about: str


SETTINGS = (
    Setting("CURATOR_HOME", Path, "./instance in a checkout, else the user's data folder",
            "folder of the database, the secret, uploads and the built-in base model"),
    Setting("DATABASE_URL", str, "sqlite:///CURATOR_HOME/curator.db",
            "where the rows are kept; postgresql+psycopg://… moves all of it to PostgreSQL"),
    Setting("CURATOR_USER", str, "the login name", "who changes are attributed to"),
    Setting("CURATOR_MAX_UPLOAD", int, "256", "MiB; a larger file is imported with the command"),
    Setting("CURATOR_MAX_EXPANDED", int, "8192", "MiB that a compressed file may expand to; a larger one is refused"),
    Setting("CURATOR_PAGE_SIZE", int, "50", "pairs on a page of the list"),
    Setting("CURATOR_MEANING_MODEL", str, "all-MiniLM-L6-v2",
            "sentence-transformers model by which meanings are compared: a name on the hub, or a folder"),
    Setting("CURATOR_CONTEXT", int, "4096", "tokens of a whole chat; a longer pair is flagged, and none with 0"),
    Setting("CURATOR_TOKENIZER", str, "none: tokens are estimated",
            "tokenizer.json of the model to train, or its folder: checks then count tokens by it"),
    Setting("CURATOR_BASE", str, "builtin",
            "base whose tokens a pair's page shows at first: a folder, a Hugging Face name in the cache, or builtin"),
    Setting("CURATOR_BUSY_TIMEOUT", float, "30", "seconds that a writer waits for its turn on SQLite"),
)  # fmt: skip


def home() -> Path:
    """Return the folder where everything of this user is kept, made readable by its owner alone."""
    in_checkout = SHELF / "instance" if SHELF != HERE else user_data_path("curator")
    return Path(os.environ.get("CURATOR_HOME") or in_checkout).expanduser().absolute()


def login_name() -> str:
    """Return the login name of this process, or "curator" where it has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "curator"


def load(overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return every setting with its value: `overrides`, else the environment, else the default.

    Raises UserError where a value is not of its type.
    """
    place = home()
    defaults = {
        "CURATOR_HOME": str(place),
        "DATABASE_URL": f"sqlite:///{place / 'curator.db'}",
        "CURATOR_USER": login_name(),
        "CURATOR_TOKENIZER": "",
    }
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        text = os.environ.get(setting.name) or defaults.get(setting.name, setting.default)
        try:
            values[setting.name] = setting.type(text)
        except ValueError as error:
            kind = "a whole number" if setting.type is int else "a number"
            raise UserError(f"{setting.name} is {text!r}, and must be {kind}: {setting.about}.") from error
    given = dict(overrides or {})
    if "CURATOR_HOME" in given and "DATABASE_URL" not in given and "DATABASE_URL" not in os.environ:
        given["DATABASE_URL"] = f"sqlite:///{Path(given['CURATOR_HOME']) / 'curator.db'}"
    return values | given
