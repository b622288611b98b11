"""What a file may be called: relative, `/` between the names, one spelling for each path.

Nothing is corrected in silence: the access manager has decided on the path as it was given.
"""

import unicodedata

from aios.abi.errors import InvalidArgument

MAX_BYTES = 1024

# With these a path could look like another to the person who is asked about it: control characters, those
# of no width or that turn the direction of writing, separators of lines and paragraphs, and blank letters.
_UNSEEN_KINDS = {"Cc", "Cf", "Zl", "Zp"}
_BLANK_LETTERS = set("\u115f\u1160\u2800\u3164\uffa0")


def check_path(path: str) -> None:
    """Raises `InvalidArgument` with what is wrong and what would be right."""
    if not path:
        raise InvalidArgument("the path is empty; write one such as 'notes/today.md'")
    try:
        num_bytes = len(path.encode())
    except UnicodeEncodeError:
        raise InvalidArgument("the path holds half a character (a lone surrogate)") from None
    if num_bytes > MAX_BYTES:
        raise InvalidArgument(f"the path has {num_bytes} bytes; it may have {MAX_BYTES}")
    if any(_is_unseen(letter) for letter in path):
        raise InvalidArgument(f"the path {path!a} holds a character that cannot be seen, such as a newline")
    if "\\" in path:
        raise InvalidArgument(f"'{path}' holds a backslash; write '{path.replace(chr(92), '/')}'")
    if path.startswith("/"):
        raise InvalidArgument(f"'{path}' begins with '/'; paths are relative, write '{path.strip('/')}'")
    if not unicodedata.is_normalized("NFC", path):
        raise InvalidArgument(f"'{path}' is not in Unicode's normal form NFC")
    for name in path.split("/"):
        _check_name(path, name)


def check_folder(folder: str) -> None:
    """As `check_path`; an empty folder stands for all files. One `/` at the end is as well."""
    if folder:
        check_path(folder.removesuffix("/") or folder)


def _is_unseen(letter: str) -> bool:
    return unicodedata.category(letter) in _UNSEEN_KINDS or letter in _BLANK_LETTERS


def _check_name(path: str, name: str) -> None:
    if not name:
        raise InvalidArgument(f"'{path}' has an empty name in it: no '//' and no '/' at the end")
    if name in (".", ".."):
        raise InvalidArgument(f"'{path}' has '{name}' in it; write the path without")
