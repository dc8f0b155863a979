"""What the project shows to a reader runs as printed."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_python_blocks_of_a_page_run_in_order(page):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    namespace = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("default", r".* was fitted without tasks", UserWarning)  # to compare
        for block in blocks:
            exec(compile(block, str(page), "exec"), namespace)


def test_main_job_prints_the_verdict_and_saves_the_picture(tmp_path):
    script = ROOT / "examples" / "plot_does_sharing_help.py"
    command = [sys.executable, "-W", "error::UserWarning", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "does_sharing_help.png").stat().st_size > 10_000
    scores = {
        line.split()[0]: float(line.split()[1])
        for line in done.stdout.splitlines()
        if line.startswith(("mean-regularised ", "intercepts ", "pooled ", "single "))
    }
    assert scores["mean-regularised"] > scores["pooled"] > scores["single"]
    # the honest part: shrunken intercepts alone bring most of it
    assert re.search(r"shrunken intercepts alone brings? \d+\s?% of its gain", done.stdout)
