"""Fine-tuning: what is trained moves, the rest keeps its bits, and a run resumes to the same ones."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from small import smallest, state_of
from torch import nn

from videofusion.errors import InputError
from videofusion.models import load
from videofusion.networks.lora import FILE
from videofusion.systems.build import build_system
from videofusion.training.batches import training_data
from videofusion.training.checkpoints import newest
from videofusion.training.state import State
from videofusion.training.trainer import train
from videofusion.training.world import World


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The model of a short run, from which the others start."""
    return train(smallest(**{"budget.steps": 1}), tmp_path_factory.mktemp("first"), device="cpu", bar=False).model


def state(model, **changes) -> State:
    recipe = smallest(**{"start.model": str(model), **changes})
    torch.manual_seed(0)
    return State(recipe, build_system(recipe, training_data(recipe, None, World())[0].dataset), torch.device("cpu"))


def rates(found: State) -> dict[str, float]:
    """Peak rate by the name of what is trained."""
    names = {id(value): name for name, value in found.tensors.items()}
    return {names[id(p)]: group["lr"] for group in found.optimizer.param_groups for p in group["params"]}


def test_temporal_trains_what_an_image_network_has_not(model):
    found = state(model, **{"start.trains": "temporal"})
    trained = rates(found)
    kinds = {next(kind for kind in ("temporals", "frame_embedding", "share_embedding") if kind in n) for n in trained}
    assert kinds == {"temporals", "frame_embedding", "share_embedding"}
    assert all(name.startswith("residual.") for name in trained)
    assert set(found.ema.shadow) == set(trained)
    for name, value in found.tensors.items():
        if isinstance(value, nn.Parameter):
            assert value.requires_grad == (name in trained)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The run of an image model, from which a base generator starts."""
    folder = tmp_path_factory.mktemp("image")
    train(smallest("base-digits", **{"sampling.prompts": ["a"], "budget.steps": 1}), folder, device="cpu", bar=False)
    return folder


def beside(image, **changes) -> State:
    return state(None, **{"start.model": None, "start.image_model": str(image), **changes})


@pytest.mark.parametrize("trains", ["temporal", "lora"])
def test_what_did_not_start_from_weights_is_trained_whole(trains, image):
    """A residual generator beside a pretrained base is drawn: what is frozen of it would stay noise."""
    if trains == "lora":
        pytest.importorskip("peft")
    found = beside(image, **{"start.trains": trains})
    trained = set(rates(found))
    own = {name for name, value in found.tensors.items() if isinstance(value, nn.Parameter)}
    assert {name for name in own if name.startswith("residual.")} <= trained
    base = {name for name in trained if name.startswith("base.")}
    assert all(".lora_" in name for name in base)
    assert bool(base) == (trains == "lora")


def test_where_the_residual_generator_starts_from_the_base_its_wider_input_does_not(image):
    """It begins with no weight for the middle frame, and frozen so would never see it."""
    trained = set(
        rates(
            beside(
                image,
                **{"start.trains": "temporal", "system.residual_from_base": True, "system.variant": "image-first"},
            )
        )
    )
    spatial = {name for name in trained if not any(kind in name for kind in ("temporals", "_embedding"))}
    assert spatial == {"residual.conv_in.weight"}


def test_of_an_image_model_the_drawn_temporal_layers_are_trained_beside_adapters(image):
    pytest.importorskip("peft")
    found = beside(image, **{"start.trains": "lora", "network.temporal": "factorised"}, system="vdm")
    trained = rates(found)
    assert {"temporals" in name or "_embedding." in name or ".lora_" in name for name in trained} == {True}
    assert {
        name for name, value in found.tensors.items() if "temporals" in name and isinstance(value, nn.Parameter)
    } <= (set(trained))
    assert not any("temporals" in name and ".lora_" in name for name in trained)


def test_new_words_are_learned_beside_known_ones(image, tmp_path):
    """Their embeddings are drawn."""
    model = tmp_path / "model"
    shutil.copytree(image / "model", model)
    config = model / "text_encoder" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "words": ["other", *values["words"][1:]]}))
    found = set(rates(beside(model, **{"start.trains": "temporal"})))
    assert {name for name in found if name.startswith("text_encoder.")} == {"text_encoder.tokens.weight"}


def test_patterns_have_their_rates_the_first_that_matches(model):
    found = rates(
        state(
            model,
            **{
                "optimizer.learning_rate": 1e-3,
                "optimizer.rates": ("*temporals*=1e-4", "residual.*=3e-5", "text_encoder.*=0"),
            },
        )
    )
    assert not any(name.startswith("text_encoder.") for name in found)
    for name, rate in found.items():
        here = 1e-4 if "temporals" in name else 3e-5 if name.startswith("residual.") else 1e-3
        assert rate == pytest.approx(here), name
    assert {name.split(".")[0] for name in found} == {"base", "residual"}


def test_without_keys_of_tuning_all_is_as_it_was(model):
    groups = state(model).optimizer.param_groups
    assert len(groups) == 2  # the base's and the others'


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"start.trains": "lora", "start.model": None},
            "trains is 'lora', but neither start.model nor start.image_model",
        ),
        ({"start.trains": "temporal", "start.model": None}, "trains is 'temporal', but neither"),
        ({"start.trains": "some"}, "trains is 'some', but must be one of full, temporal, lora"),
        ({"start.lora_rank": 0}, "lora_rank is 0"),
        ({"optimizer.rates": ["conv_in=1"]}, "pattern 'conv_in', which names nothing that is trained"),
        ({"optimizer.rates": ["*"]}, "rates has '\\*', but must have items PATTERN=RATE"),
        ({"optimizer.rates": ["*=fast"]}, "rates has '\\*=fast'"),
        ({"optimizer.rates": ["*=2"]}, "rates has '\\*=2'"),
        ({"optimizer.rates": ["*=nan"]}, "rates has '\\*=nan'"),
        ({"optimizer.rates": ["*=0"]}, "rates is \\*=0, which leaves nothing to train"),
    ],
)
def test_bad_values_are_one_sentence_and_claim_no_folder(changes, sentence, model, tmp_path):
    with pytest.raises(InputError, match=sentence):
        train(smallest(**{"start.model": str(model), **changes}), tmp_path / "run", device="cpu", bar=False)
    assert not (tmp_path / "run").exists()


def test_image_model_has_no_temporal_layers_to_train(tmp_path):
    image = train(
        smallest("base-digits", **{"sampling.prompts": ["a"], "budget.steps": 1}),
        tmp_path / "image",
        device="cpu",
        bar=False,
    ).model
    recipe = smallest(
        "base-digits", **{"sampling.prompts": ["a"], "start.trains": "temporal", "start.model": str(image)}
    )
    with pytest.raises(InputError, match="no such layers to train"):
        train(recipe, tmp_path / "run", device="cpu", bar=False)


TUNED = {
    "temporal": {"start.trains": "temporal"},
    "rates": {"optimizer.rates": ("*temporals*=1e-3", "residual.*=1e-4", "*=0")},
    "lora": {"start.trains": "lora", "start.lora_rank": 2},
}


@pytest.mark.parametrize("changes", TUNED.values(), ids=TUNED)
def test_resumes_to_the_same_bits_and_moves_only_what_is_trained(changes, model, tmp_path):
    if changes.get("start.trains") == "lora":
        pytest.importorskip("peft")
    recipe = smallest(**{"start.model": str(model)}, **changes)
    for run, steps in (("whole", 4), ("parts", 3), ("parts", 4)):
        train(recipe, tmp_path / run, steps=steps, device="cpu", bar=False)
    whole, parts = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    for name in whole:
        assert torch.equal(whole[name], parts[name]), name
    found = newest(tmp_path / "whole" / "checkpoints", pytest.fail)
    moved = 0
    for part in ("base", "residual", "text_encoder"):
        for name, value in load_file(model / part / "diffusion_pytorch_model.safetensors").items():
            full = f"{part}.{name}"
            layer, _, kind = full.rpartition(".")
            now = found.weights.get(full, found.weights.get(f"{layer}.base_layer.{kind}"))
            moved += full in found.ema and not torch.equal(now, value)
            assert full in found.ema or torch.equal(now, value), full
    assert moved or "lora" in changes.values()


def test_model_of_a_lora_run_is_whole_and_its_file_makes_it_of_the_first(model, tmp_path):
    pytest.importorskip("peft")
    recipe = smallest(**{"start.model": str(model), "start.trains": "lora", "optimizer.learning_rate": 1e-2})
    result = train(recipe, tmp_path, device="cpu", bar=False)
    found = newest(tmp_path / "checkpoints", pytest.fail)
    stored = load_file(result.model / FILE)
    assert stored.keys() == {name.replace(".default.", ".") for name in found.ema}
    for name, value in found.ema.items():  # what samples are made with, as in any model folder
        assert torch.equal(value, stored[name.replace(".default.", ".")]), name
    assert {name.split(".")[0] for name in stored} == {"base", "residual"}
    whole = load(result.model, device="cpu")
    both = load(model, lora=tmp_path, device="cpu")
    none = load(model, lora=result.model / FILE, lora_scale=0.0, device="cpu")
    first = load(model, device="cpu")
    for part in ("base", "residual", "text_encoder"):
        a, b, c, d = (getattr(pipe, part).state_dict() for pipe in (whole, both, none, first))
        for name in a:
            torch.testing.assert_close(a[name], b[name])
            assert torch.equal(c[name], d[name])
    assert not torch.equal(whole("a red three", steps=2), first("a red three", steps=2))


def test_fixed_base_has_no_adapters(model):
    pytest.importorskip("peft")
    found = state(model, **{"start.trains": "lora", "system.base_loss": "fixed"})
    assert {name.split(".")[0] for name in rates(found)} == {"residual"}


def test_lora_of_another_model_is_refused(model, tmp_path, saved_model):
    pytest.importorskip("peft")
    run = train(
        smallest(**{"start.model": str(model), "start.trains": "lora", "budget.steps": 1}),
        tmp_path,
        device="cpu",
        bar=False,
    )
    with pytest.raises(InputError, match="is of another model: this one has no linear layer"):
        load(saved_model, lora=run.model, device="cpu")
