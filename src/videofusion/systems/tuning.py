"""Which parameters a run trains, and at which rates: all, temporal layers, adapters, or those that patterns name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from videofusion.errors import InputError
from videofusion.networks.frame_network import FrameNetwork
from videofusion.networks.lora import add_lora, attention_layers, is_adapter
from videofusion.recipes.recipe import Recipe
from videofusion.systems.interface import System


def tune(system: System, recipe: Recipe, started: Collection[str]) -> None:
    """Freeze what the recipe does not train, and add adapters where it trains those.

    `trains` restricts what starts from weights only: what is drawn, such as a residual generator beside a pretrained
    base, would stay noise.

    Args:
        system: changed in place; what it has frozen itself stays so.
        recipe: its keys `trains`, `lora_rank` and `rates` say what is trained.
        started: parameters, "part.name", that start from weights.

    Raises:
        InputError: nothing to start from, nothing left to train, a pattern that names nothing, PEFT is missing.
    """
    if recipe.start.trains != "full" and recipe.start.model is None and recipe.start.image_model is None:
        raise InputError(
            f"recipe key start.trains is {recipe.start.trains!r}, but neither start.model nor start.image_model names "
            "a model to tune"
        )
    for part, module in system.modules.items():
        unet = module if isinstance(module, FrameNetwork) else None
        parameters = dict(module.named_parameters())
        trained = {parameter for parameter in parameters.values() if parameter.requires_grad}
        loaded = {parameters[name] for name in parameters if f"{part}.{name}" in started}
        if recipe.start.trains == "lora":
            attention = [] if unet is None else attention_layers(unet)
            layers = [name for name in attention if parameters[f"{name}.weight"] in trained & loaded]
            if unet is not None and trained & loaded and (layers or not attention):
                add_lora(unet, recipe.start.lora_rank, layers)
            trained -= loaded
            trained |= {parameter for name, parameter in module.named_parameters() if is_adapter(name)}
        elif recipe.start.trains == "temporal":
            spatial = set(module.state_dict()) if unet is None else set(unet.spatial_state())
            trained -= loaded & {parameters[name] for name in spatial & parameters.keys()}
        for parameter in module.parameters():
            parameter.requires_grad_(parameter in trained)
    names = _trained(system)
    if not names:
        raise InputError(
            f"recipe key start.trains is {recipe.start.trains!r}, but the system has no such layers to train"
        )
    rates = _rates(recipe.optimizer.rates)
    for pattern, _ in rates:
        if not any(fnmatchcase(name, pattern) for name in names.values()):
            raise InputError(
                f"recipe key optimizer.rates has the pattern {pattern!r}, which names nothing that is trained; "
                f"there is {', '.join(list(names.values())[:: max(1, len(names) // 3)][:3])}, ..."
            )
    for parameter, name in names.items():
        parameter.requires_grad_(_rate(rates, name) != 0)
    if not _trained(system):
        raise InputError(
            f"recipe key optimizer.rates is {', '.join(recipe.optimizer.rates)}, which leaves nothing to train"
        )


def trained_groups(system: System, recipe: Recipe) -> list[dict[str, Any]]:
    """Groups of parameters with their peak learning rates, as an optimiser takes them.

    Args:
        system: after `tune`.
        recipe: has the rates.
    """
    groups = system.parameter_groups(recipe.optimizer.learning_rate)
    if not is_tuned(recipe):
        return groups
    names, rates = _trained(system), _rates(recipe.optimizer.rates)
    split: list[dict[str, Any]] = []
    for group in groups:
        own: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            if parameter.requires_grad:
                rate = _rate(rates, names[parameter])
                own.setdefault(group["lr"] if rate is None else rate, []).append(parameter)
        split += [{**group, "params": parameters, "lr": rate} for rate, parameters in own.items()]
    return split


def is_tuned(recipe: Recipe) -> bool:
    """Whether the recipe trains some of the system only, or at rates of its own."""
    return recipe.start.trains != "full" or bool(recipe.optimizer.rates)


def _trained(system: System) -> dict[nn.Parameter, str]:
    return {
        parameter: f"{part}.{name}"
        for part, module in system.modules.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def _rates(items: Sequence[str]) -> list[tuple[str, float]]:
    """Patterns and rates of `optimizer.rates`."""
    pairs = []
    for item in items:
        pattern, _, text = item.rpartition("=")
        try:
            rate = float(text)
        except ValueError:
            rate = -1.0
        if not pattern or not 0 <= rate <= 1:
            raise InputError(
                f"recipe key optimizer.rates has {item!r}, but must have items PATTERN=RATE with a rate in [0, 1], as "
                "in *temporals*=1e-4"
            )
        pairs.append((pattern, rate))
    return pairs


def _rate(rates: Sequence[tuple[str, float]], name: str) -> float | None:
    """The rate of the first pattern that a name matches, or None."""
    return next((rate for pattern, rate in rates if fnmatchcase(name, pattern)), None)
