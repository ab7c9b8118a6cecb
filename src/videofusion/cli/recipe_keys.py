"""A recipe's keys as options of a command, group by group: `--system.share 0.3`.

A command asks for them by a parameter `keys: RecipeKeys` beside its positional `recipe` and its option `system`; it is
given the recipe that these name, on the image model that an option `base` names, with the keys that were typed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any

import tyro

from videofusion.errors import InputError, unknown
from videofusion.recipes.catalogue import get_recipe
from videofusion.recipes.flat import FLAT_KEYS
from videofusion.recipes.recipe import Recipe
from videofusion.settings import Settings

RecipeKeys = Annotated[Recipe, tyro.conf.arg(name="")]
_ALONE = ("-h", "--help", "--dry-run", "--no-dry-run")  # options that take no word


def takes_keys(command: Callable[..., Any]) -> bool:
    """Whether a command has a recipe's keys as options."""
    return "keys" in inspect.signature(command).parameters


def with_keys(command: Callable[..., Any], words: Sequence[str]) -> Callable[..., Any]:
    """The command with the keys of the recipe that the words name, their values there being the defaults.

    Args:
        command: that takes them.
        words: behind its name; where they name no recipe, as for help, the command has no keys.

    Raises:
        InputError: an unknown recipe or system; a key that is none, or of another system.
    """
    name, system, base = _recipe_word(words), _value_of("--system", words), _value_of("--base", words)
    parameters = inspect.signature(command).parameters
    if name is None:
        return _with_parameters(command, [each for each in parameters.values() if each.name != "keys"])
    recipe = get_recipe(name)
    if system not in (None, recipe.system.name):
        recipe = recipe.replace({"system": system})
    if base is not None:
        from videofusion.recipes.image_base import on_image_model

        recipe = on_image_model(recipe, base)
    _check_keys(words, recipe, parameters)
    shown = [each.replace(default=recipe) if each.name == "keys" else each for each in parameters.values()]
    return _with_parameters(command, shown)


def _with_parameters(command: Callable[..., Any], parameters: Sequence[inspect.Parameter]) -> Callable[..., Any]:
    @functools.wraps(command)
    def bound(*args: Any, **values: Any) -> Any:
        return command(*args, **values)

    bound.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
    return bound


def _recipe_word(words: Sequence[str]) -> str | None:
    """The first word that is no option and no option's value."""
    left = iter(words)
    for word in left:
        if not word.startswith("-"):
            return word
        option, given, _ = word.partition("=")
        if "." in option:  # which may take any number of words
            raise InputError(f"{option} stands before the recipe; the recipe comes first: RECIPE {option} ...")
        if not given and option not in _ALONE:
            next(left, None)
    return None


def _value_of(option: str, words: Sequence[str]) -> str | None:
    for word, after in zip(words, [*words[1:], None], strict=False):
        if word == option:
            return after
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def _check_keys(words: Sequence[str], recipe: Recipe, parameters: Collection[str]) -> None:
    """Raise InputError for an option that is no key of the recipe, or was one in older versions."""
    known = recipe.dotted()
    for word, after in zip(words, [*words[1:], ""], strict=False):
        if not word.startswith("--"):
            continue
        key, _, value = word[2:].partition("=")
        key, old = key.replace("-", "_"), key == "set"
        if old:
            key, _, value = (value or after).partition("=")
        if old or (key in FLAT_KEYS and key not in parameters):
            new = FLAT_KEYS.get(key, key).replace("_", "-")
            raise InputError(f"{word.partition('=')[0]} is of an older version; give --{new} {value}".rstrip())
        group, dot, rest = key.partition(".")
        if not dot or key in known or isinstance(known.get(f"{group}.{rest.removeprefix('no_')}"), bool):
            continue
        settings = getattr(recipe, group, None)
        raise settings.unknown_key(rest) if isinstance(settings, Settings) else unknown("recipe key", key, known)
