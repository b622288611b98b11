"""What people and programs see: JSON, tables, and one line for an error.

Rich is imported only when something is drawn, so that `aios --help` stays quick. Knows no kernel.
"""

import os
import re
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from aios.abi.errors import AiosError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

EXIT_FAILED = 1
"""What was asked was tried and failed: the kernel or the agent answered with an error."""
EXIT_UNUSABLE = 2
"""It could not be tried: a wrong command line, a wrong configuration, or no kernel is running."""
EXIT_INTERRUPTED = 130
WORD_CELLS = 14

_STEERING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""Controls but for line ends and tabs, separators of lines, half characters, marks that turn text around."""

T = TypeVar("T")
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]


class Unusable(AiosError):
    """The command cannot be tried as things stand. The message says what to do about it."""

    code = "unusable"


@contextmanager
def errors_told(
    *, json: bool = False, one_line: bool = False, exit_code: int = EXIT_FAILED
) -> Iterator[None]:
    """An error becomes one line on stderr (one JSON object on stdout with `json`) and an exit code.

    Ctrl-C does, too, also at a prompt (`typer.Abort`). `one_line` is of the JSON.
    """
    try:
        yield
    except Unusable as error:
        fail(error, json=json, one_line=one_line, exit_code=EXIT_UNUSABLE)
    except AiosError as error:
        fail(error, json=json, one_line=one_line, exit_code=exit_code)
    except (KeyboardInterrupt, typer.Abort):
        raise typer.Exit(EXIT_INTERRUPTED) from None


def execute(work: Callable[[], Coroutine[Any, Any, T]], *, json: bool = False, one_line: bool = False) -> T:
    """Run `work` to its end; errors are told as `errors_told` does."""
    import asyncio

    with errors_told(json=json, one_line=one_line):
        result = asyncio.run(work())
    return result


def fail(
    error: AiosError, *, json: bool = False, one_line: bool = False, exit_code: int = EXIT_FAILED
) -> NoReturn:
    """Say what went wrong and leave with `exit_code`."""
    if json:
        print_json({"error": error.to_reply()}, one_line=one_line)
    else:
        complain(f"{error.code}: {error.message}")
    raise typer.Exit(exit_code)


def complain(sentence: str) -> None:
    """One line on stderr, red where that is wanted."""
    red, plain = ("\033[31m", "\033[0m") if has_colour(sys.stderr) else ("", "")
    print(f"{red}aios: {visible(sentence)}{plain}", file=sys.stderr)


def has_colour(stream: Any) -> bool:
    return bool(stream.isatty()) and "NO_COLOR" not in os.environ


def print_json(value: Any, *, one_line: bool = False) -> None:
    """Any struct or plain data as one JSON object on stdout, indented unless it is one of many lines."""
    import msgspec

    encoded = msgspec.json.encode(value)
    print((encoded if one_line else msgspec.json.format(encoded, indent=2)).decode(), flush=one_line)


def console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> "Table":
    """A table that fits the terminal: numbers to the right, and no word of up to `WORD_CELLS` broken."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    lines = [[cell_text(cell) for cell in row] for row in rows]
    drawn = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0)
    )
    for index, column in enumerate(columns):
        cells = [column, *(line[index] for line in lines)]
        numeric = bool(lines) and all(map(_is_number, cells[1:]))
        width = max((len(word) for cell in cells for word in cell.split()), default=0)
        drawn.add_column(column, justify="right" if numeric else "left", min_width=min(width, WORD_CELLS))
    for line in lines:
        drawn.add_row(*map(Text, line))
    return drawn


def cell_text(cell: object) -> str:
    """A cell as people read it: few digits, an empty cell for nothing."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else visible(str(cell))


def visible(text: str) -> str:
    """Text of an agent without what would steer the terminal; line ends and tabs stay."""
    return _STEERING.sub("\ufffd", text)


def _is_number(text: str) -> bool:
    return text == "" or text.lstrip("-").replace(",", "").replace(".", "").replace("%", "").isdigit()
