"""Muon (Jordan et al., 2024): momentum whose steps are made orthogonal, for the layers' matrices."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor


def orthogonal(steps: Tensor, rounds: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices to a stack of them, by Newton and Schulz's iteration in bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = steps.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Steps of equal size in every direction; matrices of one shape are worked on together."""

    def __init__(self, matrices: Iterable[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(list(matrices), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Move every matrix by its gradient's momentum, made orthogonal."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                by_shape[matrix.shape].append(matrix)
            for shape, matrices in by_shape.items():
                pushes = torch.stack([self._push(matrix, group["momentum"]) for matrix in matrices])
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for matrix, move in zip(matrices, orthogonal(pushes).float(), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(move, alpha=-scale)

    def _push(self, matrix: Tensor, momentum: float) -> Tensor:
        assert matrix.grad is not None
        state = self.state[matrix]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(matrix)
        velocity: Tensor = state["velocity"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(velocity, momentum)
