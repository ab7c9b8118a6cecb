"""Systems without training, on small random image models in folders of diffusers."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import videofusion as vf
from videofusion.diffusion import Known, Prediction
from videofusion.errors import InputError
from videofusion.registry import TRAINING_FREE
from videofusion.systems.prepared import Hooks
from videofusion.systems.training_free import TrainingFreePipeline

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "interop"))
import tiny_folders as tiny  # noqa: E402

GOLDEN = TESTS / "diffusion" / "golden" / "text2video_zero.safetensors"
PROMPT = "a red cat"
FEW = {"steps": 4, "height": 16, "width": 16, "guidance": 3.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.sd_pipeline(), tmp_path_factory.mktemp("sd") / "tiny-sd")


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(4)
    net = diffusers.ControlNetModel.from_unet(
        tiny.unet(), conditioning_embedding_out_channels=(4, 8), load_weights_from_unet=False
    )
    place = tmp_path_factory.mktemp("control") / "net"
    tiny.stirred(net).save_pretrained(place)
    return place


def load(folder: Path, system: str, **options: Any) -> TrainingFreePipeline:
    pipe = vf.load(folder, system=system, device="cpu", **options)
    assert isinstance(pipe, TrainingFreePipeline)
    return pipe


def moving(frames: int = 5, size: int = 16) -> Tensor:
    """A white square on black that moves to the right."""
    clip = -torch.ones(frames, 3, size, size)
    for number in range(frames):
        clip[number, :, 4:12, 2 + number : 8 + number] = 1
    return clip


@pytest.mark.parametrize("system", ["text2video-zero", "shared-noise"])
def test_a_folder_of_an_image_model_makes_clips(folder: Path, system: str) -> None:
    pipe = load(folder, system)
    made = pipe(PROMPT, seed=3, frames=3, **FEW)
    assert made.shape == (3, 3, 16, 16)
    assert torch.equal(made, pipe(PROMPT, seed=3, frames=3, **FEW))
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(made, pipe("a blue dog", seed=3, frames=3, **FEW))
    assert not torch.equal(made, pipe(PROMPT, seed=3, frames=3, negative="grey", **FEW))
    assert vf.generate(pipe, [PROMPT], frames=12, **FEW).shape == (1, 12, 3, 16, 16)  # no windows: any length


def test_text2video_zero_is_the_default_and_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert type(vf.load(folder, device="cpu")).__name__ == TRAINING_FREE["text2video-zero"][1]
    assert 'tiny-sd is an image model; clips are made by "text2video-zero"' in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")  # of what is deprecated there
@pytest.mark.peer
@torch.no_grad()
def test_text2video_zero_makes_the_clip_that_diffusers_makes(folder: Path) -> None:
    module = pytest.importorskip("diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero")
    parts = tiny.sd_pipeline().components
    theirs = module.TextToVideoZeroPipeline(
        **{k: v for k, v in parts.items() if k != "image_encoder"}, requires_safety_checker=False
    )
    theirs.set_progress_bar_config(disable=True)
    pipe = load(folder, "text2video-zero")
    frames, steps = 4, 50
    own = pipe.prepare(PROMPT, seed=1, frames=frames, steps=steps, height=16, width=16).noise(0)
    eps = torch.randn(frames - 1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    expected = theirs(
        PROMPT,
        video_length=frames,
        latents=own[0, :1].clone(),
        generator=torch.Generator().manual_seed(3),
        num_inference_steps=steps,
        guidance_scale=7.5,
        negative_prompt="grey",
        height=16,
        width=16,
        output_type="latent",
    ).images
    noise = torch.cat([own[:, :1], eps[None]], dim=1)
    pipe.noise_source = lambda: Given(noise)  # type: ignore[method-assign]
    options = {"frames": frames, "steps": steps, "height": 16, "width": 16, "published": True, "negative": "grey"}
    made = pipe(PROMPT, output="latent", **options)
    expected = torch.as_tensor(expected)
    assert float((made - expected).norm() / expected.norm()) < 1e-4


class Given:
    """A source of given noise."""

    def __init__(self, eps: Tensor) -> None:
        self.eps = eps

    def draw(self, *_: Any) -> Any:
        return self

    def covariance(self, share: Tensor | None = None, frames: Any = None) -> Tensor:
        return torch.eye(self.eps.shape[1])[None]


@torch.no_grad()
def test_text2video_zero_has_the_numbers_that_diffusers_had(tmp_path: Path) -> None:
    golden = load_file(GOLDEN)
    theirs = tiny.sd_pipeline(
        width=8,
        block_out_channels=(8, 8),
        attention_head_dim=2,
        norm_num_groups=4,
    )
    weights = {name.removeprefix("unet."): value for name, value in golden.items() if name.startswith("unet.")}
    theirs.unet.load_state_dict(weights)
    theirs.register_modules(text_encoder=tiny.text_encoder(8))
    pipe = load(tiny.save(theirs, tmp_path), "text2video-zero")
    noise = torch.cat([golden["first"], golden["eps"]])[None]
    pipe.noise_source = lambda: Given(noise)  # type: ignore[method-assign]
    steps = 10
    options = {"height": 16, "width": 16, "frames": 4, "steps": steps, "guidance": 5.0, "shift": (64 / 512, 64 / 512)}
    prepared = pipe.prepare(PROMPT, moves=(1, 3), published=True, sampler_options={"spacing": "leading"}, **options)
    object.__setattr__(prepared.conditions, "text", golden["text"])
    object.__setattr__(prepared.conditions, "null", {"text": golden["null"]})
    made, expected = pipe.run(prepared)[0], golden["made"]
    error = (made - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert float(error.max()) < 1e-4


def test_without_motion_and_with_nothing_in_front_the_first_frame_is_repeated(folder: Path) -> None:
    pipe = load(folder, "text2video-zero")
    nothing = torch.zeros(1, 1, 16, 16)
    made = pipe(PROMPT, frames=3, shift=(0.0, 0.0), foreground=nothing, smoothing=1.0, **FEW)
    torch.testing.assert_close(made, made[:1].expand_as(made), rtol=0, atol=1e-4)
    asked: list[Tensor] = []

    def segment(clips: Tensor) -> Tensor:
        asked.append(clips)
        return torch.ones(1, 3, 1, 16, 16)

    all_in_front = pipe(PROMPT, frames=3, foreground=segment, **FEW)
    assert asked[0].shape == (1, 3, 3, 16, 16)
    torch.testing.assert_close(all_in_front, pipe(PROMPT, frames=3, **FEW), rtol=0, atol=1e-5)


@pytest.mark.parametrize("system", ["text2video-zero", "shared-noise"])
def test_in_chunks_a_clip_is_the_one_made_at_once(folder: Path, system: str) -> None:
    pipe = load(folder, system)
    whole = pipe(PROMPT, frames=7, window=7, **FEW)
    torch.testing.assert_close(pipe(PROMPT, frames=7, window=3, **FEW), whole, rtol=0, atol=1e-4)
    assert torch.equal(pipe(PROMPT, frames=7, window=100, **FEW), whole)
    with pytest.raises(InputError, match="window is 0; it must be at least"):
        pipe(PROMPT, frames=7, window=0, **FEW)
    with pytest.raises(InputError, match="frames is 1; a clip must have at least 2"):
        pipe(PROMPT, frames=1, window=3, **FEW)


def test_shared_noise_shares_as_much_as_it_is_told(folder: Path) -> None:
    pipe = load(folder, "shared-noise")
    same = pipe(PROMPT, frames=3, share=1.0, **FEW)
    torch.testing.assert_close(same, same[:1].expand_as(same), rtol=0, atol=1e-5)
    spread = [
        float((clip[0] - clip[2]).norm()) for clip in (pipe(PROMPT, frames=3, share=s, **FEW) for s in (0.9, 0.0))
    ]
    assert spread[0] < spread[1]


def test_controlvideo_takes_over_a_structure(folder: Path, control: Path) -> None:
    pipe = load(folder, "controlvideo", controlnet=control)
    options = {"structure": moving(), "structure_kind": "maps", **FEW}
    made = pipe(PROMPT, **options)
    assert made.shape == (5, 3, 16, 16)
    assert not torch.equal(made, pipe(PROMPT, **{**options, "structure": moving().flip(0)}))
    assert not torch.equal(made, pipe(PROMPT, smooth=False, **options))
    torch.testing.assert_close(pipe(PROMPT, window=5, **options), made)  # one window is the plain sampler
    assert pipe(PROMPT, window=3, **{**options, "structure": moving(9)}).shape == (9, 3, 16, 16)


def test_structure_of_a_long_clip_is_looked_at_a_few_frames_at_once(folder: Path, control: Path) -> None:
    pipe = load(folder, "controlvideo", controlnet=control)
    counts: list[int] = []
    layers = pipe.controls[0].model.controlnet_cond_embedding
    structure = moving(19)[None]
    whole = layers((structure[0] + 1) / 2)
    layers.register_forward_pre_hook(lambda module, given: counts.append(len(given[0])))
    torch.testing.assert_close(pipe.controls[0].look(structure)[0], whole)
    assert sum(counts) == 19
    assert max(counts) <= 8


def test_a_still_structure_makes_a_still_clip(folder: Path, control: Path) -> None:
    for system in ("controlvideo", "text2video-zero"):
        pipe = load(folder, system, controlnet=[control])
        still = moving(1).expand(4, -1, -1, -1)
        made = pipe(PROMPT, structure=still, structure_kind="maps", **FEW)
        torch.testing.assert_close(made, made[:1].expand_as(made), rtol=0, atol=1e-4)


@pytest.mark.parametrize("system", ["controlvideo", "text2video-zero"])
def test_of_a_structure_all_frames_have_one_noise_and_what_is_given_is_followed_by_its_covariance(
    folder: Path, control: Path, system: str
) -> None:
    pipe = load(folder, system, controlnet=control)
    known = Known(moving(1), [0], weight=1.0)
    prepared = pipe.prepare(PROMPT, structure=moving(3), structure_kind="maps", known=known, **FEW)
    noise = prepared.noise(0)
    assert torch.equal(noise, noise[:, :1].expand_as(noise))
    assert torch.equal(prepared.denoiser.covariance, torch.ones(1, 3, 3))  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"method is 'vary', .* all frames of this model begin from one noise"):
        vf.edit(pipe, moving(), PROMPT, method="vary", structure=moving())


@pytest.mark.parametrize("system", ["controlvideo", "text2video-zero"])
def test_a_part_of_a_longer_video_has_the_structure_of_that_part(folder: Path, control: Path, system: str) -> None:
    pipe, options = load(folder, system, controlnet=control), {"structure_kind": "maps", **FEW}
    part = pipe(PROMPT, structure=moving(7)[2:], **options)  # whose noise is one for all frames
    assert torch.equal(pipe(PROMPT, structure=moving(7), start=2, **options), part)
    with pytest.raises(InputError, match="start is 7; structure has no frame from there on"):
        pipe(PROMPT, structure=moving(7), start=7, **options)


def test_edges_are_seen_without_a_model(folder: Path, control: Path) -> None:
    pytest.importorskip("cv2")
    pipe = load(folder, "controlvideo", controlnet=[control, control])
    made = pipe(PROMPT, structure=moving(), control_scale=[1.0, 0.5], **FEW)
    maps = pipe(PROMPT, structure=moving(), structure_kind=["edges", lambda clips: clips[:, :, :1]], **FEW)
    assert not torch.equal(made, maps)


@pytest.mark.filterwarnings("ignore")  # theirs
@torch.no_grad()
def test_an_instruction_edits_a_picture_as_diffusers_does(tmp_path: Path) -> None:
    parts = tiny.sd_pipeline(in_channels=8).components
    del parts["image_encoder"]
    theirs = diffusers.StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)
    theirs.set_progress_bar_config(disable=True)
    pipe = load(tiny.save(theirs, tmp_path), "text2video-zero")
    pictures = moving(1).expand(2, -1, -1, -1)
    prepared = pipe.prepare("make it red", beside=pictures, seed=4, frames=2, steps=6, height=16, width=16)
    expected = theirs(
        "make it red",
        pictures[:1] / 2 + 0.5,
        latents=prepared.noise(0)[0, :1].clone(),
        num_inference_steps=6,
        guidance_scale=7.5,
        image_guidance_scale=1.5,
        output_type="latent",
    ).images
    for frame in pipe.run(prepared)[0]:
        assert float((frame - expected[0]).norm() / expected.norm()) < 1e-4
    with pytest.raises(InputError, match="beside is not given; this image model edits pictures"):
        pipe("make it red", frames=2, **FEW)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    edited = vf.edit(pipe, moving(), "make it red", method="text2video-zero", mask=mask, steps=2, output="latent")
    encoded = pipe.space.encode(moving()[None])[0]
    assert torch.equal(edited[..., 4:], encoded[..., 4:])
    assert not torch.equal(edited[..., :4], encoded[..., :4])
    with pytest.raises(InputError, match="foreground is given, with an image model that edits; it is for clips of"):
        pipe("make it red", beside=moving(), frames=5, foreground=mask, **FEW)


def test_edits_take_over_the_structure(folder: Path, control: Path) -> None:
    pytest.importorskip("cv2")
    clip, options = moving(), {"steps": 2, "seed": 1}
    for method in ("controlvideo", "text2video-zero"):
        pipe = load(folder, method, controlnet=control)
        made = vf.edit(pipe, clip, PROMPT, method=method, **options)
        assert torch.equal(made, pipe(PROMPT, structure=clip, **options))
        mask = torch.zeros(1, 1, 16, 16)
        mask[..., :8] = 1
        kept = vf.edit(pipe, clip, PROMPT, method=method, mask=mask, output="latent", **options)
        encoded = pipe.space.encode(clip[None])[0]
        assert torch.equal(kept[..., 4:], encoded[..., 4:])
        assert not torch.equal(kept[..., :4], encoded[..., :4])
        with pytest.raises(InputError, match=r"strength is 0\.5; the method .* has none"):
            vf.edit(pipe, clip, PROMPT, method=method, strength=0.5, **options)
        with pytest.raises(InputError, match=f"method is '{method}', which takes .* with ControlNets"):
            vf.edit(load(folder, "shared-noise"), clip, PROMPT, method=method, **options)
    edited = vf.edit(load(folder, "text2video-zero"), clip, PROMPT, method="sdedit", **options)
    assert edited.shape == clip.shape


def test_xl_is_told_sizes_and_has_two_encoders(tmp_path: Path) -> None:
    pipe = load(tiny.save(tiny.xl_pipeline(), tmp_path), "text2video-zero")
    prepared = pipe.prepare(PROMPT, frames=3, **FEW)
    assert prepared.conditions.time_ids is not None
    assert prepared.conditions.time_ids.tolist() == [[16, 16, 0, 0, 16, 16]]
    assert prepared.conditions.pooled_text is not None
    assert pipe(PROMPT, frames=3, negative="grey", **FEW).isfinite().all()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_in_half_precision(folder: Path, precision: str) -> None:
    pipe = load(folder, "text2video-zero", precision=precision)
    assert pipe.unet.dtype == getattr(torch, precision)
    whole = load(folder, "text2video-zero")(PROMPT, frames=3, **FEW)
    made = pipe(PROMPT, frames=3, **FEW)
    assert made.dtype == torch.float32
    assert float((made - whole).abs().mean()) < 0.1


@pytest.mark.parametrize("system", ["text2video-zero", "shared-noise", "controlvideo"])
def test_a_saved_pipeline_is_the_same(folder: Path, control: Path, tmp_path: Path, system: str) -> None:
    nets: dict[str, Any] = {"controlnet": control} if system == "controlvideo" else {}
    more = {"structure": moving(3), "structure_kind": "maps"} if nets else {}
    pipe = load(folder, system, **nets)
    pipe.save_pretrained(tmp_path)
    again = vf.load(tmp_path, device="cpu", **nets)
    assert type(again) is type(pipe)
    assert torch.equal(again(PROMPT, frames=3, **more, **FEW), pipe(PROMPT, frames=3, **more, **FEW))
    with pytest.raises(InputError, match="which has a system of its own"):
        vf.load(tmp_path, system=next(name for name in TRAINING_FREE if name != system))


def test_what_cannot_be_is_told(folder: Path, control: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match='system without training "gen-1" is unknown'):
        vf.load(folder, system="gen-1")
    with pytest.raises(InputError, match=r"system is 'controlvideo', but .* is a VideoFusionPipeline"):
        vf.load("moving-digits", system="controlvideo")
    with pytest.raises(InputError, match=r"controlnet is .*, but .* is a VideoFusionPipeline, which takes none"):
        vf.load("moving-digits", controlnet=control)
    with pytest.raises(InputError, match=r"low_memory is True, but .* is an image model"):
        vf.load(folder, low_memory=True)
    nine = tiny.save(tiny.sd_pipeline(in_channels=9), tmp_path / "nine")
    with pytest.raises(InputError, match=r"config\.json is of a U-Net that takes mask and masked_image beside"):
        vf.load(nine, system="shared-noise")
    pipe = load(folder, "text2video-zero")
    with pytest.raises(InputError, match="structure is given; the model has no ControlNet"):
        pipe(PROMPT, structure=moving(), **FEW)
    with pytest.raises(InputError, match="foreground has the shape"):
        pipe(PROMPT, frames=3, foreground=torch.zeros(3, 1, 8, 8), **FEW)
    with pytest.raises(InputError, match=r"system is 'controlvideo', .* but the model has no ControlNet"):
        load(folder, "controlvideo")(PROMPT, frames=3, **FEW)
    controlled = load(folder, "controlvideo", controlnet=control)
    with pytest.raises(InputError, match="structure is not given; the model's ControlNets have to be shown one"):
        controlled(PROMPT, frames=3, **FEW)
    with pytest.raises(InputError, match="structure has 5 frames of 16x16 in 3 channels; it must have the clip's, 6"):
        controlled(PROMPT, frames=6, structure=moving(), structure_kind="maps", **FEW)
    with pytest.raises(InputError, match=r"structure_kind is 'depth', which a model sees; give what load_depth"):
        controlled(PROMPT, structure=moving(), structure_kind="depth", **FEW)
    with pytest.raises(InputError, match="control_scale has 2 entries; it must have one for each of 1"):
        controlled(PROMPT, structure=moving(), structure_kind="maps", control_scale=[1.0, 2.0], **FEW)
    with pytest.raises(InputError, match=r"prompt has \d+ tokens; at most 8 chunks of 18 are read"):
        pipe("word " * 100, frames=3, **FEW)


def test_a_name_on_the_hub_is_a_model_once_it_was_downloaded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    cached = tmp_path / "models--someone--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc123")
    shutil.copytree(folder, cached / "snapshots" / "abc123")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    pipe = load("someone/tiny", "shared-noise")  # type: ignore[arg-type]
    assert torch.equal(pipe(PROMPT, frames=2, **FEW), load(folder, "shared-noise")(PROMPT, frames=2, **FEW))


def test_a_negative_prompt_is_for_trained_models_too() -> None:
    pipe = vf.load("moving-digits", device="cpu")
    options = {"seed": 1, "steps": 2, "guidance": 3.0}
    plain = pipe("a red three", **options)
    assert torch.equal(pipe("a red three", negative="", **options), plain)
    assert not torch.equal(pipe("a red three", negative="a blue seven", **options), plain)
    with pytest.warns(UserWarning, match="does not know 'zebra'"):
        pipe("a red three", negative="zebra", **options)


def test_an_adapter_of_diffusers_is_added(folder: Path, tmp_path: Path) -> None:
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    matrices = {f"{layer}.lora_A.weight": torch.ones(2, 16), f"{layer}.lora_B.weight": torch.ones(16, 2)}
    save_file(matrices, tmp_path / "lora.safetensors")
    own = load(folder, "text2video-zero", lora=tmp_path / "lora.safetensors")
    name = f"{layer.removeprefix('unet.')}.weight"
    before = load(folder, "text2video-zero").unet.state_dict()[name]
    torch.testing.assert_close(own.unet.state_dict()[name], before + 2)


@pytest.mark.parametrize("spacing", ["sd", "sd-trailing", "trailing"])
def test_given_frames_are_kept_where_a_grid_ends_with_a_little_noise(folder: Path, spacing: str) -> None:
    pipe = load(folder, "shared-noise")
    known = Known(moving()[:2], [0, 3])
    asked = {"known": known, "frames": 4, "sampler_options": {"spacing": spacing}, **FEW}
    made = pipe(PROMPT, output="latent", **asked)
    given = pipe.space.encode(moving()[None, :2])[0]
    assert torch.equal(made[[0, 3]], given)
    prepared = pipe.prepare(PROMPT, **asked)
    half = pipe.run(prepared, times=prepared.times[:3])  # which is still noisy, and so are these
    assert not torch.allclose(half[0, [0, 3]], given, atol=0.1)


def test_the_smoother_leaves_alone_what_a_mask_keeps(folder: Path, control: Path) -> None:
    pipe = load(folder, "controlvideo", controlnet=control)
    mask = torch.zeros(5, 1, 16, 16)
    mask[..., 8:] = 1
    known, seen = Known(moving(), range(5), mask=mask), []

    def watch(prediction: Prediction, t: Tensor) -> Prediction:
        seen.append(prediction)
        return prediction

    asked = {"structure": moving(), "known": known, "smooth_steps": [1, 2]} | FEW
    pipe.run(pipe.prepare(PROMPT, **asked), hooks=Hooks(on_prediction=watch))
    latents = pipe.space.encode(moving()[None])
    for each in seen:
        torch.testing.assert_close(each.x0[..., :4], latents[..., :4], rtol=0, atol=0)
        agreed = each.alpha * each.x0 + each.sigma * each.eps
        torch.testing.assert_close(agreed[..., :4], each.z[..., :4], rtol=0, atol=1e-5)
    plain = pipe.run(pipe.prepare(PROMPT, **asked, smooth=False))
    assert not torch.allclose(plain, pipe.run(pipe.prepare(PROMPT, **asked)), atol=1e-4)
