"""The house: who imports whom, how long things are, and that everything public is documented and tested."""

import ast
import functools
import graphlib
import importlib
import inspect
import itertools
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import WRAPPERS, estimators, public_classes
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import Validator, validate
from sklearn.utils._param_validation import validate_parameter_constraints

import skmtl
from skmtl._target import ClassesMixin, KindsMixin, TargetMixin
from skmtl.linear_model._base import LinearModel, LinearRegressor

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

SOURCE = Path(skmtl.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
# a room may import what stands to its left, and whatever stands in its own
ORDER = [
    "_kernels", "_warn", "_sklearn", "_callbacks", "_parameters", "_threads", "_labels", "_columns",
    "_tables", "_figures", "_inputs", "_data", "_tasks", "_batches", "_second_moments",
    "_moment_files", "statistics",
    "losses", "penalties", "objective", "solvers", "_task_scores", "metrics", "_target", "linear_model",
    "model_selection",
]  # fmt: skip
HEAVY = {"numba", "pandas", "polars", "matplotlib", "cvxpy"}


@functools.cache
def trees():
    """(path, module name, nodes of the syntax tree) of every source file."""
    found = []
    for path in FILES:
        parts = [*path.relative_to(SOURCE.parent).with_suffix("").parts]
        found.append((path, ".".join(parts), [*ast.walk(ast.parse(path.read_text()))]))
    return found


@functools.cache
def imports():
    """(path, module name, absolute names of what it imports, at any depth) of every source file."""
    return [(path, name, [*imported(name, path, nodes)]) for path, name, nodes in trees()]


def imported(name, path, nodes):
    """Absolute names of what some nodes of a module import."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    package = [part for part in package if part != "__init__"]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(
                [*package[: len(package) - node.level + 1], node.module or ""]
                if node.level
                else [node.module]
            )
            yield from (f"{base}.{alias.name}".replace("..", ".") for alias in node.names)


def rooms():
    """Room -> rooms of the package that it imports."""
    graph = {}
    for _, name, targets in imports():
        room = name.split(".")[1]
        for target in targets:
            parts = target.split(".")
            if parts[0] == "skmtl" and len(parts) > 1:
                graph.setdefault(room, set()).add(parts[1])
    return graph


def test_imports_point_upwards_only():
    graph = rooms()
    graph.pop("__init__")
    inner = {"_warn", "_sklearn", "_callbacks", "_threads", "_parameters", "_columns", "_labels", "losses"}
    assert set(ORDER) - inner - {"_second_moments", "_moment_files"} <= set(graph)
    for room, targets in graph.items():
        if room in ORDER:
            assert targets - {room} <= set(ORDER[: ORDER.index(room)]), room
    done = set(ORDER)  # the rest around the estimators: in some order
    rest = {room: targets - {room} for room, targets in graph.items() if room not in done}
    while rest:
        ready = {room for room, targets in rest.items() if not targets & set(rest)}
        assert ready, f"a circle among {sorted(rest)}"
        rest = {room: targets for room, targets in rest.items() if room not in ready}


def test_files_import_each_other_in_no_circle():
    """Inside the rooms as well, wherever in a file the import stands."""
    names = {name.removesuffix(".__init__") for _, name, _ in trees()}
    graph = {}
    for _, name, targets in imports():
        package = set(itertools.accumulate(name.split(".")[:-1], "{}.{}".format))
        found = {t if t in names else t.rpartition(".")[0] for t in targets}
        graph[name] = found & names - package  # what is taken from a package is not taken from this file
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(names)


def test_rooms_are_entered_by_their_door():
    """What a folder offers is imported from its `__init__`, not from a private file inside."""
    folders = {path.parent.name for path in FILES if path.parent != SOURCE}
    for _, name, targets in imports():
        for target in targets:
            top, room, inside, *_ = [*target.split("."), "", ""]
            private = top == "skmtl" and room in folders and inside.startswith("_")
            assert not private or name.split(".")[1] in (room, "__init__"), (name, target)


def test_only_what_is_slow_or_optional_is_imported_late():
    allowed = {"skmtl._kernels", "pandas", "pyarrow", "matplotlib.pyplot", "lightgbm", "catboost"}
    for path, name, nodes in trees():
        for function in (node for node in nodes if isinstance(node, ast.FunctionDef)):
            found = set(imported(name, path, ast.walk(function)))
            assert all(any(t.startswith(a) for a in allowed) for t in found), (name, found)


def test_numba_is_imported_in_one_module_only():
    users = {name for _, name, targets in imports() for t in targets if t.startswith("numba")}
    assert users == {"skmtl._kernels._numba"}


def test_private_names_of_scikit_learn_are_taken_in_one_module_only():
    for _, name, targets in imports():
        found = {t for t in targets if t.startswith("sklearn.") and "._" in t}
        assert name == "skmtl._sklearn" or not found, (name, found)


def test_heavy_packages_are_not_imported_at_import():
    for path, name, nodes in trees():
        functions = (node for node in nodes if isinstance(node, ast.FunctionDef))
        late = {id(node) for function in functions for node in ast.walk(function)}
        first = [node for node in nodes if id(node) not in late]
        found = {target.split(".")[0] for target in imported(name, path, first)} & HEAVY
        assert found <= ({"numba"} if name == "skmtl._kernels._numba" else set()), name


def test_numba_is_loaded_by_the_first_fit_that_needs_it():
    """Also without docstrings."""
    code = (
        "import sys, skmtl, numpy as np\n"
        "late = {'numba', 'matplotlib', 'polars'}\n"
        "late |= {'sklearn.cluster', 'sklearn.linear_model', 'scipy.cluster'}\n"
        "print(late & {*sys.modules})\n"
        "skmtl.MeanRegularizedRegressor().fit(np.eye(4), np.arange(4.0), tasks=[0, 0, 1, 1])\n"
        "skmtl.TraceNormRegressor().fit(np.eye(4), np.eye(4))\n"
        "print('numba' in sys.modules)\n"
        "skmtl.MultiTaskLasso(0.01).fit(np.eye(4), np.eye(4))\n"
        "print('numba' in sys.modules)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert shown.splitlines() == ["set()", "False", "True"]


def test_kernels_are_loops_over_numbers():
    """An array assigned to a slice compiles the text of Numba's error message as well: over two seconds."""
    files = (SOURCE / "_kernels").glob("*.py")
    for node in (node for path in files for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Assign):
            targets = [part for target in node.targets for part in ast.walk(target)]
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            if any(isinstance(part, ast.Slice) for part in targets):
                numbers = all(isinstance(value, (ast.Name, ast.Attribute, ast.Constant)) for value in values)
                assert numbers, f"line {node.lineno}: {ast.unparse(node)}"


# --- processes ---


def run_python(code, **environment):
    """What the code prints, word by word, in a process of its own."""
    environment = {**os.environ, **environment}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()


FITS = """
import numpy as np, skmtl
from skmtl import _kernels
X = np.random.default_rng(0).normal(size=(2000, 40))
for cls in (skmtl.GroupSparseRegressor, skmtl.TemporalRegressor, skmtl.MeanRegularizedRegressor):
    model = cls(alpha=0.01, tol=0.1).fit(X[:, :20], X[:, 20:])
    model.fit(X[:, :2], X[:, 2], tasks=np.arange(2000) % 1000)
kernels = [getattr(_kernels, name) for name in _kernels.SIGNATURES]
"""


def test_warm_up_leaves_nothing_to_compile():
    """Neither in its own process nor, with its cache, in others."""
    counts = "print(*(len(kernel.signatures) for kernel in kernels))"
    assert set(run_python(f"import skmtl; skmtl.warm_up()\n{FITS}{counts}")) == {"1"}
    counts = "print(*(len(kernel.stats.cache_misses) for kernel in kernels if kernel.signatures))"
    missed = run_python(FITS + counts)
    assert set(missed) == {"0"} and len(missed) >= 3


def test_fits_without_a_place_for_compiled_code():
    """Where no directory can be written to, as in some containers."""
    code = "import numpy as np; from skmtl.neural_network._network import compiled; A = np.ones((1, 1, 4))\n"
    code += "compiled('relu_back', A.dtype)(A, A); print(A.size)"
    nowhere = {"NUMBA_CACHE_DIR": "", "NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator"}
    assert run_python(code, **nowhere) == ["4"]


def test_fits_in_several_threads_leave_blas_as_it_was():
    """In whatever order they end; one thread as long as any of them runs."""
    code = """
import numpy as np
from threading import Event, Thread
from threadpoolctl import threadpool_info
from skmtl.losses import SquaredError
from skmtl.penalties import L2, Features
from skmtl.solvers import make_task_data, solve

data = make_task_data(np.eye(6), np.arange(6.0), [0, 0, 0, 1, 1, 1])
inside, ends = [Event(), Event()], [Event(), Event()]

def fit(k):
    def callback(n_iter, parts):
        inside[k].set()
        return ends[k].wait(60)
    solve(data, SquaredError(), Features(L2(0.01)), solver="fista", tol=0.0, callback=callback)

def threads():
    return max(lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas")

fits = [Thread(target=fit, args=[k]) for k in range(2)]
print(threads())
for k in range(2):
    fits[k].start()
    inside[k].wait(60)
for k in range(2):
    print(threads())
    ends[k].set()
    fits[k].join(60)
print(threads())
"""
    before, both, one, after = run_python(code, OPENBLAS_NUM_THREADS="2", OMP_NUM_THREADS="2")
    assert both == one == "1" and before == after


# --- size ---


def test_no_file_is_too_long():
    assert [path for path in FILES if len(path.read_text().splitlines()) > 600] == []


def test_no_function_is_too_long():
    for path, _, nodes in trees():
        for node in nodes:
            if isinstance(node, ast.FunctionDef):
                first = node.body[0]
                documented = ast.get_docstring(node) is not None
                docstring = first.end_lineno - first.lineno + 1 if documented else 0
                length = node.end_lineno - node.lineno + 1 - docstring
                assert length <= 45, f"{path.name}: {node.name} has {length} lines"


# --- public names ---

MODULES = ["skmtl", *(f"skmtl.{m.name}" for m in pkgutil.iter_modules(skmtl.__path__) if m.name[0] != "_")]
MODULES.remove("skmtl.objective")  # for solvers and models, not for users


def public():
    """Public classes and functions by the name to document them under."""
    found = {}
    for module in map(importlib.import_module, MODULES):
        for name in getattr(module, "__all__", []):
            item = getattr(module, name)
            if inspect.isclass(item) or inspect.isfunction(item):
                found.setdefault(item, f"{module.__name__}.{name}")
    return {name: item for item, name in found.items()}


def methods():
    """Public methods written in this package, each once."""
    found = {}
    for name, item in public().items():
        for key, value in vars(item).items() if inspect.isclass(item) else ():
            inner = getattr(value, "__func__", value)
            inherits = value.__doc__ is None and inspect.getdoc(inner)  # from the class above
            written = inspect.isfunction(inner) or isinstance(value, property)
            if not key.startswith("_") and written and not inherits:
                found[f"{name}.{key}"] = item
    bases = (LinearModel, LinearRegressor, TargetMixin, ClassesMixin, KindsMixin)
    for base in bases:  # private, but their methods are not
        found.update({
            f"{base.__module__}.{base.__name__}.{key}": base
            for key, value in vars(base).items() if not key.startswith("_") and inspect.isfunction(value)
        })  # fmt: skip
    return found


PUBLIC, METHODS = public(), methods()
ROOMS = (
    "datasets",
    "inspection",
    "losses",
    "metrics",
    "penalties",
    "solvers",
)  # beside what skmtl itself offers
# what a docstring must have; not asked for: "See also", examples everywhere, types of obvious arguments
ALWAYS = {
    "GL03",
    "GL05",
    "GL06",
    "GL07",
    "GL08",
    "GL10",
    "SS01",
    "SS03",
    "SS04",
    "SS06",
    "PR02",
    "PR03",
    "PR10",
}


def missed(name, wanted):
    """(name, what its docstring lacks) of a public name."""
    return [(name, *error) for error in validate(name)["errors"] if error[0] in wanted]


def test_public_names_are_documented():
    found = []
    for name, item in PUBLIC.items():
        wanted = ALWAYS | {"PR01", "PR05", "PR06"} | ({"RT01"} if inspect.isfunction(item) else set())
        doc = Validator(get_doc_object(item))
        as_attributes = set(doc.signature_parameters) <= {a.name for a in doc.doc["Attributes"]}  # a result
        found += missed(name, wanted - ({"PR01"} if as_attributes else set()))
    assert found == []


def test_public_methods_are_documented():
    """In one line, or completely."""
    found = []
    for name in METHODS:
        doc = Validator(get_doc_object(Validator._load_obj(name)))
        found += missed(name, ALWAYS | ({"PR01", "RT01"} if doc.doc["Parameters"] else set()))
    assert found == []


def test_public_names_have_an_example():
    """Those of Dask have that of the estimator of one machine."""
    rooms = skmtl, *(importlib.import_module(f"skmtl.{name}") for name in ROOMS)
    items = {f"{room.__name__}.{name}": getattr(room, name) for room in rooms for name in room.__all__}
    assert [name for name, item in items.items() if ">>> " not in inspect.getdoc(item)] == []


def test_classes_state_a_formula_a_reference_and_an_example():
    for name, cls in estimators().items():
        doc = inspect.getdoc(cls)
        for part in (".. math::", "References\n", "Examples\n", ">>> "):
            assert part in doc, f"{name} has no {part}"
        assert "https://doi.org/" in doc or "JMLR" in doc, f"{name} has no DOI"


def test_estimators_under_test_are_all_there_are():
    def below(cls):
        return {cls}.union(*map(below, cls.__subclasses__()))

    concrete = {
        cls.__name__
        for cls in below(LinearModel)  # mixins state no target, the two bases no penalty
        if cls._penalty is not LinearModel._penalty and issubclass(cls, TargetMixin)
        if not inspect.isabstract(cls)
        if cls.__module__.startswith("skmtl.")
    }
    assert set(estimators()) == concrete
    searches = {name for name in public_classes(skmtl.model_selection) if name in concrete}
    assert set(public_classes(skmtl.linear_model)) == concrete - searches
    assert concrete | WRAPPERS <= set(skmtl.__all__)


def test_searches_of_the_lasso_are_found_where_scikit_learn_has_them():
    from skmtl.linear_model import MultiTaskElasticNetCV, MultiTaskLassoCV

    assert (MultiTaskElasticNetCV, MultiTaskLassoCV) == (skmtl.MultiTaskElasticNetCV, skmtl.MultiTaskLassoCV)


def test_default_parameters_are_valid():
    """Fits check only the others."""
    for name, cls in estimators().items():
        model = cls()
        validate_parameter_constraints(model._parameter_constraints, model.get_params(), name)


@pytest.mark.parametrize("module", MODULES)
def test_public_names_exist(module):
    module = importlib.import_module(module)
    names = getattr(module, "__all__", [])
    assert all(hasattr(module, name) for name in names) and len(set(names)) == len(names)
    assert names == sorted(names, key=lambda n: (not n.isupper(), n[0].islower(), n))  # constants first
