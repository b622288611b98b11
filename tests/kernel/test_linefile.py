"""Files of lines: a system that writes less than it was given."""

import builtins
from io import FileIO

from aios.drivers import linefile
from aios.drivers.clock import ManualClock


class Stingy(FileIO):
    """Takes ten bytes at a time."""

    def write(self, data):
        return super().write(bytes(data[:10]))


def test_a_line_is_whole_when_the_system_takes_it_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(linefile, "open", lambda path, mode, buffering: Stingy(path, "a"), raising=False)
    file = linefile.LineFile(tmp_path / "lines", 60, ManualClock())
    for _ in range(2):
        file.append(b"0123456789" * 4)
        file.flush()
    monkeypatch.setattr(linefile, "open", builtins.open, raising=False)
    for name in ("lines", "lines.1"):
        assert (tmp_path / name).read_bytes() == b"0123456789" * 4 + b"\n"
