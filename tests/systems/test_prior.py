"""The prior of the published variant: what it learns, and what its samples depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import CAPTIONS, MIDDLE, batch, gradients, keys, shake, videofusion, words

from videofusion.conditioning.image import FrameEncoder
from videofusion.conditioning.prior_diffusion import EMBEDDING_NOISE, augmented, prior_errors, sample_prior
from videofusion.conditioning.prompt import text_conditions
from videofusion.diffusion import Keys
from videofusion.networks.layers import normalised
from videofusion.networks.prior import Prior
from videofusion.systems.interface import StepOptions


@pytest.fixture
def conditions():
    torch.manual_seed(1)
    with torch.no_grad():
        return text_conditions(words().eval(), CAPTIONS[:2])


def prior(width: int = 16, depth: int = 1) -> Prior:
    torch.manual_seed(2)
    made = Prior(size=16, text_size=16, width=width, depth=depth)
    shake(made)
    return made


def test_it_learns_which_embedding_goes_with_which_text(conditions):
    network = prior(width=32)
    wanted = normalised(torch.sin(torch.arange(32.0).square()).reshape(2, 16))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for step in range(120):
        index = torch.arange(32) % 2
        seeds = Keys.of(range(32))
        t = StepOptions().times(seeds, step)
        loss = prior_errors(network, wanted[index], t, conditions.select(index), seeds, step).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        made = sample_prior(network, conditions, Keys.of([7, 8]), 1.0)
    alike = made @ wanted.T / 16  # correlations
    assert abs(float(wanted[0] @ wanted[1])) / 16 < 0.5
    assert alike.diagonal().min() > 0.8


@torch.no_grad()
def test_a_sample_depends_on_its_content_seed_and_text_only(conditions):
    network = prior()
    both = sample_prior(network, conditions, Keys.of([7, 8]), 2.0)
    alone = sample_prior(network, conditions.select([1]), Keys.of([8], motion=[99]), 2.0)
    torch.testing.assert_close(alone[0], both[1], atol=1e-5, rtol=1e-5)
    other_seed = sample_prior(network, conditions, Keys.of([9, 8]), 2.0)
    assert (other_seed[0] - both[0]).abs().max() > 0.01
    other_text = sample_prior(network, conditions.select([1, 0]), Keys.of([7, 8]), 2.0)
    assert (other_text - both).abs().amax(dim=1).min() > 1e-3


@torch.no_grad()
def test_guidance_0_is_the_null_text(conditions):
    network = prior()
    free = sample_prior(network, conditions, Keys.of([7, 8]), 0.0)
    null = sample_prior(network, conditions.without("text"), Keys.of([7, 8]), 1.0)
    torch.testing.assert_close(free, null)


def test_its_loss_does_not_reach_the_image_encoder():
    system = videofusion("published")
    frame = batch().clip[:, 0]
    embedding = system.embedding.image_encoder(frame)
    conditions = text_conditions(system.text_encoder, CAPTIONS)
    prior_errors(system.embedding.prior, embedding, torch.full((4,), 0.5), conditions, keys(), 1).sum().backward()
    assert not gradients(system.embedding.image_encoder).any()
    assert gradients(system.embedding.prior).any()
    assert gradients(system.text_encoder).any()


@pytest.mark.parametrize("part", ["image_encoder", "prior", "text_encoder", "base", "residual"])
def test_a_training_step_reaches_every_part(part):
    system = videofusion("published")
    system.loss(batch(), keys(), 1).total.backward()
    assert gradients(system.modules[part]).any()


def test_augmentation_is_as_strong_as_it_says():
    embedding = torch.zeros(50, 64)
    noise = augmented(embedding, Keys.of(range(50)), 3)
    assert float(noise.std()) == pytest.approx(EMBEDDING_NOISE, rel=0.05)


@pytest.mark.parametrize("size", [8, 32, 48])
def test_embeddings_have_unit_variance_and_tell_places_apart(size):
    torch.manual_seed(0)
    encoder = FrameEncoder(size=32, channels=(8, 8))
    frame = torch.full((2, 3, size, size), -1.0)
    frame[0, :, : size // 2, : size // 2] = 1  # the same square in two corners
    frame[1, :, size // 2 :, size // 2 :] = 1
    with torch.no_grad():
        embedding = encoder(frame)
    assert embedding.shape == (2, 32)
    torch.testing.assert_close(embedding.mean(dim=1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(embedding.var(dim=1, unbiased=False), torch.ones(2), atol=1e-3, rtol=0)
    assert (embedding[0] - embedding[1]).abs().max() > 0.1


@pytest.mark.slow
def test_published_learns_to_read_the_embedding_and_to_make_it():
    system = videofusion("published", train_frames=1, prediction="x0", weighting="x0", caption_dropout=1.0)
    clips = batch()
    optimizer = torch.optim.Adam(system.parameter_groups(3e-3))
    for step in range(1, 350):
        if step % 8:  # every eighth step looks at all frames
            system.loss(clips, Keys.of([1000 * clip + step for clip in range(4)]), step).total.backward()
            optimizer.step()
            optimizer.zero_grad()
    frames = clips.clip[:, MIDDLE]
    noise = torch.randn(4, 1, *frames.shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedding = system.embedding.image_encoder(frames)
        conditions = replace(text_conditions(system.text_encoder, [""] * 4), share=torch.ones(4, 1))
        errors = []
        for told in (embedding, embedding.flip(0)):  # at nearly no signal the embedding alone can tell
            told_so = replace(conditions, image_embedding=told)
            made = system.denoiser(noise, torch.full((4,), 0.97), told_so).x0[:, 0]
            errors.append(float((made - frames).square().mean()))
        assert errors[0] < 0.05 < 0.3 < errors[1]
        samples = system.pipeline()(["a"] * 16, steps=4, guidance=0.0)[:, MIDDLE]
    distance = torch.cdist(samples.flatten(1), frames.flatten(1)).square() / frames[0].numel()
    assert distance.amin(dim=1).median() < 0.1  # each is near a clip,
    assert len(set(distance.argmin(dim=1).tolist())) >= 3  # and not all near the same
