"""Datasets with a video column."""

from __future__ import annotations

import pickle

import pytest
import torch

from videofusion.data.folder import VideoFolder
from videofusion.data.layouts.hub import of_dataset
from videofusion.errors import InputError

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.peer  # a large package, and not in the dev extra


@pytest.fixture(scope="module")
def files(video, tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    return [video(root / f"{number}.mp4", 8 + number) for number in range(3)]


def test_a_dataset_on_disk_gives_the_clips_of_its_files(files, tmp_path):
    rows = {
        "video": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
        "caption": ["one", "two", "three"],
        "label": [1, 0, 1],
    }
    features = datasets.Features(
        {
            "video": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
            "caption": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["bend", "run"]),
        }
    )
    table = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": table, "validation": table.select([0])}).save_to_disk(str(tmp_path / "saved"))
    data = VideoFolder(tmp_path / "saved", frames=6, size=16)
    assert [(i.name, i.caption, i.label, i.split) for i in data.items] == [
        ("train[0]", "one", "run", "train"),
        ("train[1]", "two", "bend", "train"),
        ("train[2]", "three", "run", "train"),
        ("validation[0]", "one", "run", "val"),
    ]
    here = VideoFolder(files[0].parent, frames=6, size=16)
    assert torch.equal(data.sample(2, 1, 1).clip, here.sample(2, 1, 1).clip)
    assert torch.equal(pickle.loads(pickle.dumps(data)).sample(2, 1, 1).clip, here.sample(2, 1, 1).clip)


def test_a_video_column_is_not_decoded_by_datasets(files):
    table = datasets.Dataset.from_dict({"video": [str(file) for file in files]})
    table = table.cast_column("video", datasets.Video())
    source = of_dataset(table)
    assert [len(item.open()) for item in source.items] == [8, 9, 10]


def test_no_video_column_and_no_dataset_are_sentences(tmp_path):
    with pytest.raises(InputError, match=r'columns colour; a "video" is needed'):
        of_dataset(datasets.Dataset.from_dict({"colour": ["red"]}))
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded"):
        VideoFolder(tmp_path)
