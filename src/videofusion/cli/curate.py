"""`videofusion data curate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from videofusion.errors import printable

Source = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
Out = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
# Without the stage that makes a column, its bound here is none.
LEAST = ("seconds=1", "motion=0.1")
MOST = ("text_area=0.07",)

Name = Literal["cuts", "motion", "text", "aesthetics", "similarity", "captions", "duplicates"]


def curate(
    source: Source,
    out: Out,
    *,
    min: tuple[str, ...] = LEAST,
    max: tuple[str, ...] = MOST,
    near: float = 0.1,
    skip: tuple[Name, ...] = (),
    clip: str | None = None,
    aesthetic_head: Path | None = None,
    caption_middle: str | None = None,
    caption_video: str | None = None,
    caption_llm: str | None = None,
    write_clips: bool = False,
    layout: str = "auto",
    device: str | None = None,
    workers: int | None = None,
    engine: Literal["pool", "ray"] = "pool",
) -> None:
    """Cut videos into shots, measure each, and keep those worth training on; docs/curation.md explains how.

    Train on OUT as on any data. The same command resumes; with other bounds it only chooses again.

    Args:
        source: a folder or a table of videos
        out: a folder for rows, tables and report.html
        min: lowest values to keep, as motion=0.5, or motion=p10 for the 10th percentile of all clips
        max: highest values to keep
        near: share of a perceptual hash in which copies may differ, 0 to 1; -1 drops exact copies only
        skip: stages to leave out
        clip: CLIP in transformers' format, a folder or a name on the Hub, for aesthetics and similarity
        aesthetic_head: safetensors of linear layers from CLIP's embedding to a score
        caption_middle: an image captioner of transformers, for the middle frame
        caption_video: a captioner of transformers that takes several frames
        caption_llm: a language model of transformers that merges both captions
        write_clips: write each kept clip to a file; otherwise OUT refers to parts of your files
        layout: how the data are laid out; docs/data.md shows each
        device: for the models, as "cuda"; the CPU by default
        workers: processes, one per core by default; 0 uses this process, where models always run
        engine: a pool of processes, or Ray for several machines
    """
    from tqdm import tqdm

    from videofusion.cores import cores
    from videofusion.curation.curate import bound_columns
    from videofusion.curation.curate import curate as curate_data
    from videofusion.curation.stage_table import Weights, stages_of
    from videofusion.curation.summary import dropped_for
    from videofusion.curation.thresholds import parse

    weights = Weights(
        clip=clip,
        aesthetic_head=aesthetic_head,
        middle=caption_middle,
        video=caption_video,
        llm=caption_llm,
        device=device or "cpu",
    )
    cuts, stages = stages_of(skip, weights)
    columns = bound_columns(stages)
    bounds = [parse(text, least=True) for text in _asked(min, LEAST, columns)]
    bounds += [parse(text, least=False) for text in _asked(max, MOST, columns)]
    with tqdm(unit="clip", leave=False) as bar:

        def show(stage: str, done: int, of: int) -> None:
            if bar.desc != f"{stage}: ":
                bar.reset(total=of)
                bar.set_description(stage)
            bar.total = of
            bar.update(done - bar.n)

        found = curate_data(
            source,
            out,
            stages,
            cuts=cuts,
            bounds=bounds,
            near=near,
            layout=layout,
            write_clips=write_clips,
            workers=cores() if workers is None else workers,
            engine=engine,
            progress=show,
        )
    for name, reason in sorted({**found.bad, **found.problems}.items()):
        print(printable(f"not readable: {name}: {reason}"))
    for kind, count in dropped_for(found.clips).most_common():
        print(f"dropped: {count}: {kind}")
    seconds = sum(each["seconds"] for each in found.kept)
    print(f"{len(found.kept)} of {len(found.clips)} clips ({seconds:.1f} s) kept in {out}; see {out / 'report.html'}")


def _asked(bounds: tuple[str, ...], default: tuple[str, ...], columns: list[str]) -> list[str]:
    """Bounds as they were given; of the default ones those whose column there is."""
    return [text for text in bounds if bounds != default or text.partition("=")[0] in columns]
