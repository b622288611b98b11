"""How a prompt's answers grow: one, several side by side, or the beams of a search. Logits in, tokens out.

A run's branches are fed a token each a step. Owns which of them go on and with what; the engine moves the
keys and values after them. It knows no weights and no rows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from aios.abi.messages import Beams, Choice, Delta, Sampling, pieces_of
from aios.drivers.engine_answer import Answer, AnswerState
from aios.drivers.models.model import Floats

Begin = Callable[[int], Answer]
"""Makes the answer of this number to a run's prompt."""


@dataclass(slots=True, eq=False)
class Branch:
    """One answer while it grows."""

    answer: Answer
    number: int = 0
    """Its place among several."""
    score: float = 0.0
    """Of a beam: the sum of its tokens' log-probabilities."""

    @property
    def token(self) -> int:
        """Chosen last, and to be fed next."""
        return self.answer.tokens[-1]


class BranchState(Struct, frozen=True):
    """A branch as it is kept."""

    answer: AnswerState
    number: int
    score: float


class BranchesState(Struct, frozen=True):
    """All branches of a run as they are kept."""

    live: tuple[BranchState, ...]
    ended: tuple[BranchState, ...]
    num_tokens: int


class Branches(Protocol):
    """The answers to one prompt. `live` is empty before the first step, and when all have ended."""

    live: list[Branch]
    num_tokens: int
    """Tokens chosen, in all branches."""

    @property
    def width(self) -> int:
        """The most branches that there may be at the same time from now on."""
        ...

    @property
    def is_over(self) -> bool: ...

    def grow(self, logits: Sequence[Floats]) -> tuple[list[Delta], list[int]]:
        """Take a token in each live branch, of whose `logits` (spoilt by it) there is one array each, before
        the first step one for all. What can be shown by it, and for each branch that is live now the place
        of the one that it goes on from.
        """
        ...

    def choices(self) -> list[Choice]:
        """The whole answers, when all is over."""
        ...

    def state(self) -> BranchesState: ...

    def resume(self, state: BranchesState) -> list[Delta]:
        """Be where another was, which has shown what this gives."""
        ...


def branches_of(sampling: Sampling, begin: Begin) -> Branches:
    """What answers a prompt in the way that `sampling` asks for."""
    if sampling.beams is None:
        return Several(sampling.n, begin)
    return BeamSearch(sampling.beams, sampling.n, begin)


