"""What training changes: weights, optimiser, moving average, counters; to a checkpoint and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from videofusion.data.batch import Batch
from videofusion.diffusion.noise import Keys
from videofusion.errors import InputError
from videofusion.networks.frame_network import FrameNetwork
from videofusion.recipes.recipe import Recipe
from videofusion.systems.interface import System
from videofusion.systems.tuning import is_tuned, trained_groups
from videofusion.training.checkpoints import Checkpoint, check_shapes, read_into
from videofusion.training.ema import Ema
from videofusion.training.optimizers import make_optimizer, moment, moments
from videofusion.training.sharding import shard, whole
from videofusion.training.world import World


class Batches(Protocol):
    """Batch number n of a run, a function of n alone; `starting` goes through them in order.

    `report` names the clips that could not be used, with the reason; `waited` and `busy` are the seconds
    that were waited for batches up to now, and the CPU seconds that reading them took.
    """

    @property
    def report(self) -> dict[str, str]: ...

    @property
    def waited(self) -> float: ...

    @property
    def busy(self) -> float: ...

    def starting(self, number: int) -> Iterator[Batch]: ...


def training_keys(seed: int, ids: Sequence[int]) -> Keys:
    """Noise keys of samples in the run `seed`: far apart for neighbouring seeds and samples alike."""
    digests = (hashlib.blake2b(f"{seed}/{sample}".encode(), digest_size=8).digest() for sample in ids)
    return Keys.of([int.from_bytes(digest, "little") >> 1 for digest in digests])


class State:
    """A system in training, with its optimiser and its average.

    Args:
        recipe: rates, decays, precision.
        system: what is trained; its modules are moved to `device`.
        device: where to compute.
        world: the processes that share the run; each holds all of it, unless the recipe says `shard`.
    """

    def __init__(self, recipe: Recipe, system: System, device: torch.device, world: World | None = None) -> None:
        self.recipe, self.device = recipe, device
        self._modules, self._frozen = list(system.modules.values()), system.frozen
        self.prints = {name: weights_digest(part) for name, part in self._frozen.items()}
        # a fixed base
        networks: dict[str, nn.Module] = {
            name: part for name, part in self._frozen.items() if isinstance(part, FrameNetwork)
        }
        for name, module in (networks | system.modules).items():
            if name != recipe.compute.offload:  # else it comes there block by block
                module.to(device)
            if recipe.compute.compile and name != "text_encoder":  # a table of words: nothing to compile
                module.compile(dynamic=False)
        for module in self._modules:
            module.train()
        for name, part in self._frozen.items():
            part.eval()
            if name not in networks:
                part.to(device)
        if recipe.compute.shard:
            shard(networks | system.modules, recipe, world or World(), device)
        self.tensors: dict[str, Tensor] = {
            f"{name}.{key}": value
            for name, module in system.modules.items()
            for key, value in module.state_dict(keep_vars=True).items()
        }
        parameters = {name: value for name, value in self.tensors.items() if isinstance(value, nn.Parameter)}
        # a run that tunes some of a large model should not hold, and write, the rest once more
        averaged = {name: value for name, value in parameters.items() if value.requires_grad or not is_tuned(recipe)}
        self.ema = Ema(averaged, recipe.optimizer.ema_decay)
        self.optimizer = make_optimizer(recipe, trained_groups(system, recipe), self._modules)
        self._peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.trained: list[nn.Parameter] = [p for group in self.optimizer.param_groups for p in group["params"]]
        names = {value: name for name, value in parameters.items()}
        self._names = {parameter: names[parameter] for parameter in self.trained}
        self.step, self.seconds = 0, 0.0
        self.validation: float | None = None  # the validation loss at this very step
        self.best: float | None = None
        self.best_step: int | None = None

    def set_rate(self, factor: float) -> float:
        """Set every group's learning rate to its peak times `factor`; returns the highest."""
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        return max(self._peaks) * factor

    def advance(self) -> None:
        """Apply the gradients: one step of the optimiser and of the average."""
        self.optimizer.step()
        self.ema.update()
        self.step += 1
        self.validation = None

    def validated(self, loss: float) -> bool:
        """Note the validation loss at this step; True if it is the lowest so far."""
        self.validation = loss
        improved = self.best is None or loss < self.best
        if improved:
            self.best, self.best_step = loss, self.step
        return improved

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block: the average as weights, evaluation mode, no gradients; no trace is left in the training."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad(), self.ema.applied():
            for module in self._modules:
                module.eval()
            try:
                yield
            finally:
                for module in self._modules:
                    module.train()
                if self.recipe.compute.offload != "none" and self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)  # weights are still read from the CPU's memory until then

    def checkpoint(self) -> Checkpoint:
        """All of it, as it is now (tensors are shared, not copied); where the system is cut, this process's part."""
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        return Checkpoint(
            step=self.step,
            seconds=self.seconds,
            weights=self.tensors,
            ema=self.ema.shadow,
            optimizer=moments(self.optimizer, self._names),
            random=random,
            recipe=self.recipe.to_json(),
            ema_updates=self.ema.updates,
            validation=self.validation,
            best=self.best,
            best_step=self.best_step,
            frozen=self.prints,
        )

    @torch.no_grad()
    def restore(self, found: Checkpoint, where: str) -> None:
        """Take over a checkpoint.

        Args:
            found: the checkpoint.
            where: the run folder, for messages.

        Raises:
            InputError: its tensors are not those of this system, or what is never trained is another than it was.
        """
        older = self._kept_by_older(found)
        average = {name: value for name, value in found.ema.items() if name not in older}
        pairs = {"weights": ({**self.tensors, **older}, found.weights), "average": (self.ema.shadow, average)}
        for what, (mine, theirs) in pairs.items():
            check_shapes(f"the {what} of step {found.step} in {where}", mine, theirs)
        index = {name: i for i, name in enumerate(self._names.values())}
        kept: dict[str, Tensor] = {}
        for key, value in found.optimizer.items():
            name = key.split("/", 1)[1]
            if name not in index:
                raise InputError(
                    f"the optimiser of step {found.step} in {where} trains {name}, but this system does not"
                )
            if value.shape == self.tensors[name].shape:  # in its memory format: a fused step reads memory in order
                kept[key] = torch.empty_like(self.tensors[name], dtype=value.dtype)
            else:
                kept[key] = torch.empty(value.shape, dtype=value.dtype)
        for name, own in self.prints.items():
            if found.frozen.get(name, own) != own:
                raise InputError(
                    f"the {name} is another than that of step {found.step} in {where}: what a run never trains "
                    "(start.image_model, network.autoencoder, text.encoder) has to stay as it was when the run began"
                )
        read_into(found, {"weights": {**self.tensors, **older}, "ema": self.ema.shadow, "optimizer": kept})
        self.prints |= {name: weights_digest(self._frozen[name]) for name in {key.split(".")[0] for key in older}}
        states: dict[int, dict[str, Tensor | int]] = {}
        for key, value in kept.items():
            kind, name = key.split("/", 1)
            states.setdefault(index[name], {})[kind] = moment(kind, value, self.recipe)
        self.optimizer.load_state_dict({"state": states, "param_groups": self.optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(found.random["cpu"])
        if self.device.type == "cuda" and "cuda" in found.random:
            torch.cuda.set_rng_state(found.random["cuda"], self.device)
        self.step, self.seconds, self.ema.updates = found.step, found.seconds, found.ema_updates
        self.validation, self.best, self.best_step = found.validation, found.best, found.best_step

    def _kept_by_older(self, found: Checkpoint) -> dict[str, Tensor]:
        """The tensors of a fixed base that the checkpoint of an older version has among its weights."""
        return {
            f"{name}.{key}": value
            for name, part in self._frozen.items()
            for key, value in part.state_dict(keep_vars=True).items()
            if f"{name}.{key}" in found.weights
        }


def weights_digest(part: nn.Module) -> str:
    """A digest of a part's weights; where they are cut, all processes must call."""
    total = hashlib.sha256()
    for name, value in sorted(part.state_dict().items()):
        tensor = whole(value.detach()).cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()[:16]
