"""Files are whole or absent, and what cannot work is said before the work."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from videofusion.clip import check_output, save_sheet, write_clip
from videofusion.errors import InputError, RunError
from videofusion.files import write_whole

CLIP = torch.zeros(3, 3, 16, 16)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["a.mp4", "a.GIF", "a.webp", "a.png", "new/folder/a.mp4"])
def test_a_place_that_can_be_written_to_passes(tmp_path, name):
    assert check_output(tmp_path / name) == tmp_path / name
    assert not (tmp_path / name).exists()
    assert names((tmp_path / name).parent) == []


@pytest.mark.parametrize("name", ["a.avi", "a", "a.mp4.txt", "png"])
def test_other_endings_are_refused_with_those_that_work(tmp_path, name):
    with pytest.raises(InputError, match=r"\.mp4, \.gif, \.webp, \.png"):
        check_output(tmp_path / name)
    with pytest.raises(InputError, match=r"\.mp4, \.gif, \.webp, \.png"):
        write_clip(CLIP, tmp_path / name)


def test_places_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    for path, reason in (
        (tmp_path / "file" / "a.mp4", "Not a directory|File exists"),
        (tmp_path / "folder.mp4", "is a folder"),
        (tmp_path / ("a" * 300 + ".mp4"), "too long"),
        ("/proc/videofusion/a.mp4", "cannot be written"),
    ):
        with pytest.raises(InputError, match=reason):
            check_output(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        check_output(tmp_path / "a.mp4")


def fail(code):
    def failing(*_):
        raise OSError(code, os.strerror(code))

    return failing


@pytest.mark.parametrize(("module_function", "code"), [("fsync", errno.ENOSPC), ("replace", errno.EIO)])
@pytest.mark.parametrize("ending", ["mp4", "gif", "webp", "png"])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, module_function, code, ending):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(b"before")
    monkeypatch.setattr(os, module_function, fail(code))
    with pytest.raises(RunError, match=os.strerror(code)):
        write_clip(CLIP, path)
    assert names(tmp_path) == [path.name]
    assert path.read_bytes() == b"before"


def test_a_full_disk_for_real(tmp_path):
    """A limit on the size of files fails a write half way, as a full disk does."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(RunError, match="could not be written"):
            write_whole(tmp_path / "a.bin", bytes(5000))
        with pytest.raises(RunError, match="could not be written"):
            save_sheet(torch.rand(4, 8, 3, 32, 32), tmp_path / "a.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []
