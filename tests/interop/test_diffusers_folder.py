"""What a pipeline folder says; and, of a folder that is none, which file is wrong and what was expected."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_folders as tiny
import torch
from safetensors.torch import load_file

from videofusion.errors import InputError
from videofusion.interop.diffusers_folder import network_kind, read_folder
from videofusion.interop.diffusers_unet import unet_from_diffusers
from videofusion.interop.image_model import load_image_model
from videofusion.networks.tiny_autoencoder import TinyAutoencoder
from videofusion.networks.unet import UNet


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.sd_pipeline(), tmp_path_factory.mktemp("sd") / "sd")


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.xl_pipeline(), tmp_path_factory.mktemp("xl") / "xl")


@pytest.fixture
def copy(sd: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sd, tmp_path / "copy"))


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_stable_diffusion(sd: Path) -> None:
    facts = read_folder(sd)
    assert network_kind(sd) == "UNet2DConditionModel"
    assert (facts.schedule, facts.prediction, facts.spacing) == ("scaled_linear", "eps", "sd")
    assert (facts.channels, facts.factor, facts.scale) == (4, 2, 0.18215)
    assert (facts.height, facts.width, facts.beside, facts.time_ids) == (16, 16, (), 0)
    (text,) = facts.text
    assert (text.kind, text.width, text.length, text.pooled) == ("CLIPTextModel", 32, tiny.LENGTH, None)
    with torch.device("meta"):
        unet = UNet(**facts.unet)
    assert facts.weights["unet"] == sum(each.numel() for each in unet.parameters())
    assert facts.memory("float16") * 2 == facts.memory() == 4 * sum(facts.weights.values())
    assert facts.memory(parts=("unet",)) == 4 * facts.weights["unet"]
    assert "predicts eps" in facts.summary()


def test_the_autoencoder_may_be_ours(copy: Path) -> None:
    shutil.rmtree(copy / "vae")
    TinyAutoencoder(latent_channels=4, width=8, factor=4).save_pretrained(copy / "vae")
    change(copy / "model_index.json", vae=["videofusion", "TinyAutoencoder"])
    facts = read_folder(copy)
    assert (facts.channels, facts.factor, facts.scale, facts.height) == (4, 4, 1.0, 32)
    assert isinstance(load_image_model(copy).space.vae, TinyAutoencoder)
    change(copy / "vae" / "config.json", factor=0)
    with pytest.raises(InputError, match=r"vae/config\.json lacks block_out_channels"):
        read_folder(copy)


def test_xl_has_two_encoders_and_is_told_sizes(xl: Path) -> None:
    facts = read_folder(xl)
    assert [part.width for part in facts.text] == [16, 32]
    assert [part.pooled for part in facts.text] == [None, 24]
    assert (facts.time_ids, facts.zero_null, facts.scale) == (6, True, 0.13025)


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (diffusers.DDIMScheduler(**tiny.SCHEDULE, prediction_type="v_prediction"), ("scaled_linear", "v", "sd")),
        (
            diffusers.DDIMScheduler(**tiny.SCHEDULE, rescale_betas_zero_snr=True, timestep_spacing="trailing"),
            ("scaled_linear_zero_snr", "eps", "sd-trailing"),
        ),
        (diffusers.EulerDiscreteScheduler(**tiny.SCHEDULE), ("scaled_linear", "eps", "sd")),
    ],
)
def test_the_scheduler_says_how_it_was_trained(copy: Path, scheduler: Any, said: tuple[str, str, str]) -> None:
    shutil.rmtree(copy / "scheduler")
    scheduler.save_pretrained(copy / "scheduler")
    facts = read_folder(copy)
    assert (facts.schedule, facts.prediction, facts.spacing) == said


@pytest.mark.parametrize(("channels", "beside"), [(5, ("depth",)), (8, ("image",)), (9, ("mask", "masked_image"))])
def test_more_channels_mean_something_and_load_by_name(tmp_path: Path, channels: int, beside: tuple[str, ...]) -> None:
    theirs = tiny.sd_pipeline(in_channels=channels)
    facts = read_folder(tiny.save(theirs, tmp_path / "sd"))
    assert facts.beside == beside
    ours = unet_from_diffusers(facts.folder)
    z, time, text = torch.randn(2, channels, 8, 8), torch.tensor([7, 801]), torch.randn(2, 5, 32)
    with torch.no_grad():
        expected = theirs.unet(z, time, text).sample
        found = ours(z[:, None], time.float(), text=text)[:, 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_half_precision_where_there_is_nothing_else(tmp_path: Path) -> None:
    theirs = tiny.sd_pipeline()
    theirs.save_pretrained(tmp_path / "whole")
    theirs.save_pretrained(tmp_path / "half", variant="fp16")
    assert read_folder(tmp_path / "half").weights == read_folder(tmp_path / "whole").weights
    theirs.save_pretrained(tmp_path / "half")  # both: one of them counts
    assert read_folder(tmp_path / "half").weights == read_folder(tmp_path / "whole").weights


class TestRefuses:
    def test_what_is_no_pipeline(self, sd: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"there is no folder .*nowhere; expected was that of a diffusers"):
            read_folder(tmp_path / "nowhere")
        with pytest.raises(InputError, match=r"has no model_index\.json; expected was the folder of a diffusers"):
            read_folder(tmp_path)
        (tmp_path / "v1-5.ckpt").write_bytes(b"x")
        with pytest.raises(InputError, match=r"has no model_index\.json \(v1-5\.ckpt in it is a pickle"):
            read_folder(tmp_path)
        with pytest.raises(InputError, match=r"v1-5\.ckpt is a pickle, which is refused"):
            read_folder(tmp_path / "v1-5.ckpt")
        with pytest.raises(InputError, match="is the folder of a UNet2DConditionModel alone; expected was that of a"):
            read_folder(sd / "unet")
        assert network_kind(tmp_path) is None
        assert network_kind(sd / "unet") is None

    @pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
    def test_a_missing_part(self, copy: Path, part: str) -> None:
        shutil.rmtree(copy / part)
        with pytest.raises(InputError, match=rf"{part}.*(is missing; expected was|which says how)"):
            read_folder(copy)

    @pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
    def test_a_part_that_the_index_does_not_name(self, copy: Path, part: str) -> None:
        change(copy / "model_index.json", **{part: [None, None]})
        with pytest.raises(InputError, match=rf"model_index\.json names no {part}; expected was"):
            read_folder(copy)

    def test_another_kind_of_part(self, copy: Path) -> None:
        change(copy / "model_index.json", unet=["diffusers", "UNetMotionModel"])
        with pytest.raises(InputError, match="names a UNetMotionModel as its unet; expected was UNet2DCond"):
            read_folder(copy)
        assert network_kind(copy) is None
        change(copy / "model_index.json", unet=["diffusers", "UNet3DConditionModel"])
        with pytest.raises(InputError, match="is that of a UNet2DConditionModel; expected was UNet3DConditionModel"):
            read_folder(copy)

    @pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
    @pytest.mark.parametrize("kept", [0.7, 0.0001])
    def test_a_download_that_was_interrupted(self, copy: Path, part: str, kept: float) -> None:
        (file,) = (copy / part).glob("*.safetensors")
        file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size) + 8])
        with pytest.raises(InputError, match=rf"{file.name} is cut short: it has [\d,]+ bytes, .* fetch it again"):
            read_folder(copy)

    def test_what_only_points_to_weights(self, copy: Path) -> None:
        file = copy / "unet" / "diffusion_pytorch_model.safetensors"
        file.write_text("version https://git-lfs.example/spec/v1\noid sha256:0\nsize 3\n")
        with pytest.raises(InputError, match="is a pointer of git-lfs"):
            read_folder(copy)
        file.write_bytes(b"PK\x03\x04" + 60 * b"\xff")
        with pytest.raises(InputError, match="is no file of safetensors, which is what was expected"):
            read_folder(copy)

    def test_a_part_of_a_part(self, copy: Path) -> None:
        theirs = tiny.unet()
        shutil.rmtree(copy / "unet")
        theirs.save_pretrained(copy / "unet", max_shard_size="50KB")
        assert read_folder(copy).weights["unet"] == sum(each.numel() for each in theirs.parameters())
        lost = sorted((copy / "unet").glob("*.safetensors"))[1]
        lost.unlink()
        with pytest.raises(InputError, match=rf"{lost.name} is missing, which .*index\.json names"):
            read_folder(copy)

    @pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
    def test_a_pickle(self, copy: Path, part: str) -> None:
        (file,) = (copy / part).glob("*.safetensors")
        torch.save(load_file(file), file.with_suffix(".bin"))
        assert read_folder(copy)  # which is not opened where there are safetensors
        file.unlink()
        with pytest.raises(InputError, match=rf"{part} must have its weights as safetensors; it has only .*\.bin, a"):
            read_folder(copy)

    def test_a_text_encoder_of_another_width(self, copy: Path) -> None:
        shutil.rmtree(copy / "text_encoder")
        tiny.text_encoder(48).save_pretrained(copy / "text_encoder")
        with pytest.raises(InputError, match=r"is 48 wide \(hidden_size\), but .*unet.config\.json reads text 32 wide"):
            read_folder(copy)

    def test_the_second_encoder_of_another_width(self, xl: Path, tmp_path: Path) -> None:
        shutil.copytree(xl, tmp_path / "xl")
        shutil.rmtree(tmp_path / "xl" / "text_encoder_2")
        tiny.text_encoder(32, projection=28).save_pretrained(tmp_path / "xl" / "text_encoder_2")
        with pytest.raises(InputError, match=r"text_encoder_2.*28 wide \(projection_dim\), .* 1564 .*; it reads 1560"):
            read_folder(tmp_path / "xl")

    def test_an_autoencoder_of_another_model(self, copy: Path) -> None:
        change(copy / "vae" / "config.json", scaling_factor=0.13025)
        with pytest.raises(InputError, match=r"0\.13025 of Stable Diffusion XL's autoencoder, but .*unet is no U-Net"):
            read_folder(copy)
        change(copy / "vae" / "config.json", latent_channels=16)
        with pytest.raises(InputError, match=r"unet.config\.json makes 4 channels, but the latents of .*vae have 16"):
            read_folder(copy)

    def test_channels_that_mean_nothing(self, copy: Path) -> None:
        change(copy / "unet" / "config.json", in_channels=7)
        with pytest.raises(InputError, match="in_channels is 7; with latents of 4 it must be 4, 5 "):
            read_folder(copy)

    @pytest.mark.parametrize(
        ("part", "values"),
        [
            ("unet", {"block_out_channels": 7}),
            ("unet", {"in_channels": "four"}),
            ("unet", {"layers_per_block": 10**9}),
            ("text_encoder", {"hidden_size": [1]}),
            ("vae", {"latent_channels": None}),
            ("vae", {"scaling_factor": -1}),
        ],
    )
    def test_configurations_that_say_nonsense(self, copy: Path, part: str, values: dict[str, Any]) -> None:
        change(copy / part / "config.json", **values)
        with pytest.raises(InputError, match=rf"{part}.config\.json"):
            read_folder(copy)

    def test_a_schedule_of_its_own(self, copy: Path) -> None:
        change(copy / "scheduler" / "scheduler_config.json", beta_end=0.5)
        with pytest.raises(InputError, match=r"scheduler_config\.json: beta_end is 0\.5"):
            read_folder(copy)
