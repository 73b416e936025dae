"""Cleaning: steps of many kinds, what they would change, changing it as one changeset; rules kept by name.

`steps` knows what a step is; `plain`, `letters`, `literal`, `phrases` and `masks` what one does to a text; `cleaner`
takes a pair through them, `passes` goes over the pairs, and `keeping` keeps what it found; `rules` keeps steps by name;
`edits` makes a step of an edit.
"""

from curator.cleaning.edits import Offer, best_offer, offers
from curator.cleaning.keeping import asked, keep, kept, meant
from curator.cleaning.passes import (
    Change,
    Found,
    apply,
    changed_since,
    changes,
    last_changeset,
    look,
    suggestions,
)
from curator.cleaning.rules import delete, named, rules, save, steps_named, steps_of
from curator.cleaning.steps import FIELDS, KINDS, PRESETS, TEXTS, Kind, Option, Step, make, read

__all__ = [
    "FIELDS", "KINDS", "PRESETS", "TEXTS", "Change", "Found", "Kind", "Offer", "Option", "Step", "apply", "asked",
    "best_offer", "changed_since", "changes", "delete", "keep", "kept", "last_changeset", "look", "make", "meant",
    "named", "offers", "read", "rules", "save", "steps_named", "steps_of", "suggestions",
]  # fmt: skip
