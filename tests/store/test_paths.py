"""What a file may be called."""

import unicodedata

import pytest

from aios.abi.errors import InvalidArgument
from aios.kernel.paths import check_folder, check_path


@pytest.mark.parametrize(
    "path", ["a", "notes/today.md", "a b/ü.txt", ".hidden", "a..b", "日記/一.md", "x" * 1024]
)
def test_good_paths(path):
    check_path(path)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "empty"),
        ("/etc/passwd", "write 'etc/passwd'"),
        ("./a", "'.'"),
        ("a/./b", "'.'"),
        ("a/../b", "'..'"),
        ("..", "'..'"),
        ("a//b", "empty name"),
        ("a/", "empty name"),
        ("/", "begins with"),
        ("a\\b", "write 'a/b'"),
        ("a\0b", "cannot be seen"),
        ("a\n", "cannot be seen"),
        ("a\x85b", "cannot be seen"),
        ("a\u202eb", "cannot be seen"),
        ("a\u200bb", "cannot be seen"),
        ("a\u200eb", "cannot be seen"),
        ("a\u2060b", "cannot be seen"),
        ("\ufeffa", "cannot be seen"),
        ("a\xadb", "cannot be seen"),
        ("a\u061cb", "cannot be seen"),
        ("a\u3164b", "cannot be seen"),
        ("a\ud800", "half a character"),
        ("x" * 1025, "1025 bytes"),
        ("é" * 513, "1026 bytes"),
        (unicodedata.normalize("NFD", "é"), "NFC"),
    ],
)
def test_bad_paths_are_told_what_is_wrong(path, says):
    with pytest.raises(InvalidArgument) as error:
        check_path(path)
    assert says in error.value.message


def test_folders_may_be_empty_or_end_in_a_slash():
    check_folder("")
    check_folder("notes")
    check_folder("notes/")
    for folder in ("/", "notes//", "../notes"):
        with pytest.raises(InvalidArgument):
            check_folder(folder)
