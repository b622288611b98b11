"""Arithmetic on text, evaluated over a parsed tree: numbers, operators and a few named functions, no more."""

import ast
import math
import operator
import re
from collections.abc import Callable
from decimal import Decimal

from aios.abi.errors import InvalidArgument

Number = int | float

MAX_CHARACTERS = 300
MAX_BITS = 4096
"""The widest whole number that may come up on the way."""


def _round(number: Number, digits: int | None = None) -> Number:
    # Python works out the power of ten that it rounds to; beyond the widest number the value is 0 anyway.
    return round(number, digits if digits is None else max(digits, -MAX_BITS))


_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_FUNCTIONS: dict[str, Callable[..., Number]] = {
    "sqrt": math.sqrt,
    "abs": abs,
    "round": _round,
    "min": min,
    "max": max,
}
_SIGNS = str.maketrans({"×": "*", "÷": "/", "−": "-", "^": "**"})
_PERCENT_OF = re.compile(r"%\s*of\b")
_PERCENT = re.compile(r"(?<=[\d)])%(?=\s*(?:$|[)+\-*/,]))")


def calculate(expression: str) -> str:
    """The value of an arithmetic expression, whole numbers exact, others to 10 significant digits.

    Raises `InvalidArgument` for what is no arithmetic, is too large, or has no value.
    """
    if len(expression) > MAX_CHARACTERS:
        raise InvalidArgument(f"the expression is longer than {MAX_CHARACTERS} characters")
    text = _PERCENT.sub("/100", _PERCENT_OF.sub("/100*", expression.strip().translate(_SIGNS)))
    try:
        return format_number(_value(ast.parse(text, mode="eval").body))
    except ZeroDivisionError:
        raise InvalidArgument("division by zero") from None
    except (SyntaxError, ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        raise InvalidArgument(f"'{expression}' cannot be calculated") from None


def format_number(value: Number) -> str:
    """A number as people write it: 10 significant digits, no trailing zeros, an exponent only far from 1.

    Raises `OverflowError` for a number without end.
    """
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise OverflowError
    text = f"{value:.10g}"
    if value and not 1e-20 < abs(value) < 1e20:
        return text
    plain = format(Decimal(text), "f")
    return "0" if plain == "-0" else plain


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=bool()):
            raise ValueError
        case ast.Constant(value=int() | float() as number):
            return _bounded(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _apply(op, _value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_FUNCTIONS[name](*map(_value, args)))
        case _:
            raise ValueError


def _apply(op: ast.operator, left: Number, right: Number) -> Number:
    if isinstance(op, ast.Pow) and isinstance(left, int) and abs(right) * left.bit_length() > MAX_BITS:
        raise OverflowError
    return _bounded(_BINARY[type(op)](left, right))


def _bounded(value: Number) -> Number:
    if isinstance(value, complex) or (isinstance(value, int) and value.bit_length() > MAX_BITS):
        raise OverflowError
    return value
