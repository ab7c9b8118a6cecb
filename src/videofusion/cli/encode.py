"""`videofusion data encode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from videofusion.cli.data import Fetch, Folder, Place, show_on
from videofusion.errors import InputError, printable


def encode(
    source: Place,
    out: Folder,
    *,
    autoencoder: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
    text: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
    size: int,
    fps: float | None = None,
    layout: str = "auto",
    fold: int = 1,
    shard_megabytes: float = 512.0,
    device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    fetch: Fetch = None,
) -> None:
    """Encode videos with an autoencoder and captions with a text encoder, once, for `train --data OUT`.

    Without --autoencoder the frames are kept as bytes at --size. Videos that cannot be read are named and left out. The
    same command resumes.

    Args:
        source: your clips
        out: a new folder, or one that the same command started
        autoencoder: its folder, as for the recipe key network.autoencoder
        text: a text encoder of transformers for the captions, as for the recipe key text.encoder
        size: height and width in pixels; frames are resized and cropped around their centre
        fps: keep this many frames per second; by default all frames, which leaves fps and stride to the recipe
        layout: how the source is laid out; docs/data.md shows each
        fold: which of the source's numbered split files
        shard_megabytes: size at which a new shard is started
        device: cpu, cuda, ...; the fastest there is by default
        fetch: allow an index.json to name shards elsewhere: https, or a command such as "aws s3 cp {} -"
    """
    if fps is not None and not 0 < fps <= 1000:
        raise InputError(f"--fps is {fps:g}, but must be above 0 and at most 1000")

    from tqdm import tqdm

    from videofusion.data.addresses import fetching
    from videofusion.data.encode import encode as encode_source
    from videofusion.data.items import Encoding
    from videofusion.data.layouts.detection import open_source
    from videofusion.device import pick_device
    from videofusion.interop.autoencoders import load_autoencoder
    from videofusion.interop.text_encoders import load_text_encoder
    from videofusion.networks.autoencoder import Latents
    from videofusion.networks.fingerprints import fingerprint

    where = pick_device(device)
    space = None if autoencoder is None else Latents(load_autoencoder(autoencoder).to(where))
    if space is not None:
        space.check_size(size, size)
    reader = None if text is None else load_text_encoder(text)
    if reader is not None:
        reader.model.to(where)
    told = None if reader is None else reader.fingerprint()
    own = None if space is None or space.vae is None else fingerprint(space.vae)
    made = Encoding(autoencoder=own, text=told, height=size, width=size, fps=fps)
    with fetching(fetch):
        found = open_source(source, layout, fold)
    with tqdm(unit="video", leave=False) as bar:
        count, bad = encode_source(
            found,
            out,
            made,
            space,
            reader,
            device=where,
            shard_bytes=int(shard_megabytes * 2**20),
            progress=show_on(bar),
        )
    for name, reason in sorted(bad.items()):
        print(printable(f"left out: {name}: {reason}"))
    print(f"{count} videos in {out}, {len(bad)} left out")
