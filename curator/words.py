"""The words that rows, tables, pages and commands share: in what state a pair is, on which side of a split."""

STATUSES = ("draft", "approved", "rejected")
SPLITS = ("train", "validation", "test")
