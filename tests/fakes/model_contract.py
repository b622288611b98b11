"""What every model on this machine keeps to, whatever computes it: one suite for all of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aios.drivers.models.kv_row import BLOCK
from aios.drivers.models.model import Floats, Model, Row


def prefilled(model: Model[Any], tokens: Sequence[int]) -> tuple[Row, Floats]:
    """A row that holds `tokens`, and the logits after them."""
    row, logits = model.new_row(), None
    for start in range(0, len(tokens), BLOCK):
        part = tokens[start : start + BLOCK]
        logits = model.prefill(row, part, start, last=start + len(part) == len(tokens))
    assert logits is not None
    return row, logits.copy()


def drawn(model: Model[Any], seed: int, length: int) -> list[int]:
    """Tokens drawn from a seed."""
    tokens: list[int] = np.random.default_rng(seed).integers(0, model.config.vocab_size, length).tolist()
    return tokens


class ModelContract:
    """Subclasses give the fixture `model`, whose window takes 300 tokens."""

    def test_logits_are_floats_of_its_own_that_may_be_changed(self, model: Model[Any]) -> None:
        row, logits = prefilled(model, drawn(model, 0, 40))
        assert logits.shape == (model.config.vocab_size,)
        step = model.decode([row], [1], [40])
        assert step.shape == (1, model.config.vocab_size)
        assert logits.dtype == step.dtype == np.float32
        step[:, 0] = -np.inf
        assert np.isfinite(model.decode([row], [1], [40])).all()

    def test_only_the_last_block_of_a_prompt_has_logits(self, model: Model[Any]) -> None:
        assert model.prefill(model.new_row(), drawn(model, 0, BLOCK), 0, last=False) is None

    @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(
        lengths=st.lists(st.integers(1, 80), min_size=1, max_size=40),
        seed=st.integers(0, 2**32 - 1),
        data=st.data(),
    )
    def test_a_row_has_the_same_bits_alone_and_among_any_neighbours(
        self, model: Model[Any], lengths: list[int], seed: int, data: st.DataObject
    ) -> None:
        if not model.is_exact:
            pytest.skip("the model does not say that it is exact")
        prompts = [drawn(model, seed + index, length) for index, length in enumerate(lengths)]
        rows = [prefilled(model, prompt)[0] for prompt in prompts]
        tokens = drawn(model, seed, len(rows))
        order = data.draw(st.permutations(range(len(rows))))
        together = model.decode(
            [rows[i] for i in order], [tokens[i] for i in order], [lengths[i] for i in order]
        )
        watched = data.draw(st.sampled_from(order))
        among = together[order.index(watched)].copy()
        alone, _ = prefilled(model, prompts[watched])
        np.testing.assert_array_equal(among, model.decode([alone], [tokens[watched]], [lengths[watched]])[0])
        stop = lengths[watched] + 1
        np.testing.assert_array_equal(rows[watched].copy(0, stop), alone.copy(0, stop))

    @pytest.mark.parametrize("length", [1, 31, 32, 33, 100, 257])
    def test_a_row_goes_on_from_what_was_copied_out_of_another(self, model: Model[Any], length: int) -> None:
        tokens = drawn(model, length, length)
        row, _ = prefilled(model, tokens)
        cut = length // BLOCK * BLOCK
        parts = [row.copy(0, cut), row.copy(cut, length)]
        row.put(0, row.copy(0, length) * 0)  # what was copied is nobody else's
        other = model.new_row()
        other.reserve(length, 0)
        other.put(0, parts[0])
        other.put(cut, parts[1])
        again, _ = prefilled(model, tokens)
        np.testing.assert_array_equal(
            model.decode([other], [5], [length]).copy(), model.decode([again], [5], [length])
        )

    def test_a_copy_counts_its_bytes_and_has_its_positions_on_the_third_axis(self, model: Model[Any]) -> None:
        row, _ = prefilled(model, drawn(model, 3, 70))
        whole, part = row.copy(0, 64), row.copy(32, 64)
        assert part.nbytes * 2 == whole.nbytes > 0
        np.testing.assert_array_equal(whole[:, :, 32:64], part)

    def test_what_a_row_held_before_does_not_matter(self, model: Model[Any]) -> None:
        tokens = drawn(model, 4, 45)
        used, _ = prefilled(model, drawn(model, 5, 290))
        for start in range(0, 45, BLOCK):
            model.prefill(used, tokens[start : start + BLOCK], start, last=False)
        fresh, _ = prefilled(model, tokens)
        np.testing.assert_array_equal(
            model.decode([used], [9], [45]).copy(), model.decode([fresh], [9], [45])
        )

    def test_the_window_can_be_filled_to_its_end(self, model: Model[Any]) -> None:
        window = model.config.max_position_embeddings
        row, _ = prefilled(model, drawn(model, 6, window - 1))
        assert np.isfinite(model.decode([row], [1], [window - 1])).all()

    def test_its_identity_says_what_computes_it(self, model: Model[Any]) -> None:
        assert len(model.identity.rsplit("-", 1)[1]) == 32
