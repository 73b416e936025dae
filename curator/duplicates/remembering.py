"""What was counted, remembered until somebody writes. Knows no finding; holds numbers and arrays, no objects."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator.duplicates.findings import newest_changeset
from curator.models import NotDuplicate

REMEMBERED = 64  # answers of this process
Found = TypeVar("Found")
MISSING: Any = object()
memory: OrderedDict[Hashable, Any] = OrderedDict()


def remembered(session: Session, what: Hashable) -> Any | None:
    """Return what was found for the same question while the pairs were the same, if somebody asked."""
    return memory.get((what, state(session)))


def once(session: Session, what: Hashable, find: Callable[[], Found]) -> Found:
    """Return what was found for the same question while the pairs were the same, else find it now."""
    key = what, state(session)
    if (known := memory.get(key, MISSING)) is not MISSING:
        return known
    found = find()
    memory[key] = found
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
    return found


def state(session: Session) -> Hashable:
    """Return what is another whenever a pair was written or a judgement made."""
    judged = session.execute(sa.select(sa.func.count(), sa.func.max(NotDuplicate.at)).select_from(NotDuplicate)).one()
    return str(session.get_bind().engine.url), newest_changeset(session), *judged
