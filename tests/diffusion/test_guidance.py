"""Classifier-free guidance: off at 1, linear, consistent in x0 and eps, rescaled, thresholded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from videofusion.diffusion import ClassifierFree, Conditions, NetworkDenoiser, Prediction, Term, make_schedule, times
from videofusion.diffusion.guidance import dynamic_threshold, scale_of
from videofusion.diffusion.samplers import ddim
from videofusion.errors import InputError

SHAPE = (2, 3, 1, 4, 4)
T = torch.tensor([0.4, 0.7])
CONDITIONS = Conditions(labels=torch.tensor([1, 2]), null={"labels": torch.tensor([0])})


class Labelled(torch.nn.Module):
    """Predicts v from z and the label; counts how often."""

    calls = 0

    def forward(self, z: Tensor, time: Tensor, *, temporal: float, labels: Tensor) -> Tensor:
        self.calls += 1
        between = temporal * (z.mean(1, keepdim=True) - z)  # what a temporal layer would add
        return torch.sin(3 * z) * (1 + labels.reshape(-1, 1, 1, 1, 1)) + 0.1 * labels.reshape(-1, 1, 1, 1, 1) + between


def denoiser() -> NetworkDenoiser:
    return NetworkDenoiser(Labelled(), make_schedule("cosine"))


def noisy() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def agrees_with_z(prediction: Prediction) -> None:
    torch.testing.assert_close(prediction.alpha * prediction.x0 + prediction.sigma * prediction.eps, prediction.z)


def test_scale_one_is_off_and_asks_once() -> None:
    plain, z = denoiser(), noisy()
    guided = ClassifierFree(plain, 1.0, names=("labels",))(z, T, CONDITIONS)
    assert plain.network.calls == 1
    assert torch.equal(guided.x0, plain(z, T, CONDITIONS).x0)


def test_scale_zero_is_without_the_condition() -> None:
    plain, z = denoiser(), noisy()
    guided = ClassifierFree(plain, 0.0, names=("labels",))(z, T, CONDITIONS)
    torch.testing.assert_close(guided.eps, plain(z, T, CONDITIONS.without("labels")).eps)


@pytest.mark.parametrize("reading", ["x0", "eps", "v", "flow"])
def test_guidance_is_linear_and_the_same_however_it_is_read(reading: str) -> None:
    plain, z = denoiser(), noisy()
    given, free = (getattr(plain(z, T, c), reading) for c in (CONDITIONS, CONDITIONS.without("labels")))
    for scale in (0.5, 2.0, 7.5):
        guided = ClassifierFree(plain, scale, names=("labels",))(z, T, CONDITIONS)
        torch.testing.assert_close(getattr(guided, reading), free + scale * (given - free), rtol=1e-4, atol=1e-4)
        agrees_with_z(guided)


@pytest.mark.parametrize(
    ("interval", "inside", "outside"), [((0.0, 0.5), 0, 1), ((0.5, 1.0), 1, 0), ((0.4, 0.4), 0, 1)]
)
def test_guidance_in_an_interval_leaves_other_times_alone_and_saves_their_second_call(
    interval, inside, outside
) -> None:
    plain, z = denoiser(), noisy()
    part = ClassifierFree(plain, 3.0, names=("labels",), interval=interval)
    found, all_through = part(z, T, CONDITIONS), ClassifierFree(plain, 3.0, ("labels",))(z, T, CONDITIONS)
    assert plain.network.calls == 4
    torch.testing.assert_close(found.x0[inside], all_through.x0[inside])
    assert torch.equal(found.x0[outside], plain(z, T, CONDITIONS).x0[outside])
    assert torch.equal(found.eps[outside], plain(z, T, CONDITIONS).eps[outside])
    plain.network.calls = 0
    part(z, T[outside].expand(2), CONDITIONS)
    assert plain.network.calls == 1


@pytest.mark.parametrize("skip", [0.0, 0.3, 1.0])
def test_guidance_is_away_from_what_has_less_of_its_temporal_layers(skip: float) -> None:
    plain, z = denoiser(), noisy()
    given, free = (plain(z, T, c) for c in (CONDITIONS, replace(CONDITIONS.without("labels"), temporal=1 - skip)))
    guided = ClassifierFree(plain, 3.0, ("labels",), skip=skip)(z, T, CONDITIONS)
    torch.testing.assert_close(guided.x0, free.x0 + 3 * (given.x0 - free.x0))
    alone = ClassifierFree(plain, 3.0, (), skip=skip)(z, T, CONDITIONS)  # of the frames' agreement, not of the label
    assert torch.allclose(alone.x0, given.x0, atol=1e-5) == (skip == 0)
    agrees_with_z(guided)


def test_full_rescaling_gives_back_the_contrast() -> None:
    plain, z = denoiser(), noisy()
    spread = {
        rescale: ClassifierFree(plain, 6.0, ("labels",), rescale)(z, T, CONDITIONS).x0.flatten(1).std(1)
        for rescale in (0.0, 0.5, 1.0)
    }
    wanted = plain(z, T, CONDITIONS).x0.flatten(1).std(1)
    assert (spread[0.0] > 1.2 * wanted).all()
    torch.testing.assert_close(spread[1.0], wanted)
    torch.testing.assert_close(spread[0.5], (spread[0.0] + wanted) / 2)
    agrees_with_z(ClassifierFree(plain, 6.0, ("labels",), 0.7)(z, T, CONDITIONS))


def test_dynamic_threshold_divides_by_the_quantile_of_each_clip() -> None:
    clip = torch.linspace(-4, 4, 1001).reshape(1, 7, 1, 11, 13)
    clips = torch.cat([clip, clip / 8])
    limited = dynamic_threshold(clips, 0.75)
    torch.testing.assert_close(limited[0], (clip[0] / 3).clamp(-1, 1), rtol=0, atol=0.01)
    assert torch.equal(limited[1], clips[1])  # within [-1, 1] already
    torch.testing.assert_close(dynamic_threshold(clips, 1.0)[0], clip[0] / 4)


def test_a_threshold_keeps_clips_in_range_and_noise_in_agreement() -> None:
    z = 3 * noisy()
    for scale in (1.0, 5.0):
        prediction = ClassifierFree(denoiser(), scale, ("labels",), threshold=0.9)(z, T, CONDITIONS)
        assert prediction.x0.abs().max() <= 1
        agrees_with_z(prediction)


def test_guidance_is_a_denoiser_to_samplers_and_to_guidance() -> None:
    schedule = make_schedule("cosine")
    inner = ClassifierFree(denoiser(), 2.0, ("labels",))
    clips = [
        ddim(guided, noisy(), times(schedule, 4), schedule=schedule, conditions=CONDITIONS)
        for guided in (inner, ClassifierFree(inner, 1.0, ("labels",)))
    ]
    assert torch.equal(*clips)


def test_a_gradient_passes() -> None:
    z = noisy().requires_grad_()
    ClassifierFree(denoiser(), 3.0, ("labels",), 0.5, 0.95)(z, T, CONDITIONS).x0.square().sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": -1.0}, "guidance scale is -1.0"),
        ({"scale": float("nan")}, "guidance scale is nan"),
        ({"scale": 2.0, "rescale": 2.0}, "rescale is 2.0"),
        ({"scale": 2.0, "threshold": 0.0}, "threshold is 0.0"),
        ({"scale": 2.0, "interval": (0.0, 1.5)}, r"guidance interval is \[0.0, 1.5\]"),
        ({"scale": 2.0, "interval": (0.6, 0.5)}, r"guidance interval is \[0.6, 0.5\]"),
        ({"scale": 2.0, "interval": (0.5,)}, r"guidance interval is \[0.5\]"),
        ({"scale": 2.0, "skip": -0.1}, "guidance skip is -0.1"),
    ],
)
def test_bad_input_is_a_sentence(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ClassifierFree(denoiser(), **options)


class Twice(torch.nn.Module):
    """Predicts v from z, a label and a rate that do not add up; counts how often."""

    calls = 0

    def forward(self, z: Tensor, time: Tensor, *, temporal: float, labels: Tensor, fps: Tensor) -> Tensor:
        self.calls += 1
        label, rate = (each.reshape(-1, 1, 1, 1, 1) for each in (labels, fps))
        return torch.sin(z) * (1 + label) + (0.1 * rate - label * rate) * z


TWO = replace(CONDITIONS, fps=torch.tensor([8.0, 4.0]), null={"labels": torch.tensor([0]), "fps": torch.tensor([0.0])})


@pytest.mark.parametrize(
    ("scales", "calls"), [((2.0, 5.0), 3), ((2.0, 1.0), 2), ((3.0, 3.0), 2), ((1.0, 4.0), 3), ((1.0, 1.0), 1)]
)
def test_terms_add_up_and_calls_that_do_not_count_are_saved(scales: tuple[float, float], calls: int) -> None:
    plain, z = NetworkDenoiser(Twice(), make_schedule("cosine")), noisy()
    terms = [Term(("labels",), scales[0]), Term(("fps",), scales[1])]
    found = ClassifierFree(plain, terms)(z, T, TWO)
    assert plain.network.calls == calls
    told, less, least = (plain(z, T, TWO.without(*names)) for names in ((), ("labels",), ("labels", "fps")))
    for reading in ("x0", "eps"):
        a, b, c = (getattr(each, reading) for each in (told, less, least))
        wanted = c + scales[0] * (a - b) + scales[1] * (b - c)
        torch.testing.assert_close(getattr(found, reading), wanted, rtol=1e-4, atol=1e-4)
    agrees_with_z(found)


def test_a_scale_for_each_frame_guides_each_as_it_alone_would() -> None:
    plain, z, scales = denoiser(), noisy(), torch.tensor([1.0, 3.0, 7.0])
    found = ClassifierFree(plain, scales, ("labels",))(z, T, CONDITIONS)
    for frame, scale in enumerate(scales.tolist()):
        alone = ClassifierFree(plain, scale, ("labels",))(z, T, CONDITIONS)
        torch.testing.assert_close(found.x0[:, frame], alone.x0[:, frame])
    each = ClassifierFree(plain, torch.stack([scales, scales.flip(0)]), ("labels",))(z, T, CONDITIONS)
    assert torch.equal(each.x0[0], found.x0[0])
    assert torch.equal(each.x0[1, 2], plain(z, T, CONDITIONS).x0[1, 2])


def test_guidance_without_a_term_is_refused() -> None:
    with pytest.raises(InputError, match="guidance has no term"):
        ClassifierFree(denoiser(), [])


def test_the_last_call_that_is_made_skips_temporal_layers():
    seen = []

    def denoiser(z, t, conditions):
        seen.append(conditions.temporal)
        return Prediction.of("x0", torch.zeros_like(z), z, torch.ones(1, 1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1))

    null = torch.zeros(1, 1, 1)
    conditions = Conditions(text=null, image_embedding=null[0], null={"text": null, "image_embedding": null[0]})
    terms = [Term(("text",), 4.0), Term(("image_embedding",), 1.0)]
    ClassifierFree(denoiser, terms, skip=0.25)(torch.ones(1, 2, 3, 4, 4), torch.tensor([0.5]), conditions)
    assert seen == [1.0, 0.75]


def test_a_prior_is_guided_as_what_it_makes_is():
    terms = [Term(("beside",), 1.5), Term(("image_embedding",), 4.0), Term(("text",), 2.0)]
    assert scale_of(terms, "image_embedding", "text") == 4.0
    assert scale_of([terms[0], terms[2]], "image_embedding", "text") == 2.0
    assert scale_of(terms[:1], "image_embedding", "text") == 1.0
