"""What docs/extending.md adds to a copy of the library is found there, and touches few files."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
FILES = {"A penalty with its estimators": 4, "A loss": 1, "A solver": 2}
NAMES = ("Slope", "SlopeRegressor", "SlopeClassifier", "LogCosh")


def blocks():
    """Section -> [(file, lines)] of the page."""
    found = {}
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        code = re.findall(r"^```py\n# (\S+)\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        found[section.partition("\n")[0]] = [(file, text.splitlines()) for file, text in code]
    return found


def insert(path, added):
    """Add lines to a file: imports below its own, the rest to its end, before `__all__`."""
    lines = path.read_text().splitlines() if path.exists() else []
    body = ast.parse("\n".join(lines)).body
    below = max(
        (node.end_lineno for node in body if isinstance(node, (ast.Import, ast.ImportFrom))), default=0
    )
    end = next((k for k, line in enumerate(lines) if line.startswith("__all__")), len(lines))
    imports = [line for line in added if lines and re.match("(from|import) ", line)]
    rest = [line for line in added if line not in imports]
    path.write_text("\n".join([*lines[:below], *imports, *lines[below:end], *rest, *lines[end:]]) + "\n")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the library and its tests with the blocks of the page, and how to run Python in it."""
    copy = tmp_path_factory.mktemp("house")
    unfinished = shutil.ignore_patterns("*.tmp.*", "*.pyc.*")  # what others write into the caches right now
    for folder in ("skmtl", "tests"):  # with the loops that are compiled already
        shutil.copytree(ROOT / folder, copy / folder, ignore=unfinished)
    (copy / "docs").mkdir()
    for file in ("pyproject.toml", "docs/made_pages.py"):  # not what a build of the site writes meanwhile
        shutil.copy(ROOT / file, copy / file)
    for code in blocks().values():
        for file, lines in code:
            insert(copy / file, lines)

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        environment.pop("PYTEST_ADDOPTS", None)  # such as coverage, which is that of all tests
        done = subprocess.run(
            [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("section", FILES)
def test_few_files_are_touched(section):
    code = blocks()
    assert set(code) == set(FILES)
    assert len({file for file, _ in code[section]}) == FILES[section]


def test_the_new_names_are_public_and_on_the_page_of_names(house):
    code = (
        "import runpy, skmtl; from skmtl import losses, penalties, solvers\n"
        f"page = runpy.run_path('docs/made_pages.py')['api_page']().split()\n"
        "public = {*skmtl.__all__, *losses.__all__, *penalties.__all__}\n"
        f"print([name for name in {NAMES} if name not in public])\n"
        f"print([n for n in {NAMES} if not {{n, 'losses.' + n, 'penalties.' + n}} & {{*page}}])\n"
        "from skmtl.datasets import make_multitask_regression\n"
        "data = make_multitask_regression(n_tasks=5, n_samples=30, random_state=0)\n"
        "model = skmtl.SlopeRegressor(0.1, loss='log_cosh', solver='ista', tol=1e-3)\n"
        "model.fit(data.X, data.y, tasks=data.tasks)\n"
        "print(0 <= model.dual_gap_ <= 1e-2 * model.objective_)\n"
    )
    assert house("-c", code).splitlines() == ["[]", "[]", "True"]


def test_the_tests_find_what_is_new(house):
    """Documentation, properties of the prox and of the loss, agreement of solvers."""
    rooms = "house", "vector_functions", "losses", "solvers", "transfer"
    shown = house(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0", *(f"tests/test_{room}.py" for room in rooms),
        "-k", "Slope or slope or (LogCosh and (losses or ridge)) or ista",
    )  # fmt: skip
    assert int(re.search(r"(\d+) passed", shown)[1]) > 50 and "failed" not in shown
