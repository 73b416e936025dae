"""Near-duplicates: of one pair while it is typed, and of a data set as clusters; what to keep, and what is none.

`near` compares one text, or the rows of a file, with all that is stored. `searching` goes through a data set by its
words, `meaning` by its vectors; both give `findings`, which are kept in a file. `clusters` shows them around the pair
to keep, `judging` tells which state different facts, `resolving` keeps one, and `dismissing` remembers what a person
says is no duplicate. `since` tells what became of the pairs after a search, and `against` looks for what a file says.
`reading` streams texts for them, never objects.
"""

from curator.duplicates.against import Match, search_against
from curator.duplicates.clusters import PINNED, Cluster, Clusters, Member, Star, clusters, each_cluster
from curator.duplicates.dismissing import dismiss, dismissed, take_back
from curator.duplicates.findings import FOLDER, Bar, Findings, forget_old, histogram, is_stale, keep, kept
from curator.duplicates.meaning import SAME, search_meaning
from curator.duplicates.near import REVIEW, Near, find_many, find_near
from curator.duplicates.report import COLUMNS, MATCHED, matched, report
from curator.duplicates.resolving import (
    Above,
    Counted,
    Going,
    above,
    count_above,
    counted_above,
    judge,
    resolve,
    resolve_above,
)
from curator.duplicates.searching import (
    AUTOMATIC,
    FIELDS,
    KINDS,
    SHINGLE,
    search,
    similar,
)
from curator.duplicates.since import MOST_CHANGED, changed_since, open_clusters, without_gone

__all__ = [
    "AUTOMATIC", "COLUMNS", "FIELDS", "FOLDER", "KINDS", "MATCHED", "MOST_CHANGED", "PINNED", "REVIEW", "SAME",
    "SHINGLE", "Above", "Bar", "Cluster", "Clusters", "Counted", "Findings", "Going", "Match", "Member", "Near", "Star",
    "above", "changed_since", "clusters", "count_above", "counted_above", "dismiss", "dismissed", "each_cluster",
    "find_many", "find_near", "forget_old", "histogram", "is_stale", "judge", "keep", "kept", "matched",
    "open_clusters", "report", "resolve", "resolve_above", "search", "search_against", "search_meaning",
    "similar", "take_back", "without_gone",
]  # fmt: skip
