"""Who comes in without a browser: named tokens, each shown once and kept as its hash. Knows no request."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator.errors import NotFound, UserError
from curator.models import AccessToken, now, writing

SEEN_EVERY = timedelta(minutes=1)  # a trainer calls each two seconds; so many writes would tell nobody anything


def new_token(session: Session, name: str, by: str) -> str:
    """Make a token and return it: this is the only time that anybody sees it. Raises UserError for a taken name."""
    name = name.strip()
    if not name or not name.isprintable() or len(name) > 64:
        raise UserError("A token needs a name of 1 to 64 characters, such as that of the machine that will use it.")
    token = f"curator_{secrets.token_urlsafe(32)}"
    with writing(session):
        if session.scalar(sa.select(AccessToken.id).where(AccessToken.name == name)):
            raise UserError(f"There is a token {name!r} already. Choose another name, or: flask token remove {name}")
        session.add(AccessToken(name=name, sha256=digest(token), by=by))
    return token


def tokens(session: Session) -> list[AccessToken]:
    """Return the tokens by name."""
    return list(session.scalars(sa.select(AccessToken).order_by(AccessToken.name)))


def remove_token(session: Session, name: str) -> None:
    """Let nobody in any more by a token. Raises NotFound where there is none of that name."""
    with writing(session):
        gone = sa.delete(AccessToken).where(AccessToken.name == name)
        if not session.execute(gone).rowcount:  # type: ignore[attr-defined]
            raise NotFound(f"There is no token {name!r}. See: flask token list")


def holder(session: Session, token: str) -> str | None:
    """Return the name that a token was given, None where it is none, and note that it was used."""
    found = session.scalar(sa.select(AccessToken).where(AccessToken.sha256 == digest(token)))
    if found is None:
        return None
    if found.used_at is None or now() - found.used_at > SEEN_EVERY:
        with writing(session):
            session.execute(sa.update(AccessToken).where(AccessToken.id == found.id).values(used_at=now()))
    return found.name


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
