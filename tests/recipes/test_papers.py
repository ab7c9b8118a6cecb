"""The papers' recipes: their batches and sizes, and each tried at a small size on data laid out as its data set is."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from small import fitting

from videofusion.clip import write_clip
from videofusion.recipes.papers import PAPER_RECIPES
from videofusion.training import get_recipe
from videofusion.training.estimate.sizes import recipe_parts
from videofusion.training.estimate.trial import dry_run

SMALL = {
    "clips.frames": 4,
    "clips.size": 8,
    "network.channels": (8, 8),
    "system.residual_channels": (8, 8),
    "network.attention": ("none", "plain"),
    "network.groups": 4,
    "network.head_size": 4,
    "network.blocks": 1,
    "text.size": 16,
    "batch.size": 2,
    "batch.accumulation": 1,
    "log.validation_batches": 1,
    "clips.validation_share": 0.5,
    "sampling.steps": 1,
    "batch.workers": 0,
    "compute.precision": "float32",
    "log.boards": "",
}
# of each kind one that every run of the tests tries; the rest are tried by `make prove`
FIRST = {
    "videofusion-ucf101-classes",
    "videofusion-sky",
    "videofusion-weizmann",
    "vdm-bair",
    "vdm-kinetics600",
    "vdm-webvid",
}
CONDITIONED = {"ucf101-classes", "webvid"}
FRAMES = 16  # of each clip: enough for every fourth frame


def videos(*paths: Path) -> None:
    for number, path in enumerate(paths):
        write_clip(torch.full((FRAMES, 3, 16, 16), number / len(paths)), path, fps=10)


def pictures(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True)
        for number in range(FRAMES):
            Image.new("RGB", (20, 16), (10 * number, 0, 0)).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A few clips of every data set, as it is laid out where it comes from."""
    root = tmp_path_factory.mktemp("sets")
    ucf = [f"{kind}/v_{kind}_g0{g}_c01.mp4" for kind in ("ApplyEyeMakeup", "Archery") for g in (1, 2, 3)]
    videos(*(root / "ucf101" / "UCF-101" / name for name in ucf))
    lists = root / "ucf101" / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "trainlist01.txt").write_text("".join(f"{name} 1\n" for name in ucf if "_g01" not in name))
    (lists / "testlist01.txt").write_text("".join(f"{name}\n" for name in ucf if "_g01" in name))
    pictures(*(root / "sky" / f"sky_{part}" / "a" / f"a_{n}" for part in ("train", "test") for n in range(4)))
    pictures(*(root / "taichi" / part / f"v{n}" for part in ("train", "test") for n in range(4)))
    pictures(*(root / "bair" / part / f"traj_{n}" / "0" for part in ("train", "test") for n in range(4)))
    videos(*(root / "webvid" / "videos" / "000001_000050" / f"{n}.mp4" for n in range(4)))
    (root / "webvid" / "results_2M_train.csv").write_text(
        "videoid,page_dir,name\n" + "".join(f'{n},000001_000050,"a tree, {n}"\n' for n in range(4))
    )
    videos(*(root / "kinetics600" / "train" / f"id{n}_000000_000001.mp4" for n in range(4)))
    (root / "kinetics600" / "kinetics600.csv").write_text(
        "label,youtube_id,time_start,time_end,split\n" + "".join(f"zumba,id{n},0,1,train\n" for n in range(4))
    )
    people = [f"{action}/{who}.mp4" for action in ("bend", "jack") for who in ("ido", "shahar", "eli")]
    videos(*(root / "weizmann" / name for name in people))
    rows = [{"file_name": f, "identity": Path(f).stem, "action": Path(f).parent.name} for f in people]
    (root / "weizmann" / "metadata.jsonl").write_text(
        "".join(json.dumps(r | {"text": r["action"]}) + "\n" for r in rows)
    )
    return {path.name: path for path in root.iterdir()} | {"ucf101-classes": root / "ucf101"}


@pytest.mark.filterwarnings("ignore:this model does not know")  # words that only validation clips have
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FIRST else pytest.mark.slow) for name in PAPER_RECIPES]
)
def test_every_recipe_is_tried_on_data_of_its_layout(name, folders, tmp_path):
    recipe = get_recipe(name, fitting(SMALL, name.partition("-")[0]))
    found = dry_run(recipe, tmp_path / "run", folders[name.partition("-")[2]], device="cpu")
    assert not found.left_out
    assert set(found.memory.phases) == {"step", "update", "validation", "samples", "checkpoint"}
    parts = {part.name for part in found.parts}
    fusion = {"base", "residual", "text_encoder", "image_encoder", "prior"}
    assert parts == (fusion if recipe.system.name == "videofusion" else {"unet", "text_encoder"})


@pytest.mark.parametrize("name", PAPER_RECIPES)
def test_batches_are_the_papers(name):
    recipe = get_recipe(name)
    assert recipe.batch.size * recipe.batch.accumulation == (256 if "kinetics600" in name else 128)
    assert (recipe.clips.frames, recipe.clips.size) == (16, 64)
    # unconditional: never told a caption, and sampled without
    assert (recipe.text.dropout == 1) == (recipe.sampling.guidance == 0) == (name.partition("-")[2] not in CONDITIONED)


def test_both_systems_have_one_budget_on_a_data_set():
    for name in (name for name in PAPER_RECIPES if name.startswith("vdm-")):
        ours, theirs = (get_recipe(other) for other in (name.replace("vdm-", "videofusion-"), name))
        assert (ours.optimizer, ours.budget, ours.text.dropout) == (
            theirs.optimizer,
            theirs.budget,
            theirs.text.dropout,
        )
        assert (ours.clips.flip, ours.clips.layout) == (theirs.clips.flip, theirs.clips.layout)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER_RECIPES)
def test_every_recipe_can_be_built_at_its_full_size(name):
    parts = {part.name: part.trained for part in recipe_parts(get_recipe(name))}
    if name == "videofusion-webvid":  # VideoFusion, appendix B: 2.00 and 0.59 billion parameters
        assert parts["base"] == pytest.approx(2.00e9, rel=0.02)
        assert parts["residual"] == pytest.approx(0.59e9, rel=0.02)
    else:
        assert 1e8 < sum(parts.values()) < 2e9
