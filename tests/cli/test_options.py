"""Messages in the words of the command line, and what is refused before any work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from videofusion import cli
from videofusion.cli import main
from videofusion.cli.compare import compare
from videofusion.cli.extend import extend
from videofusion.cli.generate import generate
from videofusion.cli.models import export
from videofusion.cli.options import check_quotes, check_sampling, in_options
from videofusion.cli.train import train
from videofusion.errors import InputError
from videofusion.recipes.groups import Sampling


@pytest.mark.parametrize(
    ("command", "said", "told"),
    [
        (generate, "frames is 0; a clip must have at least 2", "--frames is 0; a clip must have at least 2"),
        (generate, "motion_seed is 1.5; it must be whole", "--motion-seed is 1.5; it must be whole"),
        (generate, "prompt has 40 words; at most 32", "PROMPT has 40 words; at most 32"),
        (extend, "prompt is not given, and a file says nothing", "--prompt is not given, and a file says nothing"),
        (extend, "clip has 8 frames; 9 are needed (overlap)", "clip has 8 frames; 9 are needed (--overlap)"),
        (generate, "low_memory is True, but so", "--low-memory is given, but so"),
        (compare, "take more, or set allow_few if it is", "take more, or set --allow-few if it is"),
        (export, "out is a, which exists", "DIR is a, which exists"),
        (train, "recipe key budget.steps is 0, but must be", "recipe key budget.steps is 0, but must be"),
        (
            train,
            "it predicts eps; set diffusion.schedule=linear diffusion.prediction=eps",
            "it predicts eps; give --diffusion.schedule linear --diffusion.prediction eps",
        ),
        (train, "set compute.shard=true; it has none", "give --compute.shard; it has none"),
        (train, "or set compute.shard=false", "or give --compute.no-shard"),
        (generate, "spacing is 'no'; it must be", "--spacing is 'no'; it must be"),
        (extend, "eta is 2.0; it must be", "--eta is 2.0; it must be"),
        # what is no argument stays
        (generate, 'the clip has frames; "steps" is a word', 'the clip has frames; "steps" is a word'),
        (train, "data.json of dry_run.txt is there", "data.json of dry_run.txt is there"),
    ],
)
def test_sentences_name_options(command: object, said: str, told: str) -> None:
    assert in_options(said, command) == told  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "words", "prompt"),
    [
        (generate, "a red three -o x.mp4", "'a red three'"),
        (generate, "-o x.mp4 a red three", "'a red three'"),
        (generate, "--steps 2 -o x.mp4 a red", "'a red'"),
        (extend, "x.mp4 -o y.mp4 --prompt red three --frames 20", "'red three'"),
    ],
)
def test_a_prompt_without_quotes_is_told_so(command: object, words: str, prompt: str) -> None:
    with pytest.raises(InputError, match=f"quote the prompt: {prompt}$"):
        check_quotes(words.split(), command)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (generate, ["a red three", "-o", "x.mp4", "--sheet"]),
        (generate, ["--sheet", "a red three", "--guidance", "-1", "-o", "x.mp4"]),
        (extend, ["x.mp4", "-o", "y.mp4", "--prompt", "a red three"]),
        (extend, ["--prompt", "a red three", "x.mp4", "-o", "y.mp4"]),
        (extend, ["x.mp4", "y.mp4", "-o", "z.mp4"]),  # something else is wrong
        (compare, ["dir", "tiny", "vdm-moving-digits"]),
    ],
)
def test_other_words_are_left_to_their_command(command: object, words: list[str]) -> None:
    check_quotes(words, command)  # type: ignore[arg-type]


def test_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "a", "red", "three", "-o", str(tmp_path / "x.mp4")]) == 2
    assert "quote the prompt: 'a red three'" in capsys.readouterr().err


@pytest.mark.parametrize("group", sorted({name.split()[0] for name in cli.COMMANDS if " " in name}))
def test_a_group_explains_itself(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group, "--help"]) == 0
    assert f"  {group} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("euler", 20, None), "sampler is 'euler'; it must be one of ddim"),
        ((None, 0, None), "steps is 0"),
        ((None, 20, -1.0), "guidance is -1"),
        ((None, 20, float("nan")), "guidance is nan"),
        ((None, 20, 1.0, 1.5), "motion is 1.5"),
    ],
)
def test_sampling_that_no_model_does(values: tuple, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_sampling(*values)
    check_sampling("dpm++", 20, 1.0, 0.0)


def test_what_the_words_alone_show_is_told_without_torch(tmp_path: Path) -> None:
    out = str(tmp_path / "a.mp4")
    (tmp_path / "there.mp4").touch()
    commands = [
        ["generate", "a", "--model", "no-such", "-o", out],
        ["generate", "a", "-o", str(tmp_path / "a.avi")],
        ["generate", "a", "-o", str(tmp_path / "there.mp4")],
        ["generate", "a", "red", "three", "-o", out],
        ["extend", "none.mp4", "--frames", "20", "-o", out],
        ["extend", str(tmp_path / "there.mp4"), "--frames", "20", "-o", out, "--model", "no-such"],
        ["decode", "none.safetensors", "-o", out, "--model", "no-such"],
        ["decode", "none.safetensors", "-o", str(tmp_path / "there.mp4")],
        ["export", "no-such", str(tmp_path / "model")],
        ["compare", str(tmp_path / "runs"), "no-such"],
        ["evaluate", "none", "none"],
        ["train", "no-such", "--run", str(tmp_path / "run")],
    ]
    code = (
        "import sys; from videofusion.cli import main\n"
        f"for words in {commands!r}:\n"
        "    print(main(words), *({'torch', 'diffusers', 'av'} & set(sys.modules)), words)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"2 {words}" for words in commands], done.stderr
    assert done.stderr.count("\n") == len(commands), done.stderr
    assert not (tmp_path / "run").exists()


def test_every_sampler_is_known() -> None:
    from videofusion.diffusion.samplers import SAMPLERS

    for name in SAMPLERS:
        check_sampling(name, 20, None)
    assert Sampling().sampler in SAMPLERS
