"""diffusers' own loader finds our pipelines once videofusion is imported, before or after diffusers."""

import subprocess
import sys

import pytest

from videofusion.models import SHIPPED

LOADS = """
{imports}
from diffusers import DiffusionPipeline
print(type(DiffusionPipeline.from_pretrained({folder!r}, low_cpu_mem_usage=False)).__module__)
"""


@pytest.mark.parametrize(
    "imports",
    [
        "import sys, videofusion; assert not {'torch', 'diffusers'} & set(sys.modules)",
        pytest.param("import diffusers, videofusion", marks=pytest.mark.slow),
    ],
)
def test_diffusers_loads_our_folder(imports: str) -> None:
    code = LOADS.format(imports=imports, folder=str(SHIPPED["moving-digits"].folder))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "videofusion.systems.videofusion_pipeline"
