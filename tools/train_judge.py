"""Trains the judge on rendered clips of the train split: `python -m tools.train_judge`.

Takes some minutes of one core. The weights go to `judge.safetensors` beside this file, as float16;
`python -m tools.judge_report` tests them on rendered clips of the test split.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from einops import rearrange
from torch import Generator, Tensor, nn
from torch.nn.functional import affine_grid, binary_cross_entropy_with_logits, cross_entropy, grid_sample
from tqdm import tqdm

from tools.distortions import DISTORTIONS
from videofusion.digits.judge import WEIGHTS, Judge
from videofusion.digits.moving_digits import MovingDigits, render
from videofusion.digits.networks import CLIP_TASKS, CROP, FRAME_TASKS, ClipNetwork, DigitNetwork
from videofusion.digits.spec import DigitClipSpec
from videofusion.digits.tracker import COLOUR_NAMES, DIRECTION_NAMES, SIZE, SPEED_NAMES, crops, track

FRAMES = 16
SEED = 20_000  # of the training clips: far from the seeds that models are judged with
_BATCH = 128  # crops of a step
_PLAIN = 0.3  # part of the clips that `ClipNetwork` sees undistorted


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the file of weights")
    parser.add_argument("--clips", type=int, default=6000, help="rendered clips to train on")
    parser.add_argument("--digit-epochs", type=int, default=8)
    parser.add_argument("--clip-epochs", type=int, default=5)
    arguments = parser.parse_args()

    torch.manual_seed(SEED)
    generator = Generator().manual_seed(SEED)
    data = MovingDigits(FRAMES, SIZE, two_digits=0.25, full_captions=True)
    specs = data.specs(range(arguments.clips), seed=SEED)
    digits = train_digits(specs, arguments.digit_epochs, generator)
    clips = train_clips(specs, arguments.clip_epochs, generator)
    save(Judge(digits, clips), arguments.out)


def save(judge: Judge, path: Path) -> None:
    """Write the judge's weights in half precision."""
    from safetensors.torch import save_file

    weights = {f"{name}.{key}": w.half() for name, net in judge.networks.items() for key, w in net.state_dict().items()}
    save_file(weights, path)
    print(f"{path} ({path.stat().st_size / 1e3:.0f} kB)")


def train_digits(specs: list[DigitClipSpec], epochs: int, generator: Generator) -> DigitNetwork:
    """Train the reader of ink on what the tracker cuts out of clips with one digit."""
    single = [spec for spec in specs if len(spec.objects) == 1]
    ink, label = [], []
    for part in tqdm(list(_chunks(single)), desc="digits: cutting out", unit="batch"):
        found = crops(track(render(part, FRAMES, SIZE)), CROP)[:, ::3, 0]
        ink.append(rearrange(found, "b t h w -> (b t) h w"))
        label.append(torch.tensor([spec.objects[0].digit for spec in part]).repeat_interleave(found.shape[1]))
    inks, labels = torch.cat(ink), torch.cat(label)
    network = DigitNetwork()
    steps = epochs * len(inks) // _BATCH
    optimizer, schedule = _optimizer(network, steps, 3e-3)
    bar = tqdm(range(steps), desc="digits: training", unit="step")
    for _ in bar:
        chosen = torch.randint(len(inks), (_BATCH,), generator=generator)
        logits, _ = network(augment(inks[chosen], generator))
        loss = cross_entropy(logits, labels[chosen], label_smoothing=0.05)
        _step(loss, optimizer, schedule)
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return network.eval()


def augment(ink: Tensor, generator: Generator) -> Tensor:
    """Turn, scale, shear, shift, thicken and dirty ink [n s s] a little."""
    n = len(ink)
    turned = torch.eye(2) + 0.13 * torch.randn(n, 2, 2, generator=generator)
    shift = 0.06 * torch.randn(n, 2, 1, generator=generator)
    grid = affine_grid(torch.cat([turned, shift], -1), [n, 1, CROP, CROP], align_corners=False)
    moved = grid_sample(ink[:, None], grid, align_corners=False)[:, 0]
    gamma = torch.exp(0.3 * torch.randn(n, 1, 1, generator=generator))
    dirt = 0.1 * torch.rand(n, 1, 1, generator=generator) * torch.randn(moved.shape, generator=generator)
    return (moved.clamp(min=1e-4) ** gamma + dirt).clamp(0, 1)


