"""Tasks for agents, made up from a seed, with what a perfect assistant does and a judge of what was done."""

from aios.bench.tasks.generate import KINDS, generate
from aios.bench.tasks.task import Outcome, Task, Verdict, judge, play_gold

__all__ = ["KINDS", "Outcome", "Task", "Verdict", "generate", "judge", "play_gold"]
