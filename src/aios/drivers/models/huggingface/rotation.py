"""How fast each pair of a head's numbers turns with the position (rotary embeddings, Su and others,
arXiv 2104.09864, section 3.2), and how that is stretched for longer windows.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def turns(rope: Mapping[str, Any], dim: int, positions: int) -> NDArray[np.complex64]:
    """For each position and pair, the number on the unit circle that the pair is multiplied by."""
    angles = np.arange(positions)[:, None] * speeds(rope, dim)
    out: NDArray[np.complex64] = np.exp(1j * angles).astype(np.complex64)
    return out


def speeds(rope: Mapping[str, Any], dim: int) -> NDArray[np.float64]:
    """Radians a position, by pair. `rope` has `rope_type`, `rope_theta` and what the type needs."""
    plain: NDArray[np.float64] = float(rope["rope_theta"]) ** -(np.arange(dim // 2) / (dim // 2))
    match rope["rope_type"]:
        case "linear":
            return plain / float(rope["factor"])
        case "llama3":
            return _llama3(rope, plain)
        case _:
            return plain


def _llama3(rope: Mapping[str, Any], plain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slow pairs are slowed by the factor, fast ones not, those between in proportion (as Llama 3.1 defines
    it in its reference code; its report, arXiv 2407.21783, section 3.4.2, names the longer window only).
    """
    turned = float(rope["original_max_position_embeddings"]) * plain / (2 * math.pi)
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    share = np.clip((turned - low) / (high - low), 0, 1)
    return plain * (share + (1 - share) / float(rope["factor"]))
