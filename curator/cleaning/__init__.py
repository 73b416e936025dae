"""Cleaning: steps of many kinds, what they would change, changing it as one changeset; rules kept by name.

`steps` knows what a step is; `plain`, `letters`, `literal`, `phrases` and `masks` what one does to a text; `passes`
goes over the pairs; `rules` keeps steps by name; `edits` makes a step of an edit.
"""

from curator.cleaning.edits import Offer, best_offer, offers
from curator.cleaning.passes import (
    Change,
    Found,
    apply,
    asked,
    changed_since,
    changes,
    keep,
    kept,
    last_changeset,
    look,
    meant,
    suggestions,
)
from curator.cleaning.rules import delete, named, rules, save, steps_named, steps_of
from curator.cleaning.steps import FIELDS, KINDS, PRESETS, TEXTS, Kind, Option, Step, make, read

__all__ = [
    "FIELDS", "KINDS", "PRESETS", "TEXTS", "Change", "Found", "Kind", "Offer", "Option", "Step", "apply", "asked",
    "best_offer", "changed_since", "changes", "delete", "keep", "kept", "last_changeset", "look", "make", "meant",
    "named", "offers", "read", "rules", "save", "steps_named", "steps_of", "suggestions",
]  # fmt: skip
