"""The loops over bytes, compiled: texts to signatures, bands to candidates, candidates to counts. Knows arrays only.

Each runs on one thread and without Python's lock, so that a pool of threads can share the work: loops that
numba itself runs in parallel abort a server that searches twice at once or forks. Compiled code is kept in
`__pycache__`, or in the user's cache folder where that can't be written, or in NUMBA_CACHE_DIR.

numba takes int64 with uint64 for float64, and uint32 with uint32 for uint64: hence the casts. No loop calls one of
another file: numba compiles anew what stands in a file that changed, and not what calls it from elsewhere.
A number written down is a type of its own, for which a loop is compiled once more, hence np.int64(0); and to set a
slice all of its sentences for errors are compiled.
"""

from curator.minhash.kernels.folding import begins, fold
from curator.minhash.kernels.pairs import components, meet, ordered
from curator.minhash.kernels.texts import sketch, verify

__all__ = ["begins", "components", "fold", "meet", "ordered", "sketch", "verify"]
