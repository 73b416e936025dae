"""Publish: a version as a data set of the Hugging Face hub. Knows the hub's client; `exports` writes the files."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from curator import exports, versions
from curator.errors import UserError

PREFIX = "hub:"


@dataclass(frozen=True)
class Upload:
    """A version as files that are ready to go."""

    name: str  # OWNER/NAME
    number: int
    fingerprint: str
    folder: Path
    files: list[tuple[str, int, str]]  # name, bytes, sha256

    @property
    def address(self) -> str:
        return f"https://huggingface.co/datasets/{self.name}"


@contextmanager
def prepared(session: Session, target: str, number: int) -> Iterator[Upload]:
    """Write a version for the block, as `flask export` does. Raises UserError where the target is no such name."""
    name = checked(target)
    version = versions.get(session, number)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        exports.write_folder(session, number, folder)
        files = [
            (path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(folder.iterdir())
        ]
        yield Upload(name, number, version.fingerprint, folder, files)


def checked(target: str) -> str:
    """Return OWNER/NAME of hub:OWNER/NAME. Raises UserError."""
    name = target.removeprefix(PREFIX)
    if target == name or name.count("/") != 1 or not all(name.split("/")):
        raise UserError(f"{target!r} names no data set of the hub. Write it as: hub:OWNER/NAME")
    client = hub()
    try:
        client.utils.validate_repo_id(name)
    except client.errors.HFValidationError as error:
        raise UserError(f"{name!r} is no name of a data set: {error}") from None
    return name


def hub() -> Any:
    """Return the client of the hub. Raises UserError where it is not installed."""
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ModuleNotFoundError:
        raise UserError("Publishing needs huggingface_hub. Install it with: pip install huggingface_hub") from None
    return huggingface_hub


def token() -> str:
    """Return the token of this user. Raises UserError where there is none."""
    found: str | None = hub().get_token()
    if not found:
        raise UserError("There is no token for the hub. Log in with: hf auth login — or set HF_TOKEN.")
    return found


def publish(upload: Upload, is_private: bool) -> str:
    """Upload the files as one commit with a tag, and return its address. Raises UserError where the hub refuses."""
    client = hub()
    api = client.HfApi(token=token())
    here = {"repo_id": upload.name, "repo_type": "dataset"}
    tag = f"version-{upload.number}-{upload.fingerprint[:12]}"
    try:
        api.whoami()
        api.create_repo(**here, private=is_private, exist_ok=True)
        commit = api.upload_folder(
            **here, folder_path=upload.folder, commit_message=f"Version {upload.number} ({upload.fingerprint[:12]})",
            delete_patterns=["train.*", "validation.*", "test.*"],  # of a version before
        )  # fmt: skip
        api.create_tag(**here, tag=tag, exist_ok=True)
    except client.errors.HfHubHTTPError as error:
        reason = str(getattr(error, "server_message", None) or error).splitlines()[0]
        raise UserError(f"The hub refused {upload.name}: {reason}") from error
    except OSError as error:
        raise UserError(f"The hub can't be reached: {error}. Nothing is changed here; try again.") from error
    return str(commit.commit_url)
