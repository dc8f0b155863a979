"""What the project shows to a reader runs as printed."""

import ast
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import estimators, make_layout

import skmtl
from skmtl.linear_model._fitting import Fitting
from skmtl.solvers import SOLVERS, make_problem_of
from skmtl.solvers._choice import choose_solver

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_python_blocks_of_a_page_run_in_order(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # some save a file
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    namespace = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("default", r".* was fitted without tasks", UserWarning)  # to compare
        for block in blocks:
            exec(compile(block, str(page), "exec"), namespace)


def test_main_job_prints_the_verdict_and_saves_the_picture(tmp_path, monkeypatch, capsys):
    """On fewer splits than the page has."""
    page = (ROOT / "examples" / "plot_does_sharing_help.py").read_text()
    code = page.replace("TaskShuffleSplit(10, ", "TaskShuffleSplit(3, ")
    assert code != page
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        exec(compile(code, "does_sharing_help", "exec"), {"__name__": "__main__"})
    shown = capsys.readouterr().out
    assert (tmp_path / "does_sharing_help.png").stat().st_size > 10_000
    scores = {
        line.split()[0]: float(line.split()[1])
        for line in shown.splitlines()
        if line.startswith(("mean-regularised ", "intercepts ", "pooled ", "single "))
    }
    assert scores["mean-regularised"] > scores["single"] > scores["intercepts"] > scores["pooled"]
    said = " ".join(shown.split())
    assert "than 'single'" in said and "Use 'mean-regularised'." in said
    assert "Levels of the tasks alone ('intercepts') bring 0% of its gain" in said  # slopes do


def said(tree):
    """Texts in a syntax tree, what is filled in as dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_messages_that_the_page_explains_are_those_of_the_library():
    trees = [ast.parse(path.read_text()) for path in (ROOT / "skmtl").rglob("*.py")]
    texts = [text for tree in trees for text in said(tree)]
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    cells = re.findall(r'^\| (".*?") (?:\(.*?\) )?\|', page, flags=re.MULTILINE)  # some of several messages
    quoted = [message for cell in cells for message in cell[1:-1].split('", "')]
    assert len(quoted) > 90
    parts = {message: [part.strip(" ,;:.()") for part in message.split("...")] for message in quoted}
    for message in quoted:
        assert any(all(part in text for part in parts[message]) for text in texts), message
    for call in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if getattr(call.func, "id", None) == "warn" and not isinstance(call.args[0], ast.Name):
            text = next(said(call.args[0]))
            assert any(all(part in text for part in own) for own in parts.values()), text


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_a_script_of_the_gallery_is_short_and_says_its_question(script):
    lines = script.read_text().splitlines()
    assert len(lines) <= 100 and lines[0] == '"""'
    assert set(lines[2]) == {"="} and len(lines[2]) == len(lines[1])


# --- the solver column of the table of objectives ---

CHAIN = {"graph": np.eye(4, k=1) + np.eye(4, k=-1)}
NEEDED = {"GraphRegularized*": CHAIN, "Hierarchical*": {"tree": dict.fromkeys(range(4), "all")}}
MISSING = {
    "IncompleteMultiSource*": (np.arange(120) % 3 == 0)[:, None] & (np.arange(6) < 2)
}  # what is missing


def rows_of_the_table():
    """(family, parameters, what the column says) of every row that names a solver."""
    table = re.search(
        r"^\| estimator \|(.*?)\n\n",
        (ROOT / "docs" / "objectives.md").read_text(),
        flags=re.MULTILINE | re.DOTALL,
    )[1]
    for row in table.splitlines()[2:]:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        name, options = cells[0].split("`")[1], {}
        if cells[0].startswith("…"):
            options = eval(f"dict({name})")
        else:
            family = name
        if cells[3].split(",")[0] in SOLVERS:
            yield family, options | NEEDED.get(family, {}), cells[3]


def taken(family, parameters, kind, **size):
    """Name of the solver that an estimator takes."""
    layout, cls = make_layout(kind, **size), getattr(skmtl, family.replace("*", "Regressor"))
    X = np.where(MISSING.get(family, False), np.nan, layout.X)
    fitting = Fitting.of(cls(0.2, **parameters), X, layout.y, None if family in MISSING else layout.tasks)
    model = fitting.model
    return choose_solver(make_problem_of(fitting.term, model._omega(), model.ridge, model._shared_mean()))


ROWS = list(rows_of_the_table())


@pytest.mark.parametrize("family, parameters, said", ROWS, ids=[str(row[:2])[:60] for row in ROWS])
def test_the_table_names_the_solver_that_is_taken(family, parameters, said):
    first, _, other = said.partition(", with ")
    for kind in ["stacked"] if family in MISSING else ["stacked", "shared"]:
        assert taken(family, parameters, kind) == first
    if other:
        few, many, shared = re.findall("fista|splitting", other)
        ratios = ["l1_ratio", *(["group_ratio"] if " g > 0" in other else [])]
        for ratio in ratios:
            own = parameters | {ratio: 0.3}
            found = [taken(family, own, "stacked", p=p) for p in (7, 101)] + [taken(family, own, "shared")]
            assert found == [few, many, shared]


def test_the_table_has_the_families():
    names = {family.replace("*", "Regressor") for family, *_ in ROWS}
    generic = {"MultiTaskRegressor", "MixedTaskModel"}
    assert names < set(estimators()) - generic and len(ROWS) >= 27
