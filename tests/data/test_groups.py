"""Who is seen and what is done, from a folder's table to the batch."""

from __future__ import annotations

import torch

from videofusion.data.batch import Batch, Sample
from videofusion.data.layouts.listing import list_videos
from videofusion.data.loader import Loader


def test_a_table_may_name_identity_and_action(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "a.mp4", "text": "a", "identity": 0, "action": "bend"}\n{"file_name": "b.mp4", "text": "b"}\n'
    )
    listing = list_videos(tmp_path)
    assert [(item.name, item.identity, item.action) for item in listing.items] == [
        ("a.mp4", "0", "bend"),
        ("b.mp4", "", ""),
    ]


class Three:
    def __len__(self) -> int:
        return 3

    def sample(self, index: int, epoch: int, seed: int) -> Sample:
        return Sample(torch.zeros(1, 3, 2, 2), "", str(index), f"person {index}", f"action {index}")


def test_batches_carry_them_across_epochs():
    batch = Loader(Three(), 4).batch(0)  # the fourth clip is of the second epoch
    assert isinstance(batch, Batch)
    assert batch.identities == [f"person {name}" for name in batch.names]
    assert batch.actions == [f"action {name}" for name in batch.names]
