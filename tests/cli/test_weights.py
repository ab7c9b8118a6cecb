"""`videofusion weights convert`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videofusion.cli import main
from videofusion.evaluation.extractors import weights
from videofusion.evaluation.extractors.c3d import C3D, public_name


def test_convert_writes_the_file_and_refuses_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = weights.Architecture(lambda: C3D(width=1), public_name)
    monkeypatch.setitem(weights.ARCHITECTURES, "c3d", small)
    file, out = tmp_path / "a.pt", tmp_path / "a.safetensors"
    torch.save(C3D(width=1).state_dict(), file)
    assert main(["weights", "convert", str(file), str(out)]) == 0
    assert f"{out}  c3d  sha256 " in capsys.readouterr().out
    assert main(["weights", "convert", str(file), str(tmp_path / "b.safetensors"), "--sha256", "00"]) == 2
    err = capsys.readouterr().err
    assert "not 00" in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == [file, out]
