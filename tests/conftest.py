"""Collections that the tests run over; a new public class joins them by itself."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the workers of a parallel run share the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
import inspect
from contextlib import contextmanager

import numpy as np
import pytest
from scipy import sparse

import skmtl
from skmtl import losses, penalties
from skmtl.linear_model._correlations import Factor
from skmtl.linear_model._reml import Search
from skmtl.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    Box,
    CappedL1,
    Clusters,
    Coupling,
    Entries,
    Features,
    Fused,
    InfConv,
    LInf,
    Positive,
    Ridge,
    Shared,
    SparseL2,
    Spectrum,
    SqrtL1,
    SquaredL1,
    Sum,
    Tasks,
    Tree,
    VectorFunction,
)


def pytest_configure(config):
    """Compile loops once, ahead of the tests of several processes: else each compiles what it needs."""
    if getattr(config.option, "numprocesses", None):
        skmtl.warm_up()


def pytest_collection_modifyitems(items):
    """Tests of several processes one after another, in one process of a parallel run: few of them start.

    One ends with an error of its processes, which joblib stops then: it is the last of them.
    """

    def turn(item):
        many = "processes" in item.keywords or "client" in item.fixturenames
        return not many, many and "[workers" in item.name

    items.sort(key=turn)


def pytest_collection_finish():
    """Tests and packages stay: garbage is not looked for among them, nor often among what is new."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


# on a test, for networks: what a few iterations give is compared there
cut_networks = pytest.mark.filterwarnings("ignore:MultiTaskMLP:sklearn.exceptions.ConvergenceWarning")

BOX = Box(0.5, low=0.2, high=1.3, budget=2.1)
# one instance or more of every public penalty
PENALTIES = {
    "features-l2": Features(L2(0.3)),
    "features-l1": Features(L1(0.2)),
    "tasks-l2": Tasks(L2(0.3)),
    "entries-l1": Entries(L1(0.2)),
    "spectrum-l1": Spectrum(L1(0.4)),
    "features-linf": Features(LInf(0.3)),
    "features-sparse": Features(SparseL2(0.3, l1_ratio=0.4)),
    "features-fused": Features(Fused(0.4, l1_ratio=0.2, group_ratio=0.3)),
    "features-tv": Features(Fused(0.3)),  # constants are free
    "entries-tree": Entries(Tree(0.2, [[0]])),  # larger trees need W of one shape: test_penalties.py
    "features-squared": Features(SquaredL1(0.4)),
    "features-box": Features(BOX),
    "spectrum-squared": Spectrum(SquaredL1(0.4)),
    "spectrum-box": Spectrum(BOX),
    "spectrum-centered": Spectrum(BOX, centered=True, mean_ratio=0.2),
    "features-mcp": Features(MCP(0.3)),
    "tasks-scad": Tasks(SCAD(0.3)),
    "features-capped": Features(CappedL1(0.2, gamma=2.0)),
    "features-sqrt": Features(SqrtL1(0.2)),
    "positive-l2": Positive(Features(L2(0.3))),
    "positive-fused": Positive(Features(Fused(0.3, l1_ratio=0.3, group_ratio=0.1))),
    "positive-box": Positive(Features(BOX)),
    "ridge": Ridge(0.5),
    "mean": Coupling(0.5),
    "shared-mean": Coupling(0.7, M="shared"),
    "graph-clusters": Clusters(0.5, between_ratio=0.3, mean_ratio=0.1, labels=[0, 1, 0, 1]),
    "graph": Coupling.graph(np.eye(4, k=1) + np.eye(4, k=-1), alpha=0.4),
    "shared": Shared(0.3),
    "sum": Sum([Features(L2(0.2)), Ridge(0.3)]),
    "sum-coupling": Entries(L1(0.1)) + Coupling(0.5) + Ridge(0.1),
    "infconv": InfConv([Features(L2(0.3)), Entries(L1(0.2))]),
}
NORMS = (
    "features-l2",
    "features-l1",
    "tasks-l2",
    "entries-l1",
    "spectrum-l1",
    "features-linf",
    "features-sparse",
    "features-fused",
    "entries-tree",
    "positive-l2",
    "positive-fused",
)


def public_classes(module):
    """Public classes of a module by name."""
    return {name: item for name in module.__all__ if inspect.isclass(item := getattr(module, name))}


def new_functions(known):
    """Public vector functions that are not among some, by name, as they are by default."""
    functions = {
        name: cls() for name, cls in public_classes(penalties).items() if issubclass(cls, VectorFunction)
    }
    known = {VectorFunction, *map(type, known)}
    return {name.lower(): function for name, function in functions.items() if type(function) not in known}


FOUND = {
    f"features-{name}": Features(function)
    for name, function in new_functions(getattr(p, "function", None) for p in PENALTIES.values()).items()
}
PENALTIES |= FOUND
NORMS = (*NORMS, *(name for name, penalty in FOUND.items() if penalty.function.norm))
JOINT_LOSSES = {
    "Multinomial",
    "RootSquaredError",
}  # several predictors per row, or all rows of a task at once
LOSSES = {name: getattr(losses, name)() for name in losses.__all__ if name not in {"Loss", *JOINT_LOSSES}}
BINARY_LOSSES = {"Logistic", "SquaredHinge"}  # targets 0 and 1


def kind_of_target(loss):
    """What `make_layout` needs to know about a loss: True for classes, "counts", or False."""
    name = type(loss).__name__
    return "counts" if name == "Poisson" else name in BINARY_LOSSES


def targets(loss, rng, size):
    """Random targets that a loss is made for."""
    binary = type(loss).__name__ in BINARY_LOSSES
    if type(loss).__name__ == "Poisson":
        return rng.poisson(2.0, size=size).astype(float)
    return rng.integers(2, size=size).astype(float) if binary else 2 * rng.normal(size=size)


