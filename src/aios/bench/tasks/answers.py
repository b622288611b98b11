"""Pieces of what the perfect assistant says, whatever it was asked."""

from collections.abc import Callable

from aios.bench.tasks.play import Answer, Script, Wish


def failed(result: str) -> Answer | None:
    """The answer that reports an error; None where the result is none."""
    if not result.startswith("error: "):
        return None
    sentence = result.removeprefix("error: ").rstrip(".")
    return Answer(f"That failed: {sentence}.", ())


def missing(path: str, result: str) -> Answer | None:
    """The answer when a file is not there; None where the result is no error."""
    return Answer(f"There is no file {path}.", (path,)) if result.startswith("error: ") else None


def joined(items: list[str]) -> str:
    """Items as a sentence lists them."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def single(call: Wish, answer: Callable[[str], Answer]) -> Callable[[], Script]:
    """A turn of one call, answered from its result."""

    def script() -> Script:
        (result,) = yield [call]
        return failed(result) or answer(result)

    return script


def result_is(result: str) -> Answer:
    return Answer(f"The result is {result}.", (result,))
