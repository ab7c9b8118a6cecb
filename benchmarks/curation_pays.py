"""Does curation pay? Two trainings of equal budget, on videos as they are found and on what curation keeps of them.

    python benchmarks/curation_pays.py DIR --videos 2000 --seconds 1200 --base-seconds 600 --clips 256 --jobs 2

The videos are moving digits, enlarged: plain clips, and beside them static ones (one frame all through, and a caption
without a direction), cut ones (two shots under one caption, each as long as a clip) and ones with a title over them;
DIR/truth.jsonl says which is which. DIR/raw is curated into DIR/curated, and VideoFusion, as the plan "decomposed" of
`videofusion compare` has it but with larger networks, is trained on both from one image model of stills with one seed.
The same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file, save_file
from torch import Tensor

from studies.digit_runs import NARROW_BASE, bases, fusion_run
from videofusion.clip import save_sheet, write_clip
from videofusion.comparison.compare import Budget, job_threads
from videofusion.comparison.runs import claim, run_facts, train_run
from videofusion.cores import cores
from videofusion.curation.curate import Curated, curate
from videofusion.curation.stage_table import Weights, stages_of
from videofusion.curation.summary import dropped_for
from videofusion.curation.thresholds import parse
from videofusion.digits import protocol
from videofusion.digits.comparison import LEAST_CLIPS, SAMPLING
from videofusion.digits.fidelity import FidelityMeasure, reference_specs
from videofusion.digits.judge import JUMP, Judge
from videofusion.digits.moving_digits import DigitClipSpec, MovingDigits, evaluation_prompts, render
from videofusion.digits.tracker import STILL
from videofusion.errors import InputError, RunError
from videofusion.evaluation import making
from videofusion.evaluation.metrics.proportions import Rate
from videofusion.evaluation.record import markdown_table, write_record
from videofusion.files import write_whole
from videofusion.models import load
from videofusion.training.signals import stop_signal

FRAMES, SIZE, SCALE, FPS = 16, 32, 4, 8  # of a clip; its pixels are squares of SCALE x SCALE in the videos
SIDE = SCALE * SIZE
TEN = ("plain", "static", "plain", "cut", "plain", "text", "plain", "static", "cut", "text")  # of any ten videos
KINDS = tuple(dict.fromkeys(TEN))
SEED, POOL = 0, 20_000  # the second shots are chosen among so many, beginning far from the videos
TITLES = (
    "WATCH THIS VIDEO",
    "COMING VERY SOON",
    "ONLY THIS WEEK",
    "CLICK THE LINK",
    "LIVE NEWS TODAY",
    "FINAL PART THREE",
)
# The defaults, but for writing: a digit is itself some, and where it is read, its box takes up to 0.3 of the picture.
MIN, MAX = ("seconds=1", "motion=0.1"), ("text_area=0.4",)
PARTS = ("raw", "curated")
REFERENCE = 2000  # real test clips that the distances are from, as in the comparison
SHOWN = 6
CHANNELS = "32,64,128"  # of its networks, three times as large as the comparison's
LARGER: dict[str, Any] = {
    "network.patch": 2,
    "network.attention": "none,none,transformer",
    "network.channels": CHANNELS,
}


def described(count: int) -> list[tuple[str, list[DigitClipSpec]]]:
    """The kind of each video, and its shots."""
    moving, static = (MovingDigits(FRAMES, SIZE, two_digits=0.0, static=each) for each in (False, True))
    others: dict[Any, list[DigitClipSpec]] = defaultdict(list)
    for spec in moving.specs(range(10**6, 10**6 + POOL), seed=SEED):
        others[course(spec)].append(spec)
    found = []
    for number, first in enumerate(moving.specs(range(count), seed=SEED)):
        kind = TEN[number % len(TEN)]
        shots = [first] if kind != "static" else static.specs([number], seed=SEED)
        if kind == "cut":
            alike = others[course(first)]
            second = next(spec for spec in alike if spec.objects[0].image != first.objects[0].image)
            alike.remove(second)
            shots.append(second)
        found.append((kind, shots))
    return found


def course(spec: DigitClipSpec) -> tuple[object, ...]:
    """What a caption may say of a clip."""
    thing = spec.objects[0]
    return thing.digit, thing.colour, thing.direction, thing.speed


def titled(clip: Tensor, number: int) -> Tensor:
    """A clip with three lines of large white writing over all of its frames."""
    drawn = np.random.default_rng(number)
    words = TITLES[drawn.integers(len(TITLES))].replace(" ", "\n")
    image = Image.new("L", (SIDE, SIDE))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(SIDE // 4)
    left, above, right, below = draw.multiline_textbbox((0, 0), words, font=font)
    x, y = drawn.uniform(0, 1, 2) * (SIDE - right + left, SIDE - below + above)
    draw.multiline_text((x - left, y - above), words, fill=255, font=font, align="center")
    return torch.lerp(clip, torch.tensor(1.0), torch.from_numpy(np.array(image)) / 255)


def make_videos(folder: Path, count: int) -> None:
    """Write raw/*.mp4 with their captions, and beside that folder what each is; what is there is not made again."""
    truth = []
    for number, (kind, shots) in enumerate(described(count)):
        name = f"video-{number:06d}.mp4"
        truth.append({"file_name": name, "kind": kind, "text": shots[0].caption})
        if not (folder / "raw" / name).exists():
            clip = torch.cat(list(render(shots, FRAMES, SIZE)))
            clip = clip.repeat_interleave(SCALE, -1).repeat_interleave(SCALE, -2)
            write_clip(titled(clip, number) if kind == "text" else clip, folder / "raw" / name, FPS)
        show("videos", number + 1, count)
    told = [{key: row[key] for key in ("file_name", "text")} for row in truth]
    for place, rows in ((folder / "truth.jsonl", truth), (folder / "raw" / "metadata.jsonl", told)):
        write_whole(place, "".join(json.dumps(row) + "\n" for row in rows).encode())


def show(what: str, done: int, of: int) -> None:
    """A line that counts."""
    print(f"\r{what}: {done} of {of}", end="\n" if done == of else "", file=sys.stderr, flush=True)


def curated(folder: Path) -> Curated:
    """The stages of `videofusion data curate` that need no weights."""
    cuts, stages = stages_of(("captions", "aesthetics", "similarity"), Weights())
    bounds = [parse(text, least=True) for text in MIN] + [parse(text, least=False) for text in MAX]
    return curate(folder / "raw", folder / "curated", stages, cuts=cuts, bounds=bounds, workers=cores(), progress=show)


def against_truth(folder: Path, found: Curated) -> tuple[str, dict[str, Any]]:
    """What was kept beside what should have been: plain videos, and both shots of cut ones, each of them whole."""
    lines = (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    kinds = {row["file_name"]: row["kind"] for row in map(json.loads, lines)}
    header = ["kind", "videos", "clips to keep", "clips found", "kept", "kept rightly", "dropped for"]
    body, record, rightly, all_wanted = [], {}, 0, 0
    for kind in KINDS:
        videos = sum(each == kind for each in kinds.values())
        wanted = {"plain": videos, "cut": 2 * videos}.get(kind, 0)
        clips = [clip for clip in found.clips if kinds[clip["source"]] == kind]
        kept = [clip for clip in clips if clip["kept"]]
        right = sum(bool(wanted) and clip["frames"] == FRAMES and clip["first"] % FRAMES == 0 for clip in kept)
        why = dropped_for(clips)
        said = ", ".join(f"{reason}: {number}" for reason, number in why.most_common())
        body.append([kind, videos, wanted, len(clips), len(kept), right, said or "–"])
        record[kind] = dict(zip(header[1:-1], body[-1][1:-1], strict=True)) | {"dropped for": dict(why)}
        rightly, all_wanted = rightly + right, all_wanted + wanted
    if not found.kept:
        raise RunError(f"curation kept none of {len(found.clips)} clips; {folder / 'curated' / 'report.html'} says why")
    rates = {
        "precision": Rate(hits=rightly, count=len(found.kept)),
        "recall": Rate(hits=rightly, count=all_wanted),
    }
    record |= {name: rate.record() for name, rate in rates.items()}
    told = "; ".join(f"{name} {rate}" for name, rate in rates.items())
    return f"{markdown_table(header, body)}\n\nOf the clips that were kept: {told}.", record


def measured(clips: Tensor, specs: Sequence[DigitClipSpec], fidelity: FidelityMeasure) -> dict[str, Any]:
    """The measures of the comparison, and what shows each of the faults."""
    found = Judge.load().look(clips)
    rates = protocol.rates(protocol.answers(found, specs))
    jumps = found.tracks.place[:, :, 0].diff(dim=1).norm(dim=-1) > JUMP
    coloured = [number for number, spec in enumerate(specs) if spec.objects[0].colour != "white"]
    white = (clips[coloured].amin(2) > 0).float().mean((1, 2, 3)) > 0.01
    return {
        **vars(fidelity(clips)),
        **{name: rates[name] for name in ("digit", "colour", "direction", "same ends")},
        "place kept": Rate.of(found.place_kept[:, 0].tolist()),
        "stands still": Rate.of((found.tracks.direction[:, 0] == STILL).tolist()),
        "jumps once": Rate.of((jumps.sum(1) == 1).tolist()),  # as over a cut
        "white where none was asked for": Rate.of(white.tolist()),
    }


def measure(folder: Path, args: argparse.Namespace) -> int:
    """All of it; returns what the command ends with."""
    threads = job_threads(args.jobs)
    if args.clips < LEAST_CLIPS:
        raise InputError(f"clips is {args.clips}, but the distances need at least {LEAST_CLIPS}")
    if args.videos < len(TEN):
        raise InputError(f"videos is {args.videos}, but all kinds are among {len(TEN)} at the least")
    budget = Budget(seconds=args.seconds, base_seconds=args.base_seconds, seeds=1, clips=args.clips)
    mine = {"plan": "curation pays", **asdict(budget), "threads": threads, "data": None, "protocol": ""}
    claim(folder, mine | {"videos": args.videos})
    torch.set_num_threads(threads)

    make_videos(folder, args.videos)
    table, curation = against_truth(folder, curated(folder))
    print(f"\n{table}\n")

    base = next(run for run in bases(budget) if run.name == NARROW_BASE)
    base = replace(base, overrides={**base.overrides, **LARGER})
    own = {**LARGER, "system.residual_channels": CHANNELS, "batch.reach_share": 0.06}
    runs = {part: fusion_run(budget, f"on-{part}", base.name, **own) for part in PARTS}
    specs = evaluation_prompts(args.clips, held_out=False, seed=1, frames=FRAMES)
    places = {part: folder / run.name / "clips.safetensors" for part, run in runs.items()}
    left = [part for part in PARTS if not places[part].exists()]
    with stop_signal() as stop, ThreadPoolExecutor(args.jobs) as pool:

        def one(part: str) -> bool:
            """Train on a part, and make the clips of the prompts; False if it was to stop first."""
            run = runs[part]
            if not train_run(folder, run, threads, str(folder / part), is_over=lambda: stop.name is not None):
                return False
            captions = [spec.caption for spec in specs]
            made = making.make(load(run.model_in(folder)), captions, range(len(specs)), SAMPLING, label=part)
            save_file({"clips": made}, places[part].with_suffix(".part"))
            places[part].with_suffix(".part").replace(places[part])
            return True

        finished = not left or train_run(folder, base, threads, is_over=lambda: stop.name is not None)
        finished = finished and all(pool.map(one, left))
    if not finished:
        print(f"stopped by {stop.name}; the same command goes on from here")
        return 128 + stop.number

    fidelity = FidelityMeasure(Judge.load(), render(reference_specs(REFERENCE, FRAMES, 0.0), FRAMES, SIZE))
    clips = {part: load_file(place)["clips"] for part, place in places.items()}
    columns = {part: measured(made, specs, fidelity) for part, made in clips.items()}
    columns["real clips"] = measured(render(specs, FRAMES, SIZE), specs, fidelity)
    facts = {part: run_facts(folder / run.name, threads) for part, run in runs.items()}
    body = [[name, *(str(column[name]) for column in columns.values())] for name in columns["raw"]]
    body.insert(0, ["clips seen in training", *(facts[part]["clips"] for part in PARTS), "–"])
    print(markdown_table(["", *columns], body))
    found = {
        part: {name: value.record() if isinstance(value, Rate) else asdict(value) for name, value in column.items()}
        for part, column in columns.items()
    }
    write_record(folder / "result.json", {"budget": mine, "curation": curation, "measures": found, "runs": facts})
    both = torch.stack([clips[part][:SHOWN] for part in PARTS], 1).flatten(0, 1)
    captions = [f"{part}: {spec.caption}" for spec in specs[:SHOWN] for part in PARTS]
    save_sheet(both, folder / "clips.png", captions, provenance={"model": "videofusion, benchmarks/curation_pays.py"})
    print(f"\n{folder / 'result.json'} has all numbers, {folder / 'clips.png'} clips of both")
    return 0


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="for all that is made")
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=1200.0, help="of training, on each part")
    parser.add_argument("--base-seconds", type=float, default=600.0, help="of the image model that both start from")
    parser.add_argument("--clips", type=int, default=256, help="made by each")
    parser.add_argument("--jobs", type=int, default=1, help="2 trains both side by side, with half the cores each")
    args = parser.parse_args()
    try:
        sys.exit(measure(args.folder, args))
    except (InputError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    main()