class Layout:
    """A data set in one layout, in the arguments of fit and row by row for reference solutions."""

    def __init__(self, X, y, tasks=None, sample_weight=None):
        self.X, self.y, self.tasks, self.sample_weight = X, y, tasks, sample_weight

    def fit_args(self):
        """Keyword arguments of fit."""
        args = {"X": self.X, "y": self.y, "sample_weight": self.sample_weight}
        return args if self.tasks is None else {**args, "tasks": self.tasks}

    def blocks(self):
        """(X_t, y_t, normalised weights) of every task, written without the library."""
        X = self.X.toarray() if sparse.issparse(self.X) else np.asarray(self.X)
        weight = np.ones(len(X)) if self.sample_weight is None else self.sample_weight
        if self.y.ndim == 2:
            for t in range(self.y.shape[1]):
                rows = ~np.isnan(self.y[:, t])
                yield X[rows], self.y[rows, t], weight[rows] / weight[rows].sum()
            return
        tasks = np.zeros(len(X)) if self.tasks is None else self.tasks
        for task in np.unique(tasks):
            rows = tasks == task
            yield X[rows], self.y[rows], weight[rows] / weight[rows].sum()


def make_layout(kind, classification=False, n_tasks=4, n=120, p=6, seed=0):
    """A small problem: "stacked", "shared", "missing", "sparse", "weighted" or "single"."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + rng.normal(size=p)
    W = rng.normal(size=p) + 0.5 * rng.normal(size=(n_tasks, p))
    W[:, p // 2 :] = 0
    b = 2 + rng.normal(size=n_tasks)

    def label(eta):
        if classification == "counts":
            return rng.poisson(np.exp(0.5 * (eta - np.median(eta)) / eta.std())).astype(float)
        if classification:
            return (eta - np.median(eta) + rng.logistic(size=eta.shape) > 0).astype(float)
        return eta + 0.5 * rng.normal(size=eta.shape)

    if kind in ("shared", "missing"):
        Y = label(X @ W.T + b)
        if kind == "missing":
            Y[rng.random(Y.shape) < 0.3] = np.nan
        return Layout(X, Y)
    tasks = rng.integers(n_tasks, size=n) if kind != "single" else np.zeros(n, dtype=int)
    X = X * (rng.random(X.shape) < 0.4) if kind == "sparse" else X
    y = label((X * W[tasks]).sum(axis=1) + b[tasks])
    weight = rng.uniform(0.2, 2.0, size=n) if kind == "weighted" else None
    return Layout(
        sparse.csr_matrix(X) if kind == "sparse" else X, y, None if kind == "single" else tasks, weight
    )


LAYOUTS = ("stacked", "shared", "missing", "sparse", "weighted", "single")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def criterion_of(moments, covariance):
    """(criterion with its gradient, where a mean task tells as much as the prior, what finds the least)."""
    search = Search(moments, covariance.replace("full", "diagonal"))
    if covariance != "full":
        return search, search.scales[0], lambda: search.at(search.best())
    free = Factor(search)

    def value(x):
        found = free(x)
        return found.criterion, free.derivatives(x, found)[0]

    return value, free.start(1.0), lambda: free.best()[1]


@contextmanager
def named(case):
    """Says in which of the cases of a test something fails."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the case {case}")
        raise


def hard_problems(X, y, tasks):
    """Rows of two features on which estimated variances are none, or hardly told; by name."""
    yield "zero variances", X, y, tasks
    yield "one task", X, y, np.zeros(len(y))
    yield "constant column", np.column_stack([X, np.ones(len(y))]), y, tasks
    yield "column of tasks", np.column_stack([X, tasks]), y, tasks
    yield "collinear columns", np.column_stack([X, X[:, 0] - 2 * X[:, 1]]), y, tasks
    yield "constant target", X, np.full(len(y), 3.0), tasks
    yield "no noise", X, X @ [1.0, 2.0], tasks
    yield "large offset of y", X, y + 1e8, tasks
    yield "large offset of X", X + 1e8, y, tasks
    yield "tiny unit", 1e-9 * X, 1e-9 * y, tasks
    yield "units apart", X * [1e-6, 1e6], y, tasks
    rng = np.random.default_rng(0)
    yield "one row a task", rng.normal(size=(30, 2)), rng.normal(size=30), np.arange(30)
    yield "more features than rows", rng.normal(size=(60, 20)), rng.normal(size=60), np.arange(60) % 12
    yield "more than all rows", rng.normal(size=(30, 40)), rng.normal(size=30), np.arange(30) % 5


WRAPPERS = {
    "SingleTask",
    "Pooled",
    "PathSearchCV",
    "TaskConformalClassifier",
    "TaskConformalRegressor",
    "TaskResidual",
    "TasksFromColumn",
}  # of other estimators, with tests of their own
NETWORKS = {"MultiTaskMLP", "MultiTaskMLPClassifier", "MultiTaskMLPRegressor"}  # test_neural_network.py


def estimators():
    """Every public linear estimator class with a default constructor."""
    from sklearn.base import BaseEstimator

    found = {
        name: item
        for name in skmtl.__all__
        if inspect.isclass(item := getattr(skmtl, name)) and issubclass(item, BaseEstimator)
    }
    return {name: cls for name, cls in found.items() if name not in WRAPPERS | NETWORKS}


def task_estimators():
    """Those whose tasks and strength the user names: not the models of incomplete sources and of folds."""
    return {
        name: cls
        for name, cls in estimators().items()
        if not name.startswith("IncompleteMultiSource") and not name.endswith("CV")
    }
