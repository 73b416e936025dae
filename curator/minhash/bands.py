"""How many bands of how many rows find what is alike: the scheme of a search. Arithmetic only."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache

from curator.errors import UserError

# Of the pairs just at the threshold so many may be missed in a million texts; in fewer, where sure bands cost little,
# as much less, down to LEAST_MISS.
MISS, LEAST_MISS = 1e-4, 1e-6
# Of the pairs at the threshold so few are lost by the look at a few bits before candidates are read again.
OVERLOOKED = 1e-7
LOOK_BITS = 2  # of each permutation, so many are kept beside the bands
MOST_PERMUTATIONS = 288
LOWEST, HIGHEST = 0.5, 1.0
# What two texts that have nothing to do with each other share all the same, as it counts when it is raised to the
# power of four rows: measured on GSM8K and Alpaca 0.04 in characters and 0.02 in words, on made questions and answers
# 0.026 and 0.023. It decides how many wrong candidates come, not what is found.
UNRELATED = {"char": 0.04, "word": 0.025}
SHINGLES_A_TEXT = {"char": 480, "word": 70}
# Nanoseconds, measured on one core: one shingle under one permutation; one text in one band; two texts
# that fall into one band.
SIGN, GROUP, MEET = 0.04, 25.0, 35.0

SHINGLE = re.compile(r"(char|word)([1-9])")


def parse_shingle(shingle: str) -> tuple[str, int]:
    """Return ("char", 5) of "char5". Raises UserError where it is none of char2 to char5, word1 to word9."""
    match = SHINGLE.fullmatch(shingle)
    if not match or (match[1] == "char" and not 2 <= int(match[2]) <= 5):
        raise UserError(f"There is no shingle {shingle!r}. Take char2 to char5 or word1 to word9, such as char5.")
    return match[1], int(match[2])


@dataclass(frozen=True)
class Scheme:
    """What makes two searches comparable: the shingle, and how its signatures are cut into bands.

    Two texts are candidates where one of their `bands` agrees in all its `rows`.
    """

    shingle: str
    bands: int
    rows: int
    seed: int = 1

    @property
    def permutations(self) -> int:
        return self.bands * self.rows

    @property
    def id(self) -> str:
        """The scheme as one word, to be kept beside what was made with it; another word, and it must be made anew."""
        return f"2-{self.shingle}-affine32-{self.seed}-{self.bands}x{self.rows}"

    def miss(self, similarity: float) -> float:
        """Return how likely two texts of that similarity are not found.

        They agree in a band of r rows with probability J^r, and in none of b bands with (1 - J^r)^b.
        Source: J. Leskovec, A. Rajaraman, J. Ullman, Mining of Massive Datasets, 3.4.
        """
        return (1 - similarity**self.rows) ** self.bands

    def most_differing(self, threshold: float) -> int:
        """Return in how many permutations two texts may differ, by LOOK_BITS of each, and be candidates.

        More than these differ but once in ten million pairs at the threshold.
        """
        differ = (1 - threshold) * (1 - 0.5**LOOK_BITS)
        n, within = self.permutations, 0.0
        for most in range(n):
            within += math.comb(n, most) * differ**most * (1 - differ) ** (n - most)
            if within >= 1 - OVERLOOKED:
                return most
        return n


# For one pair against all that is stored: 72 permutations, 18 rows of a table a pair, below 300 bytes of SQLite.
# It misses one in 13,000 at 0.8 and one in 1,000 at 0.75; most of what lies lower is found as well.
def stored(shingle: str = "char5") -> Scheme:
    """Return the scheme of the bands that are stored with each pair."""
    parse_shingle(shingle)
    return Scheme(shingle, bands=18, rows=4)


@cache
def choose(threshold: float, shingle: str = "char5", texts: int = 100_000) -> Scheme:
    """Return the cheapest scheme that misses at most one in 10,000 of the pairs that lie just at the threshold.

    What meets in a band is looked at before it is read again, which leaves hardly a wrong candidate. More rows a band
    make fewer meetings, which grow with the square of the texts, and need more permutations, which grow with the texts:
    so the answer depends on how many texts there are. Raises UserError where the threshold is not from 0.5 to 1.
    """
    if not LOWEST <= threshold <= HIGHEST:
        raise UserError(f"The threshold {threshold:g} is not between {LOWEST:g} and {HIGHEST:g}.")
    kind, _ = parse_shingle(shingle)

    def cost(scheme: Scheme) -> float:
        """Nanoseconds a text."""
        met = texts / 2 * scheme.bands * UNRELATED[kind] ** scheme.rows
        signed = scheme.permutations * SHINGLES_A_TEXT[kind] * SIGN
        return signed + scheme.bands * GROUP + met * MEET

    missed = max(MISS * min(1, texts / 1_000_000), LEAST_MISS) - OVERLOOKED
    schemes = []
    for rows in range(1, 33):
        for bands in range(2, MOST_PERMUTATIONS // rows + 1):
            scheme = Scheme(shingle, bands, rows)
            if scheme.miss(threshold) <= missed:
                schemes.append(scheme)
                break
    return min(schemes, key=cost)
