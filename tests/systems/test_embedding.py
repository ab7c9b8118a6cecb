"""What tells the published variant the middle frame: which texts the priors hear, and where frames are embedded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import CAPTIONS, MIDDLE, SIZE, batch, by_part, evaluated, keys, shake, unet, videofusion, words

from videofusion.conditioning.frame_embedding import FrameEmbedding
from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.image import FrameEncoder
from videofusion.conditioning.motion import Motion
from videofusion.conditioning.prior_diffusion import prior_conditions, prior_denoiser, prior_errors, sample_prior
from videofusion.conditioning.prompt import Prompt, text_conditions
from videofusion.diffusion import Keys
from videofusion.diffusion.known import Known
from videofusion.errors import InputError
from videofusion.interop.image_encoders import load_image_encoder
from videofusion.interop.priors import load_prior
from videofusion.interop.text_encoders import load_text_encoder
from videofusion.networks.autoencoder import Pixels
from videofusion.networks.layers import normalised
from videofusion.networks.prior import Prior, TransformerPrior, transformer_sizes
from videofusion.systems.interface import StepOptions
from videofusion.systems.videofusion import VideoFusionConfig, VideoFusionSystem


def t5(folder: Path, clip: Path) -> FrozenText:
    transformers = pytest.importorskip("transformers", reason="transformers is not here (the extra clip brings it)")
    config = transformers.T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(clip / "tokenizer")
    return FrozenText(transformers.T5EncoderModel(config), tokenizer)


@pytest.fixture(params=["words", "clip", "t5", "own"])
def text(request: pytest.FixtureRequest, tmp_path: Path):
    """A text encoder of every kind; "own" is that of a prior's folder."""
    torch.manual_seed(1)
    if request.param == "words":
        return words().eval()
    if request.param == "own":
        return load_prior(request.getfixturevalue("saved_prior"))[1]
    saved = request.getfixturevalue("saved_text")
    return load_text_encoder(saved) if request.param == "clip" else t5(tmp_path, saved)


def small() -> Prior:
    return Prior(size=16, text_size=16, width=16, depth=1)


def transformer(tokens: int = 48) -> TransformerPrior:
    return TransformerPrior(sizes=transformer_sizes(16, 16, tokens), text_size=16)


@pytest.fixture(params=[small, transformer])
def prior(request: pytest.FixtureRequest):
    torch.manual_seed(2)
    made = request.param()
    shake(made)
    return made.eval()


@torch.no_grad()
def test_a_prior_hears_every_prompt_from_every_text_encoder(text, prior):
    prompts = ["a red three", "a blue three", ""]
    if isinstance(text, FrozenText) and type(text.model).__name__ == "CLIPTextModelWithProjection":
        prior = load_prior_of(text)
        told = prior_conditions(text_conditions(words(), prompts), text, prompts)
    else:
        told = prior_conditions(text_conditions(text, prompts), None, prompts)
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(0)).expand(3, -1)
    made = prior_denoiser(prior)(z, torch.full((3,), 0.7), told).x0
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (made[one] - made[other]).abs().max() > 1e-4 * made.abs().max()
    null = prior_denoiser(prior)(z, torch.full((3,), 0.7), told.without("text")).x0
    torch.testing.assert_close(null, made[2:].expand(3, -1))


def load_prior_of(text: FrozenText) -> TransformerPrior:
    """A prior that reads a text encoder's own tokens and pooled text."""
    made = TransformerPrior(sizes=transformer_sizes(16, 16, text.length))
    shake(made)
    return made.eval()


@torch.no_grad()
def test_the_first_token_alone_would_be_deaf_to_clip(saved_text):
    found, _ = load_text_encoder(saved_text).encode(["a red three", "a blue three", ""])
    assert torch.equal(found[0, 0], found[1, 0])
    assert torch.equal(found[0, 0], found[2, 0])


@torch.no_grad()
def test_padding_changes_nothing(prior):
    encoder = words().eval()
    told = prior_conditions(text_conditions(encoder, CAPTIONS[:2]), None, CAPTIONS[:2])
    filled = torch.cat([told.text, torch.randn(2, 16, 16)], dim=1)  # whatever stands there
    padded = replace(told, text=filled, text_mask=torch.cat([told.text_mask, torch.zeros(2, 16).bool()], dim=1))
    z, t = torch.randn(2, 16), torch.full((2,), 0.7)
    torch.testing.assert_close(prior_denoiser(prior)(z, t, padded).x0, prior_denoiser(prior)(z, t, told).x0)


@pytest.mark.parametrize("captions", [["a red three", "a blue three moving left"], ["", ""]])
def test_the_transformer_learns_from_text_and_from_nothing(captions):
    torch.manual_seed(0)
    network = transformer()
    encoder = words().eval()
    with torch.no_grad():
        told = prior_conditions(text_conditions(encoder, captions), None, captions)
    wanted = normalised(torch.sin(torch.arange(32.0).square()).reshape(2, 16))
    if not captions[0]:
        wanted = wanted[:1].expand(2, -1)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(40):
        index = torch.arange(16) % 2
        seeds = Keys.of(range(16))
        t = StepOptions().times(seeds, step)
        loss = prior_errors(network, wanted[index], t, told.select(index), seeds, step).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.1 * sum(losses[:5])
    with torch.no_grad():
        made = sample_prior(network, told, Keys.of([7, 8]), 1.0)
    assert ((made * wanted).mean(dim=1) > 0.8).all()


