"""What README and docs/ promise about themselves: links, pictures, commands and files that exist, and their length."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import shlex
import typing
from pathlib import Path

import pytest

from videofusion.cli import COMMANDS
from videofusion.recipes.catalogue import RECIPES, get_recipe

ROOT = Path(__file__).parents[1]
LAB = ROOT / "docs" / "lab"
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
USER_PAGES = [page for page in PAGES if LAB not in page.parents]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
user_pages = pytest.mark.parametrize("page", USER_PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^(?: {4,}|\t).*$", "", text, flags=re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def targets(page: Path) -> list[str]:
    """What a page's links and pictures point at, without addresses of the web."""
    found = re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", prose(page), flags=re.MULTILINE)
    return [link for pair in found for link in pair if link and not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    titles = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def commands(page: Path) -> list[str]:
    """The commands in a page's code."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    code = "\n".join(re.findall(r"^```.*?^```|^ {4,}[^\n]*$", text, flags=re.DOTALL | re.MULTILINE))
    return re.findall(r"^ *((?:videofusion|python) .+)$", code, flags=re.MULTILINE)


@every_page
def test_links_and_pictures_resolve(page):
    for link in targets(page):
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if fragment and target.suffix == ".md":
            assert fragment in anchors(target), f"{page.name} links to {link}"


@every_page
def test_commands_exist(page):
    for line in commands(page):
        words = line.split()
        if words[0] == "videofusion":
            known = words[1] in COMMANDS or " ".join(words[1:3]) in COMMANDS or words[1].startswith("--")
            assert known or LAB in page.parents, line
        elif words[1] == "-m" and words[2].split(".")[0] in ("tools", "studies"):
            assert (ROOT / (words[2].replace(".", "/") + ".py")).exists(), line
        elif words[1].endswith(".py"):
            assert (ROOT / words[1]).exists(), line


@user_pages
def test_options_exist(page):
    for line in commands(page):
        words = shlex.split(line, comments=True)
        name = next((name for name in (" ".join(words[1:3]), words[1]) if name in COMMANDS), None)
        if words[0] != "videofusion" or name in (None, "train"):
            continue
        module, _, function = COMMANDS[name].place.partition(":")
        known = options(getattr(importlib.import_module(module), function))
        for word in words:
            if word.startswith("--") and word != "--":
                assert word[2:].partition("=")[0].replace("-", "_") in known, f"{word} in {line}"


@every_page
def test_keys_of_recipes_exist(page):
    for line in commands(page):
        words = shlex.split(line, comments=True)
        if words[:2] != ["videofusion", "train"] or words[2] not in RECIPES or "swaying" in words:
            continue
        recipe = get_recipe(words[2])
        if "--system" in words:
            recipe = recipe.replace({"system": words[words.index("--system") + 1]})
        for word in words:
            if word.startswith("--") and "." in word:
                key = word[2:].partition("=")[0].replace("-", "_")
                assert key.replace(".no_", ".") in recipe.dotted(), f"{word} in {line}"


def options(command) -> set[str]:
    """The names of a command's options, those of its groups among them."""
    names = set(inspect.signature(command).parameters) | {"help"}
    for hint in typing.get_type_hints(command).values():
        if dataclasses.is_dataclass(hint):
            names |= {each.name for each in dataclasses.fields(hint)}
    return names


@user_pages
def test_examples_compile(page):
    text = page.read_text(encoding="utf-8")
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)):
        compile(code, f"{page.name}, example {number + 1}", "exec")


@user_pages
def test_papers_are_cited_by_name(page):
    assert not re.search(r"\bseeds? \d{3}\b", page.read_text(encoding="utf-8"), flags=re.IGNORECASE)


@user_pages
def test_only_the_index_links_to_the_notebooks_pages(page):
    for link in targets(page):
        target = (page.parent / link.partition("#")[0]).resolve()
        assert target.parent != LAB or target.name == "README.md", link


def test_the_index_lists_every_page_of_the_notebook():
    listed = {(LAB / link).resolve() for link in targets(LAB / "README.md")}
    assert {page for page in LAB.glob("*.md") if page.name != "README.md"} <= listed


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A heading\n[there](#a-heading) [nowhere](none.md)\n`[code](no.md)`\n")
    assert targets(page) == ["#a-heading", "none.md"]
    assert anchors(page) == {"a-heading"}
    with pytest.raises(AssertionError, match=r"none\.md"):
        test_links_and_pictures_resolve(page)
