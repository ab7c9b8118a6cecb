from __future__ import annotations

import pytest
import torch

from videofusion.device import pick_device
from videofusion.errors import InputError


def test_devices_by_name_and_by_default() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["warp", "cuda:4096", ""])
def test_what_is_not_here_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f'^device is "{name}"'):
        pick_device(name)
