"""Muon (Jordan et al., 2024): momentum whose steps are made orthogonal, for the layers' matrices."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def orthogonal(steps: Tensor, rounds: int = 5) -> Tensor:
    """The semi-orthogonal matrices nearest to a stack of them, by Newton and Schulz's iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = steps.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.mT if tall else x


class Muon:
    """Steps of equal size in every direction; matrices of one shape are worked on together."""

    def __init__(self, matrices: Sequence[Tensor], momentum: float, weight_decay: float) -> None:
        self._matrices = list(matrices)
        self._velocities = [torch.zeros_like(matrix) for matrix in matrices]
        self._momentum, self._decay = momentum, weight_decay

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """Move every matrix by its gradient's momentum, made orthogonal."""
        by_shape: dict[torch.Size, list[int]] = defaultdict(list)
        for index, matrix in enumerate(self._matrices):
            by_shape[matrix.shape].append(index)
        for shape, indexes in by_shape.items():
            pushes = torch.stack([self._push(index, gradients[index]) for index in indexes])
            scale = rate * max(1.0, shape[0] / shape[1]) ** 0.5
            for index, move in zip(indexes, orthogonal(pushes).float(), strict=True):
                self._matrices[index].mul_(1 - rate * self._decay).add_(move, alpha=-scale)

    def _push(self, index: int, gradient: Tensor) -> Tensor:
        velocity = self._velocities[index].lerp_(gradient, 1 - self._momentum)
        return gradient.lerp(velocity, self._momentum)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"velocities": self._velocities}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._velocities = state["velocities"]
