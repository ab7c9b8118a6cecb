"""Trains the embedded feature network: `python -m tools.train_embedded --data PATH ...`.

No labels are needed: the network is asked what was done to a clip (kind and strength of damage, rate, how the camera
moves), and which two views are of one clip. Some minutes of one core; the weights go to `embedded.safetensors` beside
this file, as float16. `python -m tools.embedded_report` tests them.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from tqdm import tqdm

from tools.distortions import ALL_DISTORTIONS
from tools.windows import Frames, Windows, read_videos
from videofusion.digits.drawing import render
from videofusion.digits.moving_digits import MovingDigits
from videofusion.evaluation.extractors.embedded_network import FEATURES, SIDE, WEIGHTS, EmbeddedNetwork

SEED = 20_000  # far from the seeds that models are judged with
DIGITS = 500  # rendered clips among the videos
LENGTHS = (8, 12, 16, 16)  # frames of a batch's clips

# What is asked of a frame and of a clip: the strengths of distortions, and how the clip was taken.
OF_FRAMES = ("blur", "noise", "bent", "blocks", "colour")
OF_CLIPS = ("jitter", "shuffle", "freeze", "stutter", "cut", "warp")
_TAKEN = 3  # rate, and shift of the camera downwards and to the right
_OUT_OF_ORDER = ("shuffle", "freeze", "stutter", "cut", "jitter")  # after these the rate cannot be told

_PAIRS = 12  # of a batch, two views each
_TOGETHER = 2  # pairs that are spoiled alike
_SPOILED = 0.6  # of the pairs, in their frames, and as many over time
_PAN = 0.4
_SAME_CROP = 0.5  # of the pairs: the second view has other colours only
_TEMPERATURE = 0.2
_EVERY = 25  # steps between two readings of the bar


class Heads(nn.Module):
    """What turns features into answers; needed in training only."""

    def __init__(self) -> None:
        super().__init__()
        # Linear, so that the features themselves move in proportion to the damage.
        self.frames = nn.Linear(FEATURES, len(OF_FRAMES))
        self.clips = nn.Linear(FEATURES, len(OF_CLIPS))
        for answers in (self.frames, self.clips):  # at first that nothing is wrong, which of most kinds of damage is so
            nn.init.zeros_(answers.weight)
            nn.init.zeros_(answers.bias)
        self.taken = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, _TAKEN))
        self.view = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 32))


class Views(NamedTuple):
    """A batch: first all first views, then all second ones.

    Args:
        clips: `b t c h w`.
        frames: strengths of `OF_FRAMES`, [b n].
        clip: strengths of `OF_CLIPS`, [b n].
        taken: logarithm of the stride, and the camera's shift in parts of the crop, [b 3].
        same_crop: whether a pair's second view has other colours only, [b / 2].
    """

    clips: Tensor
    frames: Tensor
    clip: Tensor
    taken: Tensor
    same_crop: Tensor


def main(argv: Sequence[str] | None = None) -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", required=True, help="video files and folders, each seen equally often")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the file of weights")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args(argv)

    started = time.process_time()
    groups = [read_videos(path) for path in tqdm(arguments.data, desc="reading", unit="path")]
    # Digits are half as likely as all videos together.
    groups += [digit_videos(DIGITS, arguments.seed)] * math.ceil(len(groups) / 2)
    network = train(Windows(groups, max(LENGTHS), SIDE), arguments.steps, arguments.seed)
    save(network, arguments.out)
    print(f"{(time.process_time() - started) / 60:.1f} minutes of processor time")


def save(network: EmbeddedNetwork, path: Path) -> None:
    """Write the weights in half precision."""
    from safetensors.torch import save_file

    save_file({name: weight.half() for name, weight in network.state_dict().items()}, path)
    print(f"{path} ({path.stat().st_size / 1e3:.0f} kB)")


def digit_videos(count: int, seed: int) -> list[Frames]:
    """Rendered clips of the train split, of the network's size."""
    longest = max(LENGTHS)
    data = MovingDigits(longest, SIDE, two_digits=0.25)
    found: list[Frames] = []
    for start in tqdm(range(0, count, 50), desc="rendering digits", unit="batch"):
        clips = render(data.specs(range(start, min(start + 50, count)), seed=seed), longest, SIDE)
        found += list(rearrange((clips * 127.5 + 127.5).round().byte(), "b t c h w -> b t h w c").numpy())
    return found


