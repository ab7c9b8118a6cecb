import math

import pytest

from videofusion.errors import InputError, RunError, require, unknown


def test_kinds():
    assert issubclass(InputError, ValueError)
    assert issubclass(RunError, RuntimeError)


def test_require_imports_or_names_the_extra():
    assert require("math", "train") is math
    with pytest.raises(InputError, match=r"no_such_package.*videofusion\[train\]"):
        require("no_such_package.part", "train")


def test_require_does_not_hide_what_a_module_itself_misses(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import missing_part_of_it")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="missing_part_of_it"):
        require("half_installed", "train")


def test_of_names_the_nearest_stands_first():
    said = str(unknown("key", "learning_rat", ["steps", "learning_rate"], ", or none"))
    assert (
        said == 'key "learning_rat" is unknown (did you mean "learning_rate"?); there are steps, learning_rate, or none'
    )
    assert 'did you mean "batch_size"?' in str(unknown("key", "batch", ["patch", "batch_size"]))
    assert str(unknown("key", "zzz", ["a", "b"])) == 'key "zzz" is unknown; there are a, b'


def test_what_moves_a_terminal_is_spelt_out() -> None:
    from videofusion.errors import printable

    assert printable("a\x1b[2J\x07\r\x9b\u202eb\u2028\ud800\x7f\x00") == (
        "a\\x1b[2J\\x07\\r\\x9b\\u202eb\\u2028\\ud800\\x7f\\x00"
    )
    plain = "été 例 नमस्ते \U0001f469\u200d\U0001f680\n\tλ = ½"
    assert printable(plain) == plain
    assert printable("a.mp4\nb.mp4: fine", line=True) == r"a.mp4\nb.mp4: fine"
