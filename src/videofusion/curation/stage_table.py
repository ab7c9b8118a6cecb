"""The stages of a run: all but those skipped by name; a stage without weights is an error, not skipped."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from videofusion.curation.captions import Captions
from videofusion.curation.cuts import Cuts, Uncut
from videofusion.curation.duplicates import Duplicates
from videofusion.curation.embeddings import Aesthetics, Embeddings, Similarity
from videofusion.curation.flow import Motion
from videofusion.curation.hub_models import folder_of
from videofusion.curation.ocr import Text
from videofusion.curation.stage import Stage
from videofusion.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where the models are that the last stages need.

    Args:
        clip: a CLIP of transformers: folder, or name on the Hub.
        aesthetic_head: safetensors with the layers from CLIP's embedding to a score.
        middle: an image captioner.
        video: a captioner of several frames.
        llm: a language model.
        device: of all of them.
    """

    clip: str | None = None
    aesthetic_head: Path | None = None
    middle: str | None = None
    video: str | None = None
    llm: str | None = None
    device: str = "cpu"

    def missing(self, stage: str) -> list[str]:
        """The options that a stage needs and that were not given."""
        needs: dict[str, dict[str, object]] = {
            "aesthetics": {"--clip": self.clip, "--aesthetic-head": self.aesthetic_head},
            "similarity": {"--clip": self.clip},
            "captions": {"--caption-middle": self.middle, "--caption-video": self.video, "--caption-llm": self.llm},
        }
        return [option for option, value in needs.get(stage, {}).items() if value is None]


def stages_of(skip: Collection[str], weights: Weights) -> tuple[Stage, list[Stage]]:
    """The stage that finds the clips, and those that look at them, in order.

    Raises:
        InputError: a stage has no weights and is not left out by name.
    """
    wanting = {stage: weights.missing(stage) for stage in ("captions", "aesthetics", "similarity") if stage not in skip}
    wanting = {stage: options for stage, options in wanting.items() if options}
    if wanting:
        options = dict.fromkeys(option for missing in wanting.values() for option in missing)
        some = "stage " if len(wanting) == 1 else "stages "
        raise InputError(
            f"{some}{', '.join(wanting)} {'has' if len(wanting) == 1 else 'have'} no weights: "
            f"give {', '.join(options)}, or leave out with --skip {' '.join(wanting)}"
        )
    stages: list[Stage] = []
    if "motion" not in skip:
        stages.append(Motion())
    if "text" not in skip:
        stages.append(Text())
    if "duplicates" not in skip:
        stages.append(Duplicates())
    if "captions" not in skip:
        stages.append(Captions.of(str(weights.middle), str(weights.video), str(weights.llm), device=weights.device))
    if not {"aesthetics", "similarity"} <= set(skip):
        clip = folder_of(str(weights.clip), "--clip")
        stages.append(Embeddings.of(clip, device=weights.device))
        if "aesthetics" not in skip:
            assert weights.aesthetic_head is not None
            stages.append(Aesthetics.of(weights.aesthetic_head))
        if "similarity" not in skip:
            stages.append(Similarity.of(clip, device=weights.device))
    return (Uncut() if "cuts" in skip else Cuts()), stages
