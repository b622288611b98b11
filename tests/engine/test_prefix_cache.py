"""What is kept of prompts: a tree for each scope, of which the leaves go first."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aios.drivers.models.kv_row import BLOCK
from aios.drivers.models.prefix_cache import Node, PrefixCache

_VALUES = np.zeros((1, 2, BLOCK, 2), np.float32)
_SIZE = _VALUES.nbytes


def block(number: int) -> list[int]:
    return [number] * BLOCK


def put(cache: PrefixCache, prompt: list[int], scope: str = "") -> list[Node]:
    """Have a prompt computed, whose blocks are named by numbers; its nodes."""
    node, nodes = cache.root(scope), []
    for number in prompt:
        node = cache.find(node, block(number)) or cache.add(node, block(number), _VALUES)
        nodes.append(node)
    cache.touch(nodes)
    return nodes


def known(cache: PrefixCache, prompt: list[int], scope: str = "") -> int:
    """How many blocks of a prompt are there."""
    return len(list(cache.path(scope, [token for number in prompt for token in block(number)])))


def test_prompts_share_what_they_begin_with() -> None:
    cache = PrefixCache(100 * _SIZE)
    put(cache, [1, 2, 3])
    put(cache, [1, 2, 4])
    assert cache.num_bytes == 4 * _SIZE
    assert known(cache, [1, 2, 4, 5]) == 3
    assert known(cache, [2]) == 0


def test_a_scope_learns_nothing_of_another() -> None:
    cache = PrefixCache(100 * _SIZE)
    put(cache, [1, 2], "acme")
    assert known(cache, [1, 2], "acme") == 2
    assert known(cache, [1, 2], "other") == known(cache, [1, 2]) == 0
    put(cache, [1, 2], "other")
    assert cache.num_bytes == 4 * _SIZE


def test_the_ends_of_what_was_used_least_go_first() -> None:
    cache = PrefixCache(4 * _SIZE)
    put(cache, [1, 2, 3])
    put(cache, [1, 7])
    assert known(cache, [1, 2, 3]) == 3
    put(cache, [8])
    assert (known(cache, [1, 2, 3]), known(cache, [1, 7]), known(cache, [8])) == (2, 2, 1)


def test_what_a_waiting_prompt_begins_with_goes_last() -> None:
    cache = PrefixCache(3 * _SIZE)
    old = put(cache, [1])
    cache.expect(old, 1)
    for number in (2, 3, 4, 5):
        put(cache, [number])
    assert known(cache, [1]) == 1
    cache.expect(old, -1)
    put(cache, [6])
    assert known(cache, [1]) == 0


def test_what_was_asked_for_again_is_not_pushed_out_by_what_is_asked_for_once() -> None:
    cache = PrefixCache(4 * _SIZE)
    put(cache, [1, 2])
    put(cache, [1, 2])
    for number in range(3, 9):
        put(cache, [number])
    assert known(cache, [1, 2]) == 2
    for number in (3, 4, 3, 4):
        put(cache, [number])
    assert known(cache, [1, 2]) < 2


def test_what_comes_back_soon_after_it_went_counts_as_asked_for_again() -> None:
    cache = PrefixCache(3 * _SIZE)
    for number in (1, 2, 3, 4):
        put(cache, [number])
    assert known(cache, [1]) == 0
    put(cache, [1])
    for number in (5, 6, 7, 8):
        put(cache, [number])
    assert known(cache, [1]) == 1
    for number in (2, 9, 10):
        put(cache, [number])
    assert known(cache, [2]) == 0, "that was too long ago"
    cache.check()


def test_what_a_snapshot_needs_stays_and_counts_apart() -> None:
    cache = PrefixCache(2 * _SIZE)
    held = put(cache, [1, 2])
    cache.pin(held)
    assert (cache.num_bytes, cache.pinned_bytes) == (0, 2 * _SIZE)
    put(cache, [1, 3])
    put(cache, [4])
    put(cache, [5])
    assert known(cache, [1, 2]) == 2
    cache.unpin(held)
    cache.check()
    assert cache.pinned_bytes == 0
    assert cache.num_bytes <= 2 * _SIZE


@given(st.data())
def test_it_stays_a_tree_within_its_budget(data: st.DataObject) -> None:
    cache = PrefixCache(data.draw(st.integers(0, 6)) * _SIZE)
    prompts = st.lists(st.integers(1, 3), min_size=1, max_size=4)
    held: list[list[Node]] = []
    for _ in range(data.draw(st.integers(1, 30))):
        nodes = put(cache, data.draw(prompts), data.draw(st.sampled_from(["", "acme"])))
        if data.draw(st.booleans()):
            cache.pin(nodes)
            held.append(nodes)
        if held and data.draw(st.booleans()):
            cache.unpin(held.pop(data.draw(st.integers(0, len(held) - 1))))
        cache.check()
        pinned = {node for nodes in held for node in nodes}
        assert cache.pinned_bytes == len(pinned) * _SIZE