def train_clips(specs: list[DigitClipSpec], epochs: int, generator: Generator) -> ClipNetwork:
    """Train the network behind the validation measure on plain and on distorted clips."""
    batches = list(_chunks(specs))
    pixels = [(render(part, FRAMES, SIZE) * 127.5 + 127.5).round().byte() for part in batches]
    labels = [_content(part) for part in batches]
    network = ClipNetwork()
    per_batch = len(batches[0]) // 32
    optimizer, schedule = _optimizer(network, epochs * len(batches) * per_batch, 2e-3)
    bar = tqdm(range(epochs * len(batches)), desc="clips: training", unit="batch")
    for _ in bar:
        which = int(torch.randint(len(batches), (), generator=generator))
        order = torch.randperm(len(pixels[which]), generator=generator)
        for part in order.split(32)[:per_batch]:
            clips = pixels[which][part].float() / 127.5 - 1
            target = {name: value[part] for name, value in labels[which].items()}
            loss = clip_loss(network, *distorted(clips, target, generator))
            _step(loss, optimizer, schedule)
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return network.eval()


def distorted(clips: Tensor, target: dict[str, Tensor], generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """Spoil groups of four clips in a way of their own, and add its strength to what is asked for."""
    names = list(DISTORTIONS)
    parts, strengths = [], torch.zeros(len(clips), len(names))
    for start in range(0, len(clips), 4):
        part = clips[start : start + 4]
        if float(torch.rand((), generator=generator)) > _PLAIN:
            strength = float(torch.rand((), generator=generator))
            which = int(torch.randint(len(names), (), generator=generator))
            part = DISTORTIONS[names[which]](part, strength, generator)
            strengths[start : start + 4, which] = strength
        parts.append(part)
    spoiled = {name: strengths[:, i : i + 1] for i, name in enumerate(names)}
    return torch.cat(parts), {**target, **spoiled}


def clip_loss(network: ClipNetwork, clips: Tensor, target: dict[str, Tensor]) -> Tensor:
    """Cross-entropies of the content, squared errors of the distortions' strengths."""
    answers = network.answers(*network(clips))
    # After a cut the frames show another digit, and frames out of order have no course.
    whole = (target["cut"][:, 0] == 0).float()
    ordered = whole * (target["shuffle"][:, 0] == 0) * (target["freeze"][:, 0] < 0.5)
    total = torch.zeros(())
    for name, width in {**FRAME_TASKS, **CLIP_TASKS}.items():
        wanted = target[name].expand(len(clips), width)
        answer = answers[name]
        if answer.ndim == 3:
            wanted = wanted[:, None].expand_as(answer)
        if name in DISTORTIONS:
            total = total + 4 * (answer - wanted).square().mean()
        else:
            error = binary_cross_entropy_with_logits(answer, wanted, reduction="none").flatten(1).mean(1)
            weight = ordered if name in CLIP_TASKS else whole
            total = total + (error * weight).sum() / weight.sum().clamp(min=1)
    return total


def _content(specs: list[DigitClipSpec]) -> dict[str, Tensor]:
    """Which digits, colours, directions and speeds occur in each clip: 0 or 1 for every one."""
    among = {"digit": range(10), "colour": COLOUR_NAMES, "direction": DIRECTION_NAMES, "speed": SPEED_NAMES}
    return {
        name: torch.tensor([[float(any(getattr(o, name) == v for o in s.objects)) for v in values] for s in specs])
        for name, values in among.items()
    }


def _chunks(specs: list[DigitClipSpec], size: int = 64) -> Iterator[list[DigitClipSpec]]:
    return (specs[i : i + size] for i in range(0, len(specs), size))


def _optimizer(
    network: nn.Module, steps: int, rate: float
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1)


def _step(loss: Tensor, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    schedule.step()


if __name__ == "__main__":
    main()
