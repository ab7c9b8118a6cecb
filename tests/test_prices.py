"""What an addition costs: one module of another package, found by one entry point, is enough on the command line.

The module is the examples of docs/extending.md, one after the other, and a convolution in three dimensions.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
CONVOLUTION = """
class TimeConvolution(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x, inputs):
        clips = x.unflatten(0, inputs.clip_shape).transpose(1, 2)  # b c t h w
        return self.conv(clips).transpose(1, 2).flatten(0, 1)


LAYERS["time_convolution"] = lambda sizes: TimeConvolution(sizes.channels)
TEMPORAL_DESIGNS["convolved"] = TemporalDesign(within=("time_convolution",), attention=("place",))
"""
BEGIN = """
import sys
from pathlib import Path
import torch
import videofusion as vf
from videofusion.cli import main

torch.set_num_threads(1)
folder = Path(sys.argv[1])
small = "--network.channels 8 8 --network.groups 4 --text.size 16 --clips.frames 3 --clips.size 8 --batch.size 2"
small += " --steps 2 --log.sample-interval 2 --log.boards --log.validation-interval 2 --checkpoints.interval 2"
small += " --sampling.steps 1 --device cpu"


def train(name, *words):
    assert main(["train", "tiny", "--run", str(folder / name), *small.split(), *words]) == 0
    return vf.load(folder / name)
"""
# in a process each, since what has been imported once is there to stay
SCRIPTS = {
    "a system, its condition, and a sampler that a run and its model keep": """
pipe = train("swaying", "--system", "swaying", "--system.still", "0.3", "--sampling.sampler", "trapezoid")
assert pipe.config.sampler == "trapezoid" and pipe.config.noise_parameter == 0.3
assert any("sway" in type(part).__name__.lower() for part in pipe.unet.modules())
bright, any_ = (pipe("a red three", seed=1, steps=1, brightness=value) for value in (0.5, None))
assert bright.shape == (3, 3, 8, 8)
from diffusers import DiffusionPipeline

theirs = DiffusionPipeline.from_pretrained(folder / "swaying" / "model", low_cpu_mem_usage=False)
assert type(theirs) is type(pipe)
torch.testing.assert_close(theirs("a red three", seed=1, steps=1, brightness=0.5), bright, atol=1e-4, rtol=0)
try:
    pipe("a red three", brightness=float("nan"))
    raise SystemExit("taken")
except vf.InputError as error:
    print(error)
""",
    "a row and a noise source, in a system of the package": """
words = ["--network.temporal", "convolved", "--system.noise", "looped", "--system.noise-parameter", "12"]
pipe = train("convolved", "--system", "vdm", *words)
assert pipe.config.noise == "looped" and pipe.unet.config.temporal == "convolved"
assert any(isinstance(part, torch.nn.Conv3d) for part in pipe.unet.modules())
""",
    "a model with them, in a process that has imported nothing of the package yet": """
model = str(folder / "convolved")
words = ["--steps", "1", "--sampler", "trapezoid", "--device", "cpu"]
assert main(["generate", "a red three", "--model", model, "-o", str(folder / "a.gif"), *words]) == 0
""",
    "a layout": """
(folder / "clips").mkdir()
for number, caption in enumerate(("a dog runs", "a cat sits")):
    for copy in range(6):
        clip = torch.full((4, 3, 8, 8), number - 0.1 * copy)
        vf.write_clip(clip, folder / "clips" / f"{caption} {copy}.mp4".replace(" ", "_"))
(folder / "clips" / "metadata.jsonl").write_text("this layout reads no captions from here")
pipe = train("named", "--data", str(folder / "clips"), "--clips.layout", "named", "--clips.validation-share", "0.2")
assert {"dog", "cat"} <= set(pipe.text_encoder.config.words)
""",
    "a metric": """
from videofusion.evaluation.metric_table import chosen
from videofusion.evaluation.protocol_table import find_preset

(metric,) = chosen(find_preset("embedded"), ["contrast"])
assert metric.kind == "contrast"
""",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed package: one module and its entry point."""
    folder = tmp_path_factory.mktemp("packages")
    installed = folder / "my_package-1.0.dist-info"
    installed.mkdir()
    examples = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    at = next(number for number, each in enumerate(examples) if "TEMPORAL_DESIGNS" in each)
    (folder / "my_package.py").write_text("\n".join([*examples[: at + 1], CONVOLUTION, *examples[at + 1 :]]))
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[videofusion.systems]\nswaying = my_package:Swaying\n")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


# each is a process that imports everything anew: one in the fast tests, test_extending.py has the rest in this process
@pytest.mark.parametrize(
    "title", [pytest.param(title, marks=[pytest.mark.slow] if number else []) for number, title in enumerate(SCRIPTS)]
)
def test_one_module_outside_adds(title: str, package: Path, work: Path) -> None:
    paths = os.pathsep.join([str(package), *filter(None, sys.path)])
    ran = subprocess.run(
        [sys.executable, "-c", BEGIN + SCRIPTS[title], str(work)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert ran.returncode == 0, ran.stderr
    if "brightness" in SCRIPTS[title]:
        assert "brightness is nan; it must be a number in [-1, 1]" in ran.stdout
