"""Steps kept under a name, and what names and words stand for which steps."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator.cleaning.steps import KINDS, MOST_STEPS, PRESETS, TEXTS, Step, make, read
from curator.errors import NotFound, UserError
from curator.models import CleaningRule, now, writing

LONGEST_NAME = 60


def rules(session: Session) -> list[CleaningRule]:
    """Return the rules that were kept, by name."""
    return list(session.scalars(sa.select(CleaningRule).order_by(CleaningRule.name)))


def named(session: Session, name: str) -> CleaningRule:
    """Return the rule of a name. Raises NotFound."""
    rule = session.scalar(sa.select(CleaningRule).where(CleaningRule.name == clean_name(name)))
    if rule is None:
        there = ", ".join(rule.name for rule in rules(session)) or "none yet"
        raise NotFound(f"There is no rule {name!r}. Kept are: {there}.")
    return rule


def steps_of(rule: CleaningRule) -> tuple[Step, ...]:
    """Return the steps of a rule."""
    return tuple(make(step) for step in rule.steps)


def save(session: Session, name: str, steps: Sequence[Step], by: str) -> CleaningRule:
    """Keep steps under a name; a rule of that name is written over. Raises UserError for a name that can't be one."""
    name = clean_name(name)
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise UserError(f"A rule needs a name of 1 to {LONGEST_NAME} characters that can be seen.")
    if name.partition(":")[0].partition("@")[0] in {*KINDS, *PRESETS} or name.startswith("{"):
        raise UserError(f"{name!r} means a step already. Choose another name for the rule.")
    if not steps:
        raise UserError("A rule needs at least one step.")
    for step in steps:
        step.clean()
    with writing(session):
        rule = session.scalar(sa.select(CleaningRule).where(CleaningRule.name == name))
        if rule is None:
            rule = CleaningRule(name=name)
            session.add(rule)
        rule.steps, rule.by, rule.at = [step.to_json() for step in steps], by, now()
    return rule


def delete(session: Session, name: str) -> None:
    """Forget a rule. What it cleaned stays clean; a job that is at work with it goes on. Raises NotFound."""
    with writing(session):
        session.delete(named(session, name))


def clean_name(name: str) -> str:
    """Return a name with its white space folded."""
    return " ".join(name.split())


def steps_named(session: Session, words: Sequence[str], fields: tuple[str, ...] = TEXTS) -> tuple[Step, ...]:
    """Return the steps that words stand for: a step, a preset, or a rule that was kept.

    `fields` are those of steps that name none. Raises UserError for a word that is none of these.
    """
    steps: list[Step] = []
    for word in words:
        name = word.partition(":")[0].partition("@")[0].strip()
        if name in KINDS or word.lstrip().startswith("{"):
            steps.append(read(word, fields))
        elif word in PRESETS:
            steps += [read(part, fields) for part in PRESETS[word][1]]
        else:
            steps += kept_as(session, word)
    if not steps:
        raise UserError(f"Choose at least one step: {', '.join(KINDS)}, or a rule that was kept.")
    if len(steps) > MOST_STEPS:
        raise UserError(f"{len(steps)} steps are too many; {MOST_STEPS} is the most. Clean in two rounds.")
    return tuple(steps)


def kept_as(session: Session, word: str) -> tuple[Step, ...]:
    """Return the steps of a rule that was kept. Raises UserError naming all that a word can be."""
    try:
        return steps_of(named(session, word))
    except NotFound:
        kept = "".join(f", {rule.name}" for rule in rules(session))
        raise UserError(
            f"There is no rule {word!r}. Choose from: {', '.join(KINDS)}, {', '.join(PRESETS)}{kept}."
        ) from None
