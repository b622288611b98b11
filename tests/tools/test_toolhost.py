"""What a tool leaves in its folder, removed."""

import os

from aios.drivers import toolhost


def test_a_folder_goes_however_deep_and_whatever_its_modes(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    folder = tmp_path / "own"
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    name = "deep" * 50
    for _ in range(30):  # Together longer than a path may be.
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.mkdir("unreadable", mode=0o300, dir_fd=here)
    os.symlink(outside, "link", dir_fd=here)
    os.close(here)
    (folder / "file").touch()
    folder.chmod(0o300)
    toolhost._remove(str(folder))
    assert not folder.exists()
    assert (outside / "kept").exists()