class _Kept:
    """What both ways keep."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self.live: list[Branch] = []
        self._ended: list[Branch] = []
        self.num_tokens = 0

    def state(self) -> BranchesState:
        return BranchesState(
            tuple(map(_state_of, self.live)), tuple(map(_state_of, self._ended)), self.num_tokens
        )

    def resume(self, state: BranchesState) -> list[Delta]:
        deltas: list[Delta] = []
        self.live = [self._resumed(branch, deltas) for branch in state.live]
        self._ended = [self._resumed(branch, deltas) for branch in state.ended]
        self.num_tokens = state.num_tokens
        return deltas

    def _resumed(self, state: BranchState, deltas: list[Delta]) -> Branch:
        answer = self._begin(state.number)
        deltas += [_numbered(delta, state.number) for delta in answer.resume(state.answer)]
        return Branch(answer, state.number, state.score)


class Several(_Kept):
    """`n` answers, each as if it were alone."""

    def __init__(self, n: int, begin: Begin) -> None:
        super().__init__(begin)
        self._waiting = [Branch(begin(number), number) for number in range(n)]
        """Those that are to begin with the first step."""

    @property
    def width(self) -> int:
        return len(self._waiting) or len(self.live)

    @property
    def is_over(self) -> bool:
        return not self.live and not self._waiting

    def grow(self, logits: Sequence[Floats]) -> tuple[list[Delta], list[int]]:
        branches, places = self.live, list(range(len(self.live)))
        if self._waiting:
            branches, self._waiting = self._waiting, []
            logits = [logits[0], *(logits[0].copy() for _ in branches[1:])]
            places = [0] * len(branches)
        deltas: list[Delta] = []
        self.live, parents = [], []
        for branch, place, row in zip(branches, places, logits, strict=True):
            shown = branch.answer.add(*branch.answer.choose(row))
            deltas += [_numbered(delta, branch.number) for delta in shown]
            if branch.answer.finish_reason is None:
                self.live.append(branch)
                parents.append(place)
            else:
                self._ended.append(branch)
        self.num_tokens += len(branches)
        return deltas, parents

    def choices(self) -> list[Choice]:
        return [branch.answer.choice() for branch in sorted(self._ended, key=lambda each: each.number)]

    def resume(self, state: BranchesState) -> list[Delta]:
        self._waiting = []
        return super().resume(state)


class BeamSearch(_Kept):
    """The likeliest `n` answers that a search of this width finds; of equals the one found first."""

    def __init__(self, beams: Beams, n: int, begin: Begin) -> None:
        super().__init__(begin)
        self._beams, self._n = beams, n
        self._root: Branch | None = Branch(begin(0))
        self._is_over = False

    @property
    def width(self) -> int:
        return self._beams.width

    @property
    def is_over(self) -> bool:
        return self._is_over

    def grow(self, logits: Sequence[Floats]) -> tuple[list[Delta], list[int]]:
        before, self._root = (self.live if self._root is None else [self._root]), None
        self.live, parents, taken = [], [], set()
        num_before = self.num_tokens
        for rank, (score, place, token) in enumerate(self._candidates(before, logits)):
            if len(self.live) == self.width:
                break
            branch = self._fork(before[place], token, score, logits[place])
            if (place, branch.token) in taken:
                continue
            taken.add((place, branch.token))
            self.num_tokens += 1
            if branch.answer.finish_reason is None:
                self.live.append(branch)
                parents.append(place)
            elif rank < self.width:
                self._end(branch)
        self._is_over = not self.live or self._is_settled()
        deltas = [Delta(num_tokens=self.num_tokens - num_before)]
        if self._is_over:
            self.live, parents = [], []
            deltas += pieces_of(self.choices())
        return deltas, parents

    def choices(self) -> list[Choice]:
        return [branch.answer.choice() for branch in self._ended[: self._n]]

    def resume(self, state: BranchesState) -> list[Delta]:
        self._root = None
        super().resume(state)
        return [Delta(num_tokens=self.num_tokens)]

    def _candidates(self, before: Sequence[Branch], logits: Sequence[Floats]) -> list[tuple[float, int, int]]:
        """Scores, places of branches and tokens, the best first. Twice as many of each branch as can go on,
        since of those that end none does.
        """
        found = [
            (branch.score + float(scores[token]), place, token)
            for place, (branch, row) in enumerate(zip(before, logits, strict=True))
            for scores in (branch.answer.scores(row),)
            for token in _best(scores, 2 * self.width)
        ]
        return sorted(found, key=lambda each: (-each[0], *each[1:]))

    def _fork(self, parent: Branch, token: int, score: float, logits: Floats) -> Branch:
        answer = parent.answer.fork()
        kept = answer.kept(token)
        if kept != token:
            score = parent.score + answer.score(logits, kept)
        answer.add(kept, answer.logprob(kept, answer.likelihoods(logits)))
        return Branch(answer, 0, score)

    def _end(self, branch: Branch) -> None:
        """Keep the best of those that have ended."""
        self._ended = sorted([*self._ended, branch], key=self._worth, reverse=True)[: self.width]

    def _worth(self, branch: Branch) -> float:
        return branch.score / math.pow(branch.answer.num_tokens, self._beams.length_penalty)

    def _is_settled(self) -> bool:
        """Whether what is live can or shall add nothing to what has ended."""
        beams = self._beams
        if len(self._ended) < self.width:
            return False
        if beams.early_stopping is True:
            return True
        best = max(self.live, key=lambda each: each.score)
        length = best.answer.num_tokens
        if beams.early_stopping == "never" and beams.length_penalty > 0:
            length = best.answer.max_tokens
        return self._worth(self._ended[-1]) >= best.score / math.pow(length, beams.length_penalty)


def _best(scores: NDArray[np.float64], num: int) -> list[int]:
    """The tokens of the highest scores, of equals those of the lowest ids; none that may not come."""
    if num < len(scores):
        least = np.partition(scores, -num)[-num]
        scores = np.where(scores >= least, scores, -np.inf)
    order = np.argsort(-scores, kind="stable")[:num]
    return [int(token) for token in order if np.isfinite(scores[token])]


def _numbered(delta: Delta, number: int) -> Delta:
    return structs.replace(delta, index=number) if number else delta


def _state_of(branch: Branch) -> BranchState:
    return BranchState(branch.answer.state(), branch.number, branch.score)