def test_a_transformer_is_brought_to_the_range_of_what_it_learns():
    network = transformer()
    embeddings = 7 + 3 * torch.randn(500, 16, generator=torch.Generator().manual_seed(0))
    network.measure(embeddings)
    standard = network.standard(embeddings)
    torch.testing.assert_close(standard.mean(dim=0), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(standard.std(dim=0), torch.ones(16))
    torch.testing.assert_close(network.natural(standard), embeddings)
    network.measure(torch.ones(5, 16))  # clips that are all alike
    assert network.standard(torch.ones(2, 16)).abs().max() == 0
    assert not [name for name, _ in network.named_parameters() if name.endswith(("clip_mean", "clip_std"))]


@torch.no_grad()
def test_a_sample_of_the_transformer_depends_on_its_content_seed_and_text_only():
    torch.manual_seed(2)
    network = transformer()
    shake(network)
    told = prior_conditions(text_conditions(words().eval(), CAPTIONS[:2]), None, CAPTIONS[:2])
    both = sample_prior(network, told, Keys.of([7, 8]), 2.0)
    alone = sample_prior(network, told.select([1]), Keys.of([8], motion=[99]), 2.0)
    torch.testing.assert_close(alone[0], both[1], atol=1e-5, rtol=1e-5)
    assert (sample_prior(network, told, Keys.of([9, 8]), 2.0)[0] - both[0]).abs().max() > 1e-4


def published(saved_prior: Path, vae=None) -> VideoFusionSystem:
    """A system told CLIP's embedding, with a prior that reads a text encoder of its own."""
    torch.manual_seed(0)
    prior, text = load_prior(saved_prior)
    colours = 3 if vae is None else 4
    networks = [unet("image", colours, 16), unet("residual", colours, 16)]
    for network in networks if vae is not None else ():
        network.conv_out = torch.nn.Conv2d(8, 4, 3, padding=1)
        network.register_to_config(out_channels=4)
    config, common = by_part(VideoFusionConfig, {"variant": "published", "share": 0.5, "vae": vae})
    told = FrameEmbedding(load_image_encoder(saved_prior), prior, text, common.space)
    return evaluated(VideoFusionSystem(*networks, [Prompt(words()), Motion(0.5), told], config, common))


def test_the_loss_tells_the_generators_clip_s_embedding_and_trains_the_prior(saved_prior, monkeypatch):
    system = published(saved_prior)
    assert list(system.frozen) == ["image_encoder", "prior_text_encoder"]
    assert list(system.modules) == ["base", "residual", "text_encoder", "prior"]
    told = []
    monkeypatch.setattr(type(system.base), "forward", heard(type(system.base).forward, told))
    losses = system.loss(batch(), keys(), 1)
    losses.total.backward()
    with torch.no_grad():
        wanted = normalised(load_image_encoder(saved_prior)(batch().clip[:, MIDDLE]))
    assert len(told) == 2
    for each in told:  # blurred by a tenth
        assert (each - wanted).std() == pytest.approx(0.1, rel=0.3)
    assert float(losses.parts["prior"]) > 0
    assert any(parameter.grad is not None for parameter in system.embedding.prior.parameters())
    assert not any(parameter.grad is not None for part in system.frozen.values() for parameter in part.parameters())


def heard(forward, told):
    def note(self, *args, image_embedding=None, **rest):
        told.append(image_embedding.detach())
        return forward(self, *args, image_embedding=image_embedding, **rest)

    return note


def test_a_prior_that_no_rate_trains_is_frozen_and_costs_no_loss(saved_prior):
    system = published(saved_prior)
    system.embedding.prior.requires_grad_(False)
    assert "prior" in system.frozen
    assert "prior" not in system.modules
    assert "prior" not in system.loss(batch(), keys(), 1).parts
    own = videofusion("published")
    own.embedding.prior.requires_grad_(False)
    assert "prior" in own.modules  # nothing else has its weights


@torch.no_grad()
def test_a_known_middle_frame_is_embedded_as_it_is_and_latents_are_decoded_first(saved_prior, saved_vae, monkeypatch):
    from videofusion.interop.autoencoders import load_autoencoder

    system = published(saved_prior, load_autoencoder(saved_vae))
    pipe = system.pipeline()
    told = []
    monkeypatch.setattr(type(pipe.base), "forward", heard(type(pipe.base).forward, told))
    frame = torch.rand(1, 4, SIZE // 2, SIZE // 2, generator=torch.Generator().manual_seed(0))
    pipe("a red three", steps=1, guidance=1.0, known=Known(frame, [MIDDLE], latent=True))
    encoder = load_image_encoder(saved_prior)
    torch.testing.assert_close(told[0], normalised(encoder(system.space.decode(frame))))
    told.clear()
    pipe("a red three", steps=1, guidance=1.0, seed=3)
    wanted = prior_conditions(text_conditions(words(), [""]), system.embedding.text, ["a red three"])
    made = sample_prior(system.embedding.prior, wanted, Keys.of([3]), 1.0)
    torch.testing.assert_close(told[0], normalised(made))


def test_parts_that_do_not_fit_are_refused(saved_prior):
    (prior, text), clip = load_prior(saved_prior), load_image_encoder(saved_prior)
    for encoder, own, its_text, said in (
        (FrameEncoder(size=24), small(), None, "size 16; they must have those .* 24"),
        (clip, prior, None, "prior_text is not given; .* its own"),
        (FrameEncoder(size=16), small(), text, "prior_text is given; this prior reads the generators'"),
    ):
        with pytest.raises(InputError, match=said):
            FrameEmbedding(encoder, own, its_text, Pixels())
    networks = unet("image", 3, 16), unet("residual", 3, 16)
    config, common = by_part(VideoFusionConfig, {"variant": "published"})
    with pytest.raises(InputError, match=r"image_encoder or prior is not given; .* the less the longer the clip"):
        VideoFusionSystem(*networks, [Prompt(words()), Motion(0.5)], config, common)
