"""A release on the Hugging Face hub. Knows the hub's client; what is in the folder is others' work."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import huggingface_hub.errors
import huggingface_hub.utils

from trainer import UserError

PREFIX = "hub:"


def checked(target: str) -> str:
    """Return OWNER/NAME of hub:OWNER/NAME. Raises UserError where it is none, or where nobody is logged in."""
    name = target.removeprefix(PREFIX)
    if target == name or name.count("/") != 1 or not all(name.split("/")):
        raise UserError(f"{target!r} names no model of the hub. Write it as: hub:OWNER/NAME")
    try:
        huggingface_hub.utils.validate_repo_id(name)  # type: ignore[attr-defined]
    except huggingface_hub.errors.HFValidationError as error:
        raise UserError(f"{name!r} is no name of a model: {error}") from None
    if not huggingface_hub.get_token():
        raise UserError("There is no token for the hub. Log in with: hf auth login — or set HF_TOKEN.")
    return name


def push(folder: Path, name: str, *, is_public: bool) -> str:
    """Upload a folder as one commit, to a new model that is private unless said otherwise, and return its address.

    Raises UserError where the hub refuses; the folder stays.
    """
    api = huggingface_hub.HfApi()
    again = f"{folder}/ is whole; put it there with: hf upload {name} {folder}"
    try:
        api.create_repo(repo_id=name, private=not is_public, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message=f"Fine-tuned with Curator: {folder.name}"
        )
    except huggingface_hub.errors.HfHubHTTPError as error:
        reason = str(getattr(error, "server_message", None) or error).splitlines()[0]
        raise UserError(f"The hub refused {name}: {reason}. {again}") from error
    except OSError as error:
        raise UserError(f"The hub can't be reached: {error}. {again}") from error
    return str(commit.commit_url)
