"""Bad parameters, penalties, blocks and statistics: errors that name what was found and expected."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from conftest import named, task_estimators
from sklearn.base import ClassifierMixin
from sklearn.linear_model import Ridge

from skmtl import (
    GroupSparseRegressor,
    MeanRegularizedRegressor,
    MultiTaskClassifier,
    MultiTaskElasticNet,
    MultiTaskLasso,
    MultiTaskRegressor,
    PathSearchCV,
    Pooled,
    SingleTask,
    TaskConformalRegressor,
    TaskStatistics,
    TraceNormRegressor,
    stack_tasks,
    suggest,
)
from skmtl.losses import Huber
from skmtl.penalties import L1, L2, Coupling, Entries, Features, InfConv, Penalty, Shared, Spectrum
from skmtl.penalties import Ridge as RidgePenalty

rng = np.random.default_rng(0)
N = 60
CODES = np.arange(N) % 3
TASKS = np.array(["ash", "birch", "cedar"])[CODES]
X = rng.normal(size=(N, 4))
y = X @ [1.0, -1.0, 0.5, 0.0] + CODES + rng.normal(size=N)
FRAME = pd.DataFrame(X, columns=list("abcd"))
LINEAR = [cls for cls in task_estimators().values() if "solver" in cls().get_params()]


# --- parameters ---------------------------------------------------------------------------------

NOT_NEGATIVE = (
    r"must be (None or )?a float in the range \[0\.0, inf\)( or a str among \{'auto'\})?\. Got -0\.5 instead"
)
PARAMETERS = [
    ("alpha", -0.5, NOT_NEGATIVE),
    ("alpha", np.nan, r"must be a float in the range \[0\.0, inf\)( or a str among \{'auto'\})?\. Got nan"),
    ("alpha", np.inf, r"must be a float in the range \[0\.0, inf\)( or a str among \{'auto'\})?\. Got inf"),
    ("alpha", "1", r"must be a float in the range .* Got '1'"),
    ("alpha", None, r"must be a float in the range .* Got None"),
    ("ridge", -0.5, NOT_NEGATIVE),
    ("intercept_alpha", -0.5, NOT_NEGATIVE),
    ("mean_alpha", -0.5, NOT_NEGATIVE),
    ("fit_intercept", "yes", "must be an instance of 'bool'.* Got 'yes'"),
    ("task_weight", "rows", "must be None, a str among {'samples'}, .* Got 'rows'"),
    ("handle_unknown", "ignore", "must be a str among {.*}. Got 'ignore'"),
    ("solver", "lbfgs", "must be a str among {.*}. Got 'lbfgs'"),
    ("max_iter", 0, r"must be an int in the range \[1, inf\). Got 0"),
    ("tol", -0.5, NOT_NEGATIVE),
    ("warm_start", 3, "must be an instance of 'bool'.* Got 3"),
    ("verbose", -1, "must be an int.* Got -1"),
]


@pytest.mark.parametrize("name, value, message", PARAMETERS, ids=[f"{n}={v}" for n, v, _ in PARAMETERS])
def test_parameters(name, value, message):
    for cls in LINEAR:
        goal = y > 0 if issubclass(cls, ClassifierMixin) else y
        said = rf"The '{name}' parameter of {cls.__name__} {message}"
        with named(cls), pytest.raises(ValueError, match=said):
            cls(**{name: value}).fit(X, goal, tasks=TASKS)


OWN_PARAMETERS = [
    (GroupSparseRegressor(norm="l3"), "The 'norm' parameter .* must be a str among {.*'l2'.*}. Got 'l3'"),
    (MultiTaskElasticNet(l1_ratio=1.5), r"The 'l1_ratio' parameter .* in the range \[0\.0, 1\.0\]. Got 1\.5"),
    (MultiTaskLasso(selection="greedy"), "The 'selection' parameter .* Got 'greedy'"),
    (MultiTaskLasso(copy_X="no"), "The 'copy_X' parameter .* Got 'no'"),
    (MultiTaskLasso(random_state="seed"), "The 'random_state' parameter .* Got 'seed'"),
    (MeanRegularizedRegressor(mean_alpha=None), "The 'mean_alpha' parameter .* Got None"),
    (MultiTaskRegressor(loss="hinge"), "The 'loss' parameter .* Got 'hinge'"),
    (MultiTaskRegressor(penalty="l1"), "The 'penalty' parameter .* Got 'l1'"),
    (MultiTaskRegressor(penalty=Features), "The 'penalty' parameter .* Got <class"),
    (MultiTaskRegressor(penalty=L2()), r"The 'penalty' parameter .* Got L2\(\)"),
    (SingleTask("ridge"), "The 'estimator' parameter of SingleTask must be .* Got 'ridge'"),
    (Pooled(None), "The 'estimator' parameter of Pooled must be .* Got None"),
    (Pooled(Ridge(), task_indicators="yes"), "The 'task_indicators' parameter of Pooled .* Got 'yes'"),
    (
        SingleTask(Ridge(), handle_unknown="skip"),
        "The 'handle_unknown' parameter of SingleTask .* Got 'skip'",
    ),
    # the solver does not fit
    (TraceNormRegressor(solver="direct"), "solver='direct' needs .*quadratic penalties.*; use solver='auto'"),
    (MeanRegularizedRegressor(solver="newton"), "solver='newton' needs a loss that is not quadratic"),
    (TraceNormRegressor(solver="bcd"), r"solver='bcd' needs .*Features\(L2\(\)\).*; use solver='auto'"),
    (GroupSparseRegressor(solver="bcd", mean_alpha=0.1), "solver='bcd' needs .*neither .* nor mean_alpha"),
    (GroupSparseRegressor(solver="bcd", intercept_alpha=0.1), "solver='bcd' needs .*neither intercept_alpha"),
    # task_weight
    (
        MultiTaskRegressor(task_weight={"ash": 1.0, "birch": 1.0, "cedar": 1.0, "oak": 1.0}),
        r"task_weight must name every task exactly once; unknown tasks: \['oak'\], .* weight: \[\]",
    ),
    (MultiTaskRegressor(task_weight={"ash": 1.0}), r"tasks without a weight: \['birch', 'cedar'\]"),
    (
        MultiTaskRegressor(task_weight=[1.0, 2.0]),
        r"task_weight must hold one number per task, shape \(3,\); got shape \(2,\)",
    ),
    (
        MultiTaskRegressor(task_weight=[1.0, 2.0, 0.0]),
        r"task_weight must be positive and finite; got \[1.*0\.0\]",
    ),
    (
        MultiTaskRegressor(task_weight=[1.0, 2.0, -1.0]),
        r"task_weight must be positive and finite; got .*-1\.0",
    ),
    (
        MultiTaskRegressor(task_weight=[1.0, 2.0, np.inf]),
        "task_weight must be positive and finite; got .*inf",
    ),
    (MultiTaskRegressor(task_weight={"ash": 1, "birch": 1, "cedar": -1}), "task_weight must be positive"),
    # the penalty does not fit
    (
        MultiTaskRegressor(penalty=Coupling(1.0, np.eye(5))),
        r"M has shape \(5, 5\) but the data hold 3 tasks; expected \(3, 3\)",
    ),
    (MultiTaskRegressor(penalty=Coupling.graph(1 - np.eye(4))), r"M has shape \(4, 4\) but .* 3 tasks"),
    (MultiTaskRegressor(penalty=Coupling(1.0, np.triu(np.ones((3, 3))))), "M must be symmetric"),
    (
        MultiTaskRegressor(penalty=Coupling(1.0, 1 - np.eye(3))),
        "M must be positive semidefinite .*Laplacian.*Coupling.graph",
    ),
    (MultiTaskRegressor(penalty=Coupling(1.0, np.full((3, 3), np.nan))), "Input M contains NaN"),
    (
        MultiTaskRegressor(penalty=Coupling(1.0, "chain")),
        "M must be 'mean', 'shared' or a matrix; got 'chain'",
    ),
    (
        MultiTaskRegressor(penalty=Features(L2()) + Entries(L1())),
        r"Features \+ Entries: a sum may hold only one non-smooth penalty.*InfConv",
    ),
    (
        MultiTaskRegressor(penalty=InfConv([Features(L2()), Entries(L1())]) + RidgePenalty()),
        "an InfConv cannot be a term of a sum",
    ),
]


@pytest.mark.parametrize("model, message", OWN_PARAMETERS, ids=[repr(m)[:70] for m, _ in OWN_PARAMETERS])
def test_parameters_of_one_class(model, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, tasks=TASKS)


@pytest.mark.parametrize(
    "penalty",
    [
        Features(L2(-0.5)),
        Entries(L1(-0.5)),
        Spectrum(L1(-0.5)),
        Coupling(-0.5),
        RidgePenalty(-0.5),
        Shared(-0.5),
    ],
    ids=lambda penalty: type(penalty).__name__,
)
def test_negative_strength_inside_a_penalty(penalty):
    with pytest.raises(ValueError, match=r"alpha.*-0\.5"):
        MultiTaskRegressor(penalty=penalty, max_iter=50).fit(X, y, tasks=TASKS)


class OnlyAName(Penalty):
    """A penalty that someone began to write."""


@pytest.mark.parametrize(
    "penalty, message",
    [(OnlyAName(), "OnlyAName must define"), (Features("l2"), r"function .*'l2'")],
    ids=["unfinished", "function by name"],
)
def test_penalties_that_are_none(penalty, message):
    with pytest.raises((TypeError, ValueError), match=message):
        MultiTaskRegressor(penalty=penalty).fit(X, y, tasks=TASKS)


@pytest.mark.parametrize(
    "adjacency, found",
    [(-np.ones((3, 3)), "negative"), (np.triu(np.ones((3, 3))), "symmetric"), (np.ones((3, 2)), r"\(3, 2\)")],
    ids=["negative", "one-way", "not square"],
)
def test_graph(adjacency, found):
    with pytest.raises(
        ValueError, match=f"adjacency must be a symmetric matrix of nonnegative weights.*{found}"
    ):
        Coupling.graph(adjacency)


@pytest.mark.parametrize("model", [MeanRegularizedRegressor(), MultiTaskRegressor(penalty=RidgePenalty())])
def test_alpha_max_of_a_penalty_without_zeros(model):
    with pytest.raises(ValueError, match=r"alpha_max exists only for penalties with a norm; .* has none"):
        model.alpha_max(X, y, tasks=TASKS)


# --- stack_tasks and statistics -----------------------------------------------------------------

STACK = {
    "nothing": (lambda: stack_tasks([]), r"blocks is empty; expected at least one \(X, y\) pair"),
    "names: too many": (
        lambda: stack_tasks([(X, y)], names=["ash", "oak"]),
        "names has 2 labels but blocks holds 1 pairs",
    ),
    "names: with a mapping": (
        lambda: stack_tasks({"ash": (X, y)}, names=["ash"]),
        "names must be None when blocks is a mapping",
    ),
    "names: twice the same": (
        lambda: stack_tasks([(X, y), (X, y)], names=["ash", "ash"]),
        r"names must differ.*'ash'",
    ),
    "features: another number": (
        lambda: stack_tasks({"ash": (X, y), "oak": (X[:, :2], y)}),
        "task 'oak' has 2 features but task 'ash' has 4",
    ),
    "features: another order": (
        lambda: stack_tasks({"ash": (FRAME[["a", "b"]], y), "oak": (FRAME[["b", "a"]], y)}),
        r"task 'oak' .*\['b', 'a'\].*\['a', 'b'\]",
    ),
    "rows": (lambda: stack_tasks({"oak": (X, y[:-1])}), "task 'oak': X has 60 rows but y has 59"),
    "pairs": (lambda: stack_tasks([X, X]), r"blocks.*\(X, y\) pair"),
}


@pytest.mark.parametrize("mistake", STACK)
def test_stack_tasks(mistake):
    use, message = STACK[mistake]
    with pytest.raises(ValueError, match=message):
        use()


def test_stack_tasks_keeps_the_type_of_names():
    with pytest.raises(TypeError, match=r"mixes labels .*\(int, str\)"):
        tasks = stack_tasks([(X, y), (X, y)], names=["ash", 1])[2]
        MeanRegularizedRegressor().fit(np.vstack([X, X]), np.concatenate([y, y]), tasks=tasks)


STATISTICS = TaskStatistics.from_arrays(X, y, TASKS)


@pytest.mark.parametrize("stats", [None, (X, y, TASKS), X], ids=["None", "tuple", "array"])
def test_fit_statistics_of_something_else(stats):
    with pytest.raises(TypeError, match=f"stats must be .*TaskStatistics.* got {type(stats).__name__}"):
        MultiTaskRegressor().fit_statistics(stats)


def test_fit_statistics_of_another_loss():
    with pytest.raises(
        ValueError, match=r"loss=Huber\(.*\) needs the rows; statistics serve the squared error"
    ):
        MultiTaskRegressor(loss=Huber()).fit_statistics(STATISTICS)
    assert not hasattr(MultiTaskClassifier(), "fit_statistics")


def test_fit_statistics_checks_parameters_and_predict_asks_for_tasks():
    with pytest.raises(ValueError, match=r"The 'alpha' parameter .* Got -1"):
        MultiTaskRegressor(-1).fit_statistics(STATISTICS)
    fitted = MultiTaskRegressor(0.1).fit_statistics(STATISTICS)
    with pytest.raises(ValueError, match="cannot predict without knowing the task"):
        fitted.predict(X)
    with pytest.raises(ValueError, match=r"tasks has 1 label\(s\) not seen in fit: \['oak'\]"):
        fitted.predict(X, tasks=np.where(CODES == 1, "oak", TASKS))


MERGE = {
    "another type": (lambda: STATISTICS + 1, TypeError, "expected TaskStatistics, got int"),
    "other features": (
        lambda: STATISTICS + TaskStatistics.from_arrays(X[:, :2], y, TASKS),
        ValueError,
        "statistics of 4 and of 2 features do not add up",
    ),
    "unknown task": (
        lambda: STATISTICS - TaskStatistics.from_arrays(X, y, np.full(N, "oak")),
        ValueError,
        r"cannot subtract statistics of tasks that are not there: \['oak'\]",
    ),
    "more than there is": (lambda: STATISTICS - (STATISTICS + STATISTICS), ValueError, "more rows of a task"),
    "nothing left": (lambda: STATISTICS - STATISTICS, ValueError, "leaves no row of any task"),
    "no task": (lambda: STATISTICS.of_tasks([]), ValueError, "tasks is empty; expected the labels"),
    "no such file": (
        lambda: TaskStatistics.load(io.BytesIO(b"garbage")),
        ValueError,
        "holds no TaskStatistics: it is no file of `save`.$",
    ),
    "a broken file": (
        lambda: TaskStatistics.load(io.BytesIO(b"PK\x03\x04garbage")),
        ValueError,
        "holds no TaskStatistics: it is no file of `save`.$",
    ),
    "no batch": (lambda: TaskStatistics.from_batches([]), ValueError, "batches is empty"),
    "NaN": (
        lambda: TaskStatistics.from_arrays(X, np.where(CODES == 1, np.nan, y), TASKS),
        ValueError,
        "y contains NaN",
    ),
    "tasks: too few": (
        lambda: TaskStatistics.from_arrays(X, y, TASKS[:3]),
        ValueError,
        "tasks has 3 labels but X has 60 rows",
    ),
}


@pytest.mark.parametrize("mistake", MERGE)
def test_statistics(mistake):
    use, kind, message = MERGE[mistake]
    with pytest.raises(kind, match=message):
        use()


def test_messages_name_what_was_given():
    """And nothing of what numpy and the folds inside have said."""
    dates = pd.DataFrame(X, columns=list("abcd")).assign(when=pd.date_range("2020", periods=N))
    with pytest.raises(ValueError, match=r"^The column\(s\) \['when'\] of X are not numbers"):
        MultiTaskLasso(0.1).fit(dates, y, tasks=TASKS)
    with pytest.raises(ValueError, match=r"feature_groups must hold labels of one type; .*'NoneType', 'str'"):
        GroupSparseRegressor(feature_groups=["a", None, "b", "a"]).fit(X, y, tasks=TASKS)
    with pytest.raises(ValueError, match="time_budget must be a positive number of seconds; got '5'"):
        suggest(X, y, tasks=TASKS, time_budget="5", verbose=0)
    with pytest.raises(ValueError, match=r"^cv=5 needs .*; lower cv, merge"):
        TaskConformalRegressor(MeanRegularizedRegressor()).fit(X, y, tasks=np.arange(N))
    stats = TaskStatistics.from_batches([(X, y, TASKS)], n_folds=4)
    with pytest.warns(
        UserWarning, match=re.escape("cv=3 has no effect in fit_statistics: the test sets are the 4")
    ):
        PathSearchCV(MeanRegularizedRegressor(), cv=3).fit_statistics(stats)
