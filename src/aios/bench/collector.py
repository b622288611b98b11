"""What Python's collector takes for full passes over all there is: too long for a slice, so counted apart."""

import gc
import time


def full_passes() -> int:
    """How many there were."""
    return int(gc.get_stats()[-1]["collections"])


def full_pass_s() -> float:
    """Processor seconds of one over what there is now, at its best."""
    found = []
    for _ in range(5):
        begin = time.process_time()
        gc.collect()
        found.append(time.process_time() - begin)
    return min(found)
