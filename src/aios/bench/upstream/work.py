"""One call's work, and how it is written into a prompt."""

import re

from msgspec import Struct

CHARS_PER_TOKEN = 4
"""What prompts are padded to, so that a kernel which counts characters finds about as many tokens."""

_WORK = re.compile(r"work (\d+) (\d+) (\d+) (?:of (\d+) (\d+) (\d+) (\d+) )?")


class Work(Struct, frozen=True):
    """A call: `n_in` tokens of prompt, `n_out` of answer. The `id` stays the same when it is tried again."""

    id: int
    n_in: int
    n_out: int
    conversation: int = 0
    """Whose beginning a cache may hold; 0 for nobody's."""
    n_known: int = 0
    """Tokens of the prompt that an endless cache would hold."""
    kind: int = 0
    """Whose system prompt it begins with."""
    n_shared: int = 0
    """Tokens of that."""

    @property
    def num_tokens(self) -> int:
        return self.n_in + self.n_out


def prompt_of(work: Work, n_before: int = 0) -> str:
    """A user's message that carries this work over any wire, after `n_before` tokens of earlier messages."""
    text = f"work {work.id} {work.n_in} {work.n_out} "
    if work.conversation:
        text += f"of {work.conversation} {work.n_known} {work.kind} {work.n_shared} "
    return text.ljust(CHARS_PER_TOKEN * (work.n_in - n_before), ".")


def work_in(prompt: str) -> Work | None:
    """The work that a message carries; None where it carries none."""
    found = _WORK.match(prompt)
    return Work(*(int(number) for number in found.groups() if number is not None)) if found else None
