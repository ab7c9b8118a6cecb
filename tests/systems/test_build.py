"""From a recipe to a system."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from videofusion.data.batch import Batch, Sample
from videofusion.data.folder import VideoFolder
from videofusion.digits.moving_digits import MovingDigits
from videofusion.errors import InputError
from videofusion.evaluation.model_domain import domain_of
from videofusion.networks.autoencoder import Pixels
from videofusion.recipes.catalogue import get_recipe
from videofusion.recipes.recipe import Recipe
from videofusion.systems.build import PROFILE_CLIPS, _some_clips, build_system
from videofusion.systems.decomposed import VARIANTS
from videofusion.systems.vdm import VDMSystem
from videofusion.training.trainer import training_keys

SMALL = {"network.channels": "16,16", "clips.frames": "4", "text.size": "16", "batch.frames": "none"}


@pytest.fixture(scope="module")
def digits() -> MovingDigits:
    return MovingDigits(4, 16, "train", 0.0)


def recipe(**changes: str) -> Recipe:
    # the recipe's row is told the share
    vdm = changes.get("system") == "vdm"
    own = {"network.temporal": "factorised"} if vdm else {"system.residual_channels": "16,16"}
    return get_recipe("tiny", SMALL | own | changes)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_a_recipe_is_built_and_has_a_loss(variant, digits):
    system = build_system(recipe(**{"system.variant": variant}), digits)
    assert system.config.variant == system.pipeline().config.variant == variant
    clips = digits.batch([0, 1], 0, 0)
    with torch.no_grad():
        assert system.loss(clips, training_keys(0, [0, 1]), 1).per_clip.isfinite().all()


def test_what_is_measured_of_the_data_is_of_all_classes_where_they_come_one_after_the_other() -> None:
    class InOrder:
        def __len__(self) -> int:
            return 3 * PROFILE_CLIPS

        def sample(self, index: int, epoch: int, seed: int) -> Sample:
            return Sample(torch.full((1, 3, 1, 1), float(index)), "", str(index))

    seen = torch.cat(list(_some_clips(InOrder(), Pixels()))).flatten(1)[:, 0]
    assert len(seen) == PROFILE_CLIPS
    assert torch.bincount((seen / PROFILE_CLIPS).long()).tolist() == pytest.approx([PROFILE_CLIPS / 3] * 3, abs=1)


@pytest.mark.parametrize("kind", ["videofusion", "vdm"])
def test_prediction_and_weighting_reach_system_and_pipeline(kind, digits):
    system = build_system(
        recipe(
            system=kind,
            **{"diffusion.prediction": "x0", "diffusion.weighting": "clipped_v"},
            **({"system.share": "0.3"} if kind == "videofusion" else {}),
        ),
        digits,
    )
    assert (system.common.prediction, system.options.weighting) == ("x0", "clipped_v")
    config = system.pipeline().config
    if isinstance(system, VDMSystem):
        assert config.prediction == "x0"
    else:
        assert (config.base_prediction, config.residual_prediction, config.share) == ("x0", "x0", 0.3)


def test_heads_of_one_size_are_more_where_there_are_more_channels(digits):
    system = build_system(recipe(**{"network.channels": "16,32", "network.head_size": "8"}), digits)
    assert list(system.base.config.heads) == [2, 4]
    assert list(system.residual.config.heads) == [2, 2]
    with pytest.raises(InputError, match=r"head_size is 12, which does not divide the channels \(16, 16\)"):
        build_system(recipe(**{"network.head_size": "12"}), digits)


def test_a_model_gets_profiles_when_lambda_is_adaptive(digits):
    assert build_system(recipe(**{"system.share": "0.5"}), digits).profiles is None
    profiles = torch.tensor(build_system(recipe(**{"system.adaptive": "0.5"}), digits).profiles)
    assert profiles.shape == (11, 3)
    # of the data alone there is no range for the motion knob to move in, for nothing else was trained
    usual = build_system(recipe(), digits)
    assert torch.equal(torch.tensor(usual.profiles), profiles[5:6])
    with pytest.raises(InputError, match=r"motion is 1\.0; this model was not trained for it"):
        usual.pipeline()("red", motion=1.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_base_may_come_from_an_image_model(variant, digits, tmp_path):
    """Its pictures are the same as before, also where the base is told an embedding that the image model was not."""
    image_model = build_system(recipe(system="vdm", **{"network.temporal": "image"}), digits)
    image_model.pipeline().save_pretrained(tmp_path)
    base = build_system(recipe(**{"system.variant": variant, "start.image_model": str(tmp_path)}), digits).base
    z, time, text = torch.randn(2, 1, 3, 16, 16), torch.tensor([100.0, 900.0]), torch.randn(2, 3, 16)
    told = {"image_embedding": torch.randn(2, 16)} if variant == "published" else {}
    with torch.no_grad():
        torch.testing.assert_close(base(z, time, text=text, **told), image_model.unet(z, time, text=text))


def test_a_base_of_other_sizes_is_refused(digits, tmp_path):
    build_system(recipe(system="vdm", **{"network.temporal": "image"}), digits).pipeline().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="does not fit: unet lacks"):
        build_system(recipe(**{"network.channels": "32,16", "start.image_model": str(tmp_path)}), digits)
    with pytest.raises(InputError, match="it must be a run or model folder with a unet or a base in it"):
        build_system(recipe(**{"start.image_model": str(tmp_path / "unet")}), digits)


@pytest.mark.parametrize("system", ["videofusion", "vdm"])
def test_all_parts_may_come_from_a_trained_model_and_the_base_from_another(system, digits, tmp_path):
    first, second = (build_system(recipe(system=system, seed=seed), digits) for seed in ("0", "1"))
    first.pipeline().save_pretrained(tmp_path / "first")
    started = build_system(recipe(system=system, **{"start.model": str(tmp_path / "first")}), digits)
    for name, part in first.modules.items():
        weights = started.modules[name].state_dict()
        assert all(torch.equal(value, weights[key]) for key, value in part.state_dict().items())
    if system == "videofusion":
        second.pipeline().save_pretrained(tmp_path / "second")
        both = {"start.model": str(tmp_path / "first"), "start.image_model": str(tmp_path / "second")}
        started = build_system(recipe(**both), digits)
        for one, other in ((started.base, second.base), (started.residual, first.residual)):
            assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_temporal_layers_that_a_trained_model_lacks_begin_as_the_identity(digits, tmp_path):
    """And those that it has are not lost without a word."""
    first = build_system(recipe(**{"network.temporal": "residual_middle"}), digits)
    with torch.no_grad():  # as if trained: no layer is the identity
        for parameter in first.residual.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    first.pipeline().save_pretrained(tmp_path / "first")
    wider = {"network.temporal": "residual_middle_place"}
    started = build_system(recipe(**{"start.model": str(tmp_path / "first")}, **wider), digits)
    assert len(started.residual.state_dict()) > len(first.residual.state_dict())
    z, told = torch.randn(2, 4, 6, 16, 16), {"text": torch.randn(2, 3, 16), "share": torch.rand(2, 4)}
    with torch.no_grad():
        torch.testing.assert_close(
            started.residual(z, torch.tensor([100.0, 900.0]), **told),
            first.residual(z, torch.tensor([100.0, 900.0]), **told),
        )
    started.pipeline().save_pretrained(tmp_path / "second")
    with pytest.raises(InputError, match=r"would be lost; set network\.temporal=residual_middle_place"):
        build_system(recipe(**{"start.model": str(tmp_path / "second"), "network.temporal": "residual_middle"}), digits)


@pytest.mark.parametrize("key", ["start.model", "start.image_model"])
def test_a_trained_model_s_words_are_found_by_name(key, digits, tmp_path, monkeypatch):
    """Captions may have words in another order, more and fewer; a caption then says the same, and none is lost."""
    first = build_system(recipe(system="vdm", **{"network.temporal": "image"}), digits)
    first.pipeline().save_pretrained(tmp_path)
    monkeypatch.setattr(MovingDigits, "words", ["zebra", "three", "red", "left", "moving", "a"])
    encoder = build_system(
        recipe(system="vdm", **{"network.temporal": "image"}, **{key: str(tmp_path)}), digits
    ).text_encoder
    assert encoder.words == [*first.text_encoder.words, "zebra"]
    with torch.no_grad():
        known, new = (each.encode(["a red three", "blue", "a zebra"])[0] for each in (first.text_encoder, encoder))
        torch.testing.assert_close(new[:2], known[:2])
        assert not torch.allclose(new[2], known[2])  # the new word is a word of its own


def test_adapters_have_the_words_of_their_model(digits, tmp_path, monkeypatch):
    pytest.importorskip("peft", reason="needs the extra lora")
    first = build_system(recipe(system="vdm", **{"network.temporal": "image"}), digits)
    first.pipeline().save_pretrained(tmp_path)
    monkeypatch.setattr(MovingDigits, "words", ["zebra", "three"])
    adapted = recipe(
        system="vdm", **{"network.temporal": "image", "start.trains": "lora", "start.model": str(tmp_path)}
    )
    assert build_system(adapted, digits).text_encoder.words == first.text_encoder.words


def test_a_model_of_other_parts_or_sizes_is_refused(digits, tmp_path):
    build_system(recipe(), digits).pipeline().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="does not fit: residual lacks"):
        build_system(recipe(**{"system.residual_channels": "32,16", "start.model": str(tmp_path)}), digits)
    with pytest.raises(InputError, match="it must be a run or model folder with a unet in it"):
        build_system(recipe(system="vdm", **{"network.temporal": "factorised", "start.model": str(tmp_path)}), digits)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_residual_generator_that_starts_from_the_base(variant, digits):
    system = build_system(recipe(**{"system.variant": variant, "system.residual_from_base": "true"}), digits)
    base, residual = system.base.spatial_state(), system.residual.spatial_state()
    first, own = base.pop("conv_in.weight"), residual.pop("conv_in.weight")
    assert base.keys() == residual.keys()
    assert all(torch.equal(value, residual[name]) for name, value in base.items())
    assert torch.equal(own[:, : first.shape[1]], first)
    assert not own[:, first.shape[1] :].any()  # what it sees beside the noisy frame weighs nothing yet
    with pytest.raises(InputError, match="residual_from_base needs generators of the same channels"):
        build_system(
            recipe(
                **{"system.variant": variant, "system.residual_from_base": "true", "system.residual_channels": "16,32"}
            ),
            digits,
        )


def test_a_base_may_learn_from_all_frames(digits):
    clips, keys = digits.batch([0, 1], 0, 0), training_keys(0, [0, 1])
    middle, every = (
        build_system(recipe(**{"system.base_frames": frames}), digits).loss(clips, keys, 1)
        for frames in ("middle", "all")
    )
    assert middle.parts["residual"] == pytest.approx(float(every.parts["residual"]), rel=0.5)
    assert middle.parts["base"] != every.parts["base"]
    for changes, why in (
        ({"system.variant": "published"}, "embedding"),
        ({"system.base_loss": "fixed"}, "does not learn"),
    ):
        with pytest.raises(InputError, match=f"base_frames is 'all', but .*{why}"):
            build_system(recipe(**{"system.base_frames": "all"}, **changes), digits)


def test_grouping_needs_data_that_name_identity_or_action(digits):
    with pytest.raises(InputError, match="grouped is True, but the data name no clip's identity or action"):
        build_system(recipe(**{"system.grouped": "true"}), digits)


def test_clips_of_weizmann_share_by_person_and_action(shared_data):
    folder = VideoFolder(shared_data / "weizmann64", frames=4, size=16)
    system = build_system(recipe(**{"system.grouped": "true", "system.share": "0.9"}), folder)
    assert system.config.grouped
    clips = Batch.of([folder.sample(0), folder.sample(1)], [0, 1])
    assert clips.names[0].split("/")[0] == clips.actions[0]
    assert clips.identities[0].startswith("person")
    with torch.no_grad():
        assert system.loss(clips, training_keys(0, [0, 1]), 1).per_clip.isfinite().all()


@pytest.mark.parametrize("kind", ["videofusion", "vdm"])
def test_networks_over_frames_are_told_the_rate_where_clips_have_several(kind, digits):
    def told(**changes: str) -> list[bool]:
        return [
            network.config.fps for network in build_system(recipe(system=kind, **changes), digits).pipeline().networks
        ]

    several = [False, True] if kind == "videofusion" else [True]  # the base generator sees one frame
    assert told(**{"clips.fps_range": "2,8"}) == told(**{"clips.strides": "1,4"}) == several
    assert told() == told(**{"clips.fps": "4"}) == told(**{"clips.strides": "4"}) == [False] * len(several)
    assert get_recipe("vdm-webvid").clips.strides == (1, 4)  # VDM's frame skips


def test_a_model_that_was_told_no_rate_learns_to_hear_it_and_one_that_was_goes_on_hearing(digits, tmp_path):
    build_system(recipe(), digits).pipeline().save_pretrained(tmp_path / "deaf")
    system = build_system(recipe(**{"clips.strides": "1,2", "start.model": str(tmp_path / "deaf")}), digits)
    deaf = build_system(recipe(**{"start.model": str(tmp_path / "deaf")}), digits)
    batch, keys = digits.batch([0, 1], 0, 0), training_keys(0, [0, 1])
    with torch.no_grad():  # the identity at first
        losses = [each.loss(replace(batch, fps=torch.tensor([3.0, 9.0])), keys, 1).per_clip for each in (system, deaf)]
    assert torch.equal(*losses)
    system.pipeline().save_pretrained(tmp_path / "hearing")
    assert build_system(recipe(**{"start.model": str(tmp_path / "hearing")}), digits).residual.config.fps


@pytest.mark.parametrize("system", ["videofusion", "vdm"])
def test_a_model_says_what_it_was_trained_on(system, digits, tmp_path):
    made = recipe(
        system=system,
        **{"clips.kind": "digits-over-photos"},
        **({"network.temporal": "factorised"} if system == "vdm" else {}),
    )
    build_system(made, digits).pipeline().save_pretrained(tmp_path)
    assert domain_of(tmp_path) == "digits-over-photos"
