"""The figures of a small house that is known, and of this one."""

from pathlib import Path

import pytest

from tools.figures import circles, constructors, dataclasses, functions, imports, modules, of_one_name, report, upward

ROOT = Path(__file__).parents[2]


@pytest.fixture
def house(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    for room in ("", "video/", "cli/", "data/"):
        write(f"src/videofusion/{room}__init__.py", "")
    write("src/videofusion/errors.py", "class InputError(ValueError):\n    pass\n")
    write("src/videofusion/video/decode.py", "def first():\n    from videofusion.data import loader\n\n")
    write("src/videofusion/video/loader.py", "import videofusion.errors\n")
    write("src/videofusion/data/loader.py", "from videofusion.data.items import Item\n")
    write(
        "src/videofusion/data/items.py",
        "from dataclasses import dataclass\n\nfrom videofusion.data import loader\n\n\n@dataclass(frozen=True)\n"
        "class Item:\n    name: str\n    count: int = 1\n\n\nclass Other:\n    def __init__(self, a, *, b): ...\n",
    )
    write("src/videofusion/cli/items.py", "from videofusion.data.items import Item\n")
    write("studies/plans.py", "from videofusion.cli import items\n")
    write("tools/__init__.py", "")
    write("tests/test_a.py", "def test_one():\n    pass\n\n\ndef helper():\n    pass\n")
    return tmp_path


def test_a_known_house(house):
    known = modules(house)
    graph = {name: imports(module, known) for name, module in known.items()}
    assert graph["videofusion.video.decode"] == {"videofusion.data.loader"}  # within a function, too
    assert graph["videofusion.video.loader"] == {"videofusion.errors"}
    assert circles(graph) == [["videofusion.data.items", "videofusion.data.loader"]]
    assert upward(graph, known) == [("videofusion.video.decode", "videofusion.data.loader")]
    assert of_one_name(known) == ["loader.py"]  # a command may be called as what it calls
    assert max(functions(known)) == (2, "videofusion.video.decode.first")
    assert max(dataclasses(known)) == (2, "videofusion.data.items.Item")
    assert max(constructors(known)) == (2, "videofusion.data.items.Other")
    said = report(house)
    assert "upwards: videofusion.video.decode imports videofusion.data.loader" in said
    assert said.splitlines()[8].split() == ["tests", "1"]


def test_a_room_without_a_floor_is_told(house):
    (house / "src/videofusion/attic.py").write_text("")
    (house / "src/videofusion/errors.py").write_text("import videofusion.attic\n")
    known = modules(house)
    graph = {name: imports(module, known) for name, module in known.items()}
    assert ("videofusion.errors", "videofusion.attic") in upward(graph, known)


def test_this_house_has_neither_circles_nor_stairs_back_up():
    known = modules(ROOT)
    graph = {name: imports(module, known) for name, module in known.items()}
    assert circles(graph) == []
    assert upward(graph, known) == []
