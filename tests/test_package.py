"""What `import videofusion` gives, and what it must not cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

import videofusion


@pytest.mark.parametrize("name", videofusion.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert callable(getattr(videofusion, name)) or name == "__version__"
    assert name in dir(videofusion)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Unet'"):
        videofusion.Unet  # noqa: B018


def test_import_leaves_the_heavy_packages_alone() -> None:
    code = "import sys, videofusion, videofusion.cli, videofusion.models; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "videofusion" in loaded
    assert not {"torch", "numpy", "diffusers", "sklearn", "av", "tyro"} & set(loaded)
