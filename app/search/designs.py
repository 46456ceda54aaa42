"""Space-filling first points: a scrambled Sobol sequence with random access, a point a number.

Written out here because importing `scipy.stats` costs more than everything else in the core together.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from app.search.constraints import Array

Bits = NDArray[np.uint32]

N_BITS = 32

# Primitive polynomial and initial direction numbers of dimensions 2, 3, ...: "polynomial:m_1,m_2,...".
# Source: Joe & Kuo 2008, file new-joe-kuo-6.21201.
_JOE_KUO = (
    "3:1 7:1,3 11:1,3,1 13:1,1,1 19:1,1,3,3 25:1,3,5,13 37:1,1,5,5,17 41:1,1,5,5,5 47:1,1,7,11,19 55:1,1,5,1,1 "
    "59:1,1,1,3,11 61:1,3,5,5,31 67:1,3,3,9,7,49 91:1,1,1,15,21,21 97:1,3,1,13,27,49 103:1,1,1,15,7,5 "
    "109:1,3,1,15,13,25 115:1,1,5,5,19,61 131:1,3,7,11,23,15,103 137:1,3,7,13,13,15,69 143:1,1,3,13,7,35,63 "
    "145:1,3,5,9,1,25,53 157:1,3,1,13,9,35,107 167:1,3,1,5,27,61,31 171:1,1,5,11,19,41,61 185:1,3,5,3,3,13,69 "
    "191:1,1,7,13,1,19,1 193:1,3,7,5,13,19,59 203:1,1,3,9,25,29,41 211:1,3,5,13,23,1,55 213:1,3,7,3,13,59,17 "
    "229:1,3,1,3,5,53,69 239:1,1,5,5,23,33,13 241:1,1,7,7,1,61,123 247:1,1,7,9,13,61,49 253:1,3,3,5,3,55,33 "
    "285:1,3,1,15,31,13,49,245 299:1,3,5,15,31,59,63,97 301:1,3,1,11,11,11,77,249 333:1,3,1,11,27,43,71,9 "
    "351:1,1,7,15,21,11,81,45 355:1,3,7,3,25,31,65,79 357:1,3,1,1,19,11,3,205 361:1,1,5,9,19,21,29,157 "
    "369:1,3,7,11,1,33,89,185 391:1,3,3,3,15,9,79,71 397:1,3,7,11,15,39,119,27 425:1,1,3,1,11,31,97,225 "
    "451:1,1,1,3,23,43,57,177 463:1,3,7,7,17,17,37,71 487:1,3,1,5,27,63,123,213 501:1,1,3,5,11,43,53,133 "
    "529:1,3,5,5,29,17,47,173,479 539:1,3,3,11,3,1,109,9,69 545:1,1,1,5,17,39,23,5,343 "
    "557:1,3,1,5,25,15,31,103,499 563:1,1,1,11,11,17,63,105,183 601:1,1,5,11,9,29,97,231,363 "
    "607:1,1,5,15,19,45,41,7,383 617:1,3,7,7,31,19,83,137,221 623:1,1,1,3,23,15,111,223,83 "
    "631:1,1,5,13,31,15,55,25,161 637:1,1,3,13,25,47,39,87,257"
)  # fmt: skip
MAX_DIMENSIONS = 1 + len(_JOE_KUO.split())


def sobol(indices: NDArray[np.int64], n_dimensions: int, seed: int) -> Array:
    """Points of an Owen-scrambled Sobol sequence.

    Args:
        indices: (m,) positions >= 0 in the sequence; any order, any gaps.
        n_dimensions: D. Beyond 64 the columns are independent uniform numbers, which at that width fill space as well.
        seed: of the scrambling; the same seed and index always give the same point.
    Returns: (m, D), in (0, 1).
    Source: Sobol 1967; scrambling by hashing as in Burley 2020, "Practical hash-based Owen scrambling".
    """
    n_sobol = min(n_dimensions, MAX_DIMENSIONS)
    seeds = np.random.default_rng([seed % 2**64, 0x50B01]).integers(0, 2**32, size=n_sobol, dtype=np.uint32)
    words = _words(np.asarray(indices, dtype=np.int64), n_sobol)
    scrambled = _reverse_bits(_laine_karras(_reverse_bits(words), seeds))
    points = (scrambled.astype(np.float64) + 0.5) / 2.0**N_BITS
    if n_dimensions > n_sobol:
        rest = [np.random.default_rng([seed % 2**64, 0x50B02, int(i)]).random(n_dimensions - n_sobol) for i in indices]
        points = np.hstack([points, np.array(rest).reshape(len(indices), -1)])
    return points


def _words(indices: NDArray[np.int64], n_dimensions: int) -> Bits:
    """(m, D) the unscrambled points as 32-bit fractions: XOR of the direction numbers of the index's bits."""
    directions = _directions(n_dimensions)
    words = np.zeros((len(indices), n_dimensions), dtype=np.uint32)
    for bit in range(N_BITS):
        has_bit = (indices >> bit) & 1 == 1
        if has_bit.any():
            words[has_bit] ^= directions[bit]
    return words


@lru_cache(maxsize=64)
def _directions(n_dimensions: int) -> Bits:
    """(32, D) direction numbers v_1 ... v_32, by the recurrence of Bratley & Fox 1988."""
    directions = np.zeros((N_BITS, n_dimensions), dtype=np.uint64)
    directions[:, :1] = [[1 << (N_BITS - 1 - k)] for k in range(N_BITS)]
    for j, entry in enumerate(_JOE_KUO.split()[: max(n_dimensions - 1, 0)], start=1):
        text, initial = entry.split(":")
        polynomial, m = int(text), [int(x) for x in initial.split(",")]
        degree = len(m)
        for k in range(degree, N_BITS):
            new = m[k - degree] ^ (m[k - degree] << degree)
            for i in range(1, degree):
                if (polynomial >> (degree - i)) & 1:
                    new ^= m[k - i] << i
            m.append(new)
        directions[:, j] = [m[k] << (N_BITS - 1 - k) for k in range(N_BITS)]
    return directions.astype(np.uint32)


def _laine_karras(x: Bits, seeds: Bits) -> Bits:
    """A hash whose bit k depends on lower bits only: a nested uniform scramble of the reversed fraction."""
    with np.errstate(over="ignore"):
        x = x ^ (x * np.uint32(0x3D20ADEA))
        x = x + seeds
        x = x * ((seeds >> np.uint32(16)) | np.uint32(1))
        x = x ^ (x * np.uint32(0x05526C56))
        return x ^ (x * np.uint32(0x53A22864))


def _reverse_bits(x: Bits) -> Bits:
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF), (16, 0x0000FFFF)):
        s, m = np.uint32(shift), np.uint32(mask)
        x = ((x >> s) & m) | ((x & m) << s)
    return x
