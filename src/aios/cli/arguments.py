"""`k=v` words of a command line ⇄ the fields of a system call, by the table, which also checks them."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from aios.abi.errors import InvalidArgument
from aios.abi.messages import Message
from aios.abi.syscalls import TABLE, Row, SystemCall
from aios.abi.wire import decode_call, row_of


def parse_call(name: str, words: Iterable[str]) -> SystemCall:
    """The typed call that `name` and its `k=v` words describe. `UnknownCall` or `InvalidArgument`."""
    row = row_of(name)
    fields = {field.name: field for field in _fields(row)}
    args: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise InvalidArgument(f"{word[:64]!r} is not an argument such as {_example(row)}")
        if key not in fields:
            known = ", ".join(fields) or "none"
            raise InvalidArgument(f"{name} has no argument {key[:64]!r}; it has: {known}")
        if key in args:
            raise InvalidArgument(f"argument {key!r} is given twice")
        args[key] = parse_value(_read(text), fields[key].type)
    return decode_call(name, _encode(name, args))


def _encode(name: str, args: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(args)
    except (ValueError, OverflowError, RecursionError) as error:
        raise InvalidArgument(f"{name}: {error}") from None


def parse_value(text: str, kind: inspect.Type) -> Any:
    """Text as it is where the field takes text; else JSON where it is JSON, and text where it is not.

    A conversation may be given as one plain text: a single message of the user.
    """
    if _takes(kind, (inspect.StrType, inspect.LiteralType)):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if isinstance(kind, inspect.VarTupleType) and _is_message(kind.item_type):
        return [Message("user", text)]
    return [text] if isinstance(kind, inspect.VarTupleType) else text


def describe_calls() -> Iterator[tuple[str, str, str]]:
    """Each system call of the table: its name, its fields as they are typed here, what it does."""
    for name, row in TABLE.items():
        yield name, " ".join(map(_field_text, _fields(row))), _first_sentence(row.request.__doc__)


def _fields(row: Row) -> tuple[inspect.Field, ...]:
    kind = inspect.type_info(row.request)
    assert isinstance(kind, inspect.StructType)
    return kind.fields


def _read(text: str) -> str:
    """`@file` is that file's text, `@-` what comes on stdin, `@@…` a text that begins with an `@`."""
    if text.startswith("@@") or not text.startswith("@"):
        return text.removeprefix("@") if text.startswith("@@") else text
    try:
        return sys.stdin.read() if text == "@-" else Path(text[1:]).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidArgument(f"{text[1:]} is not UTF-8 text; give base64 with encoding=base64") from None
    except OSError as error:
        raise InvalidArgument(
            f"can't read {text[1:]}: {error.strerror}; begin a text that has an @ with two"
        ) from None


def _takes(kind: inspect.Type, wanted: tuple[type[inspect.Type], ...]) -> bool:
    if isinstance(kind, inspect.UnionType):
        return any(_takes(member, wanted) for member in kind.types)
    return isinstance(kind, wanted)


def _is_message(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.StructType) and kind.cls is Message


def _field_text(field: inspect.Field) -> str:
    text = f"{field.name}={_kind_text(field.type)}"
    return text if field.required else f"[{text}]"


def _kind_text(kind: inspect.Type) -> str:
    match kind:
        case inspect.UnionType():
            return "|".join(
                _kind_text(member) for member in kind.types if not isinstance(member, inspect.NoneType)
            )
        case inspect.LiteralType():
            return "|".join(map(str, kind.values))
        case inspect.VarTupleType():
            return f"[{_kind_text(kind.item_type)},…]"
        case inspect.StrType():
            return "TEXT"
        case inspect.IntType() | inspect.FloatType():
            return "NUMBER"
        case inspect.BoolType():
            return "true|false"
        case _:
            return "{…}"


def _example(row: Row) -> str:
    fields = _fields(row)
    return f"`{fields[0].name}=…`" if fields else f"`…`: {row.name} takes none"


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())
