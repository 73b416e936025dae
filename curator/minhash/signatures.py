"""The permutations of datasketch's `affine32` scheme: a signature made with them is one of its own, bit for bit."""

from __future__ import annotations

from functools import cache

import numpy as np

from curator.minhash.shingles import Array

# The 32-bit finalizer of MurmurHash3, which datasketch puts before its permutations.
FMIX32 = 0x85EBCA6B, 0xC2B2AE35
# Odd, with bits all over: what words are hashed with, and joined. Five characters times SPREAD are another number
# for each five, and its upper half is what is signed.
SPREAD = 0xFF51AFD7ED558CCD
# Of 32 permutations two bits each make one number; those that differ show in the lower of their two bits.
LOWER = 0x5555555555555555
LETTERS, WORD, NEXT, FIELD = 0x9FB21C651E98DF25, 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93
# Eight letters of a word are one number; of fewer, the bits of so many are taken.
FIRST = [(1 << 8 * letters) - 1 for letters in range(9)]


@cache
def permutations(count: int, seed: int = 1) -> tuple[Array, Array]:
    """Return (a, b), uint32: permutation k sends a mixed hash h to a[k] * h + b[k], modulo 2**32.

    The same as `datasketch.MinHash(num_perm=count, seed=seed, scheme="affine32").permutations`, which
    takes half a second to import.
    """
    random = np.random.RandomState(seed)
    a = random.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    b = random.randint(0, 1 << 32, count, dtype=np.uint32)
    return a, b
