"""Files and folders of ours are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from videofusion import files
from videofusion.errors import RunError
from videofusion.files import replacing, whole_file, whole_path, write_folder, write_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.bin", b"data")
    assert names(tmp_path) == []


def test_bytes_permissions_and_links(tmp_path):
    target = tmp_path / "target.bin"
    target.write_bytes(b"old")
    (tmp_path / "link.bin").symlink_to(target)
    write_whole(tmp_path / "link.bin", b"new")
    assert target.read_bytes() == b"new"
    assert (tmp_path / "link.bin").is_symlink()
    other = tmp_path / "plain"
    other.touch()
    assert target.stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize("writer", [whole_file, whole_path, replacing])
def test_an_error_on_the_way_leaves_what_was_there(tmp_path, writer):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")

    def write_half():
        with writer(path) as there:
            there.write(b"half") if writer is whole_file else there.write_bytes(b"half")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_half()
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["a.bin"]


def test_a_writer_that_takes_a_name_gets_one_and_the_file_has_the_usual_mode(tmp_path):
    with whole_path(tmp_path / "a.safetensors") as name:
        save_file({"x": torch.zeros(2)}, name)
        assert name.parent == tmp_path
        assert not (tmp_path / "a.safetensors").exists()
    other = tmp_path / "other"
    other.touch()
    modes = {stat.S_IMODE((tmp_path / each).stat().st_mode) for each in names(tmp_path)}
    assert modes == {stat.S_IMODE(other.stat().st_mode)}


@pytest.mark.parametrize(("writer", "error"), [(whole_path, RunError), (replacing, OSError)])
def test_a_full_disk_is_told_in_the_words_of_who_writes(tmp_path, monkeypatch, writer, error):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(error, match="No space left"), writer(tmp_path / "a.bin") as name:
        name.write_bytes(b"data")
    assert names(tmp_path) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(RunError, match="could not be written: No such file or directory"):
        write_whole(tmp_path / "gone" / "a.bin", b"data")


@pytest.mark.parametrize("existing", [True, False])
def test_folder_is_replaced_whole_or_not_at_all(tmp_path, existing):
    target = tmp_path / "model"

    def fill(text):
        def work(new):
            (new / "a.txt").write_text(text)
            (new / "sub").mkdir()
            (new / "sub" / "b.txt").write_text(text)
            if text == "bad":
                raise OSError(errno.ENOSPC, "No space left on device")

        return work

    if existing:
        write_folder(target, fill("old"))
    with pytest.raises(RunError):
        write_folder(target, fill("bad"))
    assert target.exists() == existing
    if existing:
        assert (target / "sub" / "b.txt").read_text() == "old"
    write_folder(target, fill("new"))
    assert (target / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["model"]
