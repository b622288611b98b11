"""One call's work, and how it is written into a prompt."""

import re

from msgspec import Struct

CHARS_PER_TOKEN = 4
"""What prompts are padded to, so that a kernel which counts characters finds about as many tokens."""

_WORK = re.compile(r"work (\d+) (\d+) (\d+)")


class Work(Struct, frozen=True):
    """A call: `n_in` tokens of prompt, `n_out` of answer. The `id` stays the same when it is tried again."""

    id: int
    n_in: int
    n_out: int

    @property
    def num_tokens(self) -> int:
        return self.n_in + self.n_out


def prompt_of(work: Work) -> str:
    """A user's message that carries this work over any wire."""
    text = f"work {work.id} {work.n_in} {work.n_out} "
    return text.ljust(CHARS_PER_TOKEN * work.n_in, ".")


def work_in(prompt: str) -> Work | None:
    """The work that a message carries; None where it carries none."""
    found = _WORK.match(prompt)
    return Work(*map(int, found.groups())) if found else None