def train(windows: Windows, steps: int, seed: int) -> EmbeddedNetwork:
    """Train the network; one seed gives the same weights again on the same machine."""
    torch.manual_seed(seed)
    random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    network, heads = EmbeddedNetwork(), Heads()
    parameters = [*network.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1, pct_start=0.15)
    bar = tqdm(range(steps), desc="training", unit="step")
    sums: dict[str, float] = {}
    for step in bar:
        losses = view_losses(network, heads, draw(windows, random, generator))
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        schedule.step()
        sums = {name: sums.get(name, 0.0) + float(loss.detach()) / _EVERY for name, loss in losses.items()}
        if step % _EVERY == _EVERY - 1:
            bar.set_postfix({name: f"{total:.3f}" for name, total in sums.items()}, refresh=False)
            sums = {}
    return network.eval()


def draw(windows: Windows, random: np.random.Generator, generator: torch.Generator) -> Views:
    """Pairs of views of clips, spoiled in some ways."""
    frames = int(random.choice(LENGTHS))
    first, second, taken, same = [], [], [], []
    for _ in range(_PAIRS):
        clip, stride = windows.window(random, frames)
        if random.random() < 0.5:
            clip = clip[:, :, ::-1]
        crops = [windows.crop(clip, random, pan=_PAN) for _ in range(2)]
        same.append(bool(random.random() < _SAME_CROP))
        if same[-1]:
            crops[1] = crops[0]
        first.append(windows.cut(clip, crops[0]))
        second.append(recoloured(windows.cut(clip, crops[1]), random))
        # A shift of a tenth of the crop from frame to frame counts as 1.
        taken += [[math.log2(stride) - 1, *(10 * shift / crop.side for shift in crop.shift)] for crop in crops]
    strengths = {name: torch.zeros(_PAIRS, 1) for name in ALL_DISTORTIONS}
    for start in range(0, _PAIRS, _TOGETHER):
        some = slice(start, start + _TOGETHER)
        for name in _chosen(random):
            strength = float(random.random())
            strengths[name][some] = strength
            seed = int(random.integers(2**40))
            for views in (first, second):
                spoiled = ALL_DISTORTIONS[name](torch.stack(views[some]), strength, generator.manual_seed(seed))
                views[some] = list(spoiled)
    strengths["bent"] = torch.maximum(strengths["warp"], strengths["still warp"])
    return Views(
        torch.stack(first + second),
        torch.cat([strengths[name] for name in OF_FRAMES], 1).repeat(2, 1),
        torch.cat([strengths[name] for name in OF_CLIPS], 1).repeat(2, 1),
        torch.cat([torch.tensor(taken[0::2]), torch.tensor(taken[1::2])]).float(),
        torch.tensor(same),
    )


def _chosen(random: np.random.Generator) -> list[str]:
    over_time = list(OF_CLIPS)
    in_frames = [name for name in ALL_DISTORTIONS if name not in OF_CLIPS]
    return [str(random.choice(names)) for names in (over_time, in_frames) if random.random() < _SPOILED]


def recoloured(clip: Tensor, random: np.random.Generator) -> Tensor:
    """A clip [t 3 h w] with its channels exchanged, of another contrast and brightness, or as a negative."""
    gain = torch.from_numpy(random.uniform(0.6, 1.2, (3, 1, 1))).float() * (-1 if random.random() < 0.2 else 1)
    offset = torch.from_numpy(random.uniform(-0.2, 0.2, (3, 1, 1))).float()
    return (clip[:, torch.from_numpy(random.permutation(3))] * gain + offset).clamp(-1, 1)


def view_losses(network: EmbeddedNetwork, heads: Heads, views: Views) -> dict[str, Tensor]:
    """Squared errors of the answers, the contrast of clips, and the motion's independence of colours."""
    frames, motion = network(views.clips)
    half = len(views.clips) // 2
    # The second view's tint is its own, so nothing is asked about it.
    known = torch.ones_like(views.frames)
    known[half:, OF_FRAMES.index("colour")] = 0
    error = (heads.frames(frames) - views.frames[:, None]).square().mean(1) * known
    ordered = (views.clip[:, [OF_CLIPS.index(name) for name in _OUT_OF_ORDER]].amax(1) == 0).float()
    taken = (heads.taken(motion) - views.taken).square().mean(1)
    seen = normalize(heads.view(frames.mean(1)), dim=-1)
    alike = seen @ seen.T / _TEMPERATURE
    alike = alike.masked_fill(torch.eye(len(seen), dtype=torch.bool), -torch.inf)
    partner = torch.arange(len(seen)).roll(half)
    apart = (motion[:half] - motion[half:]).square().mean(1)
    return {
        "frames": 20 * error.mean(),
        "clips": 20 * (heads.clips(motion) - views.clip).square().mean(),
        "taken": 0.2 * (taken * ordered).sum() / ordered.sum().clamp(min=1),
        "views": 0.1 * cross_entropy(alike, partner),
        "colours": 0.1 * (apart * views.same_crop).sum() / views.same_crop.sum().clamp(min=1),
    }


if __name__ == "__main__":
    main()
