import pickle

import torch

from videofusion.data.batch import BadClip, Batch, Sample


def test_samples_become_a_batch():
    samples = [Sample(torch.full((2, 3, 4, 5), float(n)), f"caption {n}", f"name {n}") for n in range(3)]
    batch = Batch.of(samples, [7, 8, 9])
    assert len(batch) == 3
    assert batch.clip.shape == (3, 2, 3, 4, 5)
    assert batch.clip[:, 0, 0, 0, 0].tolist() == [0, 1, 2]
    assert (batch.captions[1], batch.names[2], batch.ids.tolist()) == ("caption 1", "name 2", [7, 8, 9])


def test_a_bad_clip_survives_a_process_border():
    bad = pickle.loads(pickle.dumps(BadClip("a.mp4", "truncated")))
    assert (bad.name, bad.reason, str(bad)) == ("a.mp4", "truncated", "a.mp4: truncated")
