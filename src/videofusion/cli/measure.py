"""`videofusion evaluate` and `results`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from videofusion.cli.options import refuse_existing
from videofusion.errors import InputError, printable

if TYPE_CHECKING:
    from videofusion.evaluation.extractors import Extractor
    from videofusion.evaluation.protocols import Metric

Flag = tyro.conf.FlagCreatePairsOff[bool]


def evaluate(
    generated: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="GENERATED")],
    real: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="REAL")],
    *,
    protocol: Annotated[str, tyro.conf.arg(metavar="NAME")] = "tats",
    weights: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME=]FILE")] = (),
    sha256: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME=]SUM")] = (),
    torchscript: Flag = False,
    metrics: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = (),
    count: int | None = None,
    size: int | None = None,
    frames: int | None = None,
    given: int | None = None,
    allow_few: Flag = False,
    mixed_sizes: Flag = False,
    layout: str = "auto",
    real_layout: str = "auto",
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="FILE.json")] = None,
    seed: int = 0,
    replicates: int = 50,
    batch: int = 8,
    device: str | None = None,
    force: Flag = False,
) -> None:
    """Measure generated clips against real ones by a published protocol.

    Prints a table. With --out, writes a record of everything the numbers depend on, and resumes if it was stopped.

    Args:
        generated: a folder of clips, or anything that can be trained on (docs/data.md)
        real: the real data; the protocol selects its part
        protocol: tats, stylegan-v, cd-fvd, latte, vdm-ucf101, embedded, digits, ...; see docs/evaluation.md
        weights: file of the feature network, or several as i3d=FILE c3d-ucf101=FILE
        sha256: the checksum that the weights must have, in the same form
        torchscript: allow a TorchScript, which is a program; needs --sha256
        metrics: the protocol's own by default. Any protocol also takes flicker, flow-magnitude, warping-error;
            clip-similarity (needs captions), clip-frame-consistency, clip-drift, clip-diversity (clips of one
            caption), i3d-diversity, embedded-frame-consistency, embedded-drift, embedded-diversity; for moving digits
            digits-frame-consistency, digits-drift, digits-diversity; and the protocol paired takes
            psnr, psnr-of-clip, ssim, lpips-alex, lpips-vgg
        count: number of generated clips, in place of the protocol's; the result is another protocol
        size: height and width of the compared clips, in place of the protocol's
        frames: of a clip, in place of the protocol's
        given: number of first frames that the model was given; metrics of pairs leave them out
        allow_few: measure fewer than 256 clips; such numbers do not compare with others
        mixed_sizes: accept real videos of several sizes
        layout: how the generated clips are laid out
        real_layout: how the real clips are laid out
        out: file for the record
        seed: of all random choices
        replicates: draws of the bootstrap behind the intervals; 0 for none
        batch: clips per forward pass
        device: cpu, cuda, ...
        force: replace the record if it exists
    """
    if out is not None:
        refuse_existing([out], force)
    for folder, own in ((generated, layout), (real, real_layout)):
        if own == "auto" and not folder.expanduser().exists():  # else it may be a name on the Hub
            raise InputError(
                f'"{folder}" does not exist; it must be clips in one of the layouts that docs/data.md lists'
            )

    from videofusion.clip import check_output
    from videofusion.evaluation import folders
    from videofusion.evaluation.metric_table import chosen
    from videofusion.evaluation.protocol_table import find_preset
    from videofusion.evaluation.record_table import result_table

    preset = find_preset(protocol).changed(count=count, size=size, frames=frames, given=given)
    if out is not None:
        check_output(out, endings=(".json",), name="out")
    files, sums = _files(chosen(preset, metrics), weights, sha256)
    record = folders.evaluate(
        generated,
        real,
        protocol=protocol,
        weights=files,
        sha256=sums,
        torchscript=torchscript,
        metrics=metrics,
        count=count,
        size=size,
        frames=frames,
        given=given,
        allow_few=allow_few,
        mixed_sizes=mixed_sizes,
        layout=layout,
        real_layout=real_layout,
        out=out,
        seed=seed,
        replicates=replicates,
        batch=batch,
        device=device,
    )
    print(result_table(record))
    if out is not None:
        print(f"\nwritten to {out}")


def results(
    records: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE.json")],
) -> None:
    """Join records of `videofusion evaluate` into one table; they must be of one protocol.

    Args:
        records: of one protocol
    """
    from videofusion.evaluation.record_table import joined_table, read_record

    print(printable(joined_table({str(path): read_record(path) for path in records})))


def protocol_networks(name: str, weights: Sequence[str], sha256: Sequence[str]) -> dict[str, Extractor]:
    """The feature networks of a protocol, with their weights.

    Raises:
        InputError: no such protocol, or weights that are missing or wrong.
    """
    from videofusion.evaluation.folders import networks
    from videofusion.evaluation.protocol_table import find_preset

    metrics = find_preset(name).metrics
    return networks(metrics, *_files(metrics, weights, sha256))


def _files(
    metrics: Sequence[Metric], weights: Sequence[str], sha256: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Weights and checksums of the feature networks that metrics need, by their names."""
    from videofusion.evaluation.extractors import EXTRACTORS
    from videofusion.evaluation.folders import with_weights

    names = with_weights(metrics)
    files, sums = _by_name("weights", weights, names), _by_name("sha256", sha256, names)
    for name in names:
        if name not in files:
            option = "--weights FILE" if len(names) == 1 else f"--weights {name}=FILE"
            raise InputError(f"{name} takes weights, which are not given: {option} names {EXTRACTORS[name].weights}")
    return files, sums


def _by_name(option: str, given: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE options, or one value for the only name there is."""
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals and len(names) == 1:
            name, value = names[0], each
        if name not in names or name in found:
            allowed = ", ".join(names) or "none: what is measured takes no file"
            raise InputError(f'{option} has "{each}"; it must be NAME=..., once each, with the names {allowed}')
        found[name] = value
    return found
