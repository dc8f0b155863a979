"""Log-loss of two classes and Poisson deviance: proximal Newton steps, each of one pass over the partitions.

A pass finds the loss, its second moments under the weights of a quadratic model, which the local solvers
minimise with the penalty, and what the slopes of the model before prove of the optimum.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning

from .._batches import added_folds
from .._data import make_task_data, predict_rows
from .._inputs import check_sample_weight, resolve_task_weight
from .._labels import check_tasks, find_tasks, plain_array, plain_labels
from .._sklearn import num_samples
from .._target import find_classes, used_labels
from .._tasks import target_names
from ..objective import MomentsTerm, make_term
from ..solvers import SolverResult, blas_threads, make_problem_of, run
from ..statistics import TaskStatistics

STEPS = np.array([1.0, 0.5, 0.25, 0.1, 0.03, 0.01])  # parts of a step whose objective a pass finds
LEAST = 1e-20  # second derivative of a row
INNER = 1e-7  # of the target: the gap of a model
EDGE = 1e-14  # by so little rounding takes a slope out of its domain
MOST_PASSES = 100
MOST_CLASSES = 100  # of a target that holds no classes but numbers


@dataclass
class Look:
    """Where a pass looks: coefficients, intercepts and, for the way there and the dual point, those before.

    Parameters
    ----------
    tasks : ndarray of shape (n_tasks,)
    target : Target
    scale : ndarray of shape (n_tasks,)
        What the weight of a row of each task is to be multiplied by.
    at, before, dual : tuple of (coef, intercept)
    theta : float
        Scale of the slopes at `dual` of the model at `before`.
    """

    tasks: np.ndarray
    target: object
    scale: np.ndarray
    at: tuple
    before: tuple | None = None
    dual: tuple | None = None
    theta: float = 1.0


@dataclass
class Seen:
    """What a pass finds: moments, the data term at parts of the step, and the conjugate at the dual point."""

    stats: TaskStatistics | None
    values: np.ndarray
    conjugate: float

    @staticmethod
    def sum(parts):
        """That of several partitions."""
        first, *others = parts
        for one in others:
            stats = added_folds([first.stats], [one.stats])[0]
            first = Seen(stats, first.values + one.values, first.conjugate + one.conjugate)
        return first


def _long(reader, X, y, tasks, weight):
    """Features, labels, tasks or columns, and weights of all labels that count, in rows of their own."""
    X, tasks = reader._split(X, tasks)
    if not num_samples(X):
        return None
    X, y = reader._check_features(X), reader._check_target(y, has_rows_of_tasks=tasks is not None)
    weight = check_sample_weight(weight, y.shape)
    used = used_labels(y, weight)
    if not used.any():
        return None
    mass = np.ones(y.shape) if weight is None else weight.reshape(len(y), *[-1] * (y.ndim - 1))
    at = np.nonzero(used)
    if y.ndim == 2:
        own = at[1]
    else:
        own = np.zeros(len(y), np.intp) if tasks is None else check_tasks(tasks, len(y))
        own = own[used]
    return X[at[0]], plain_labels(y[used]), own, np.broadcast_to(mass, y.shape)[used].astype(float)


# --- a first pass: tasks, classes and the best constants ---


def _labels_of(reader, classifies, *rows):
    """{label: moments of its rows without features}; of numbers there is one label, None."""
    rows = _long(reader, *rows)
    if rows is None:
        return {}
    _, y, own, mass = rows
    nothing = np.zeros((len(y), 1))
    if not classifies:
        y = reader._known_target().encode(y.astype(np.float64))
        return {None: TaskStatistics.from_arrays(nothing, y, own, sample_weight=mass)}
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) > MOST_CLASSES:
        raise ValueError(f"y must hold two classes; found {len(classes)} different labels in a partition.")
    found = {}
    for k, label in enumerate(classes.tolist()):
        at = codes == k
        zeros = np.zeros(np.count_nonzero(at))
        found[label] = TaskStatistics.from_arrays(nothing[at], zeros, own[at], sample_weight=mass[at])
    return found


def _union(parts):
    found = {}
    for part in parts:
        for label, stats in part.items():
            found[label] = found[label] + stats if label in found else stats
    return found


def _constants(model, labels, target):
    """Tasks, scales of their rows and intercepts of no features."""
    each = list(labels.values())
    total = sum(each[1:], start=each[0])
    weight = resolve_task_weight(model.task_weight, total.tasks, total.weight)
    y = np.concatenate(
        [s.y_mean if target.classes is None else np.full(s.n_tasks, k) for k, s in enumerate(each)]
    )
    tasks, mass = (np.concatenate([getattr(s, name) for s in each]) for name in ("tasks", "weight"))
    data = make_task_data(np.zeros((len(y), 1)), y, tasks, sample_weight=mass, task_weight=weight)
    term, W = (
        make_term(data, target.loss, model.fit_intercept, model.intercept_alpha),
        np.zeros((len(total.tasks), 1)),
    )
    return total.tasks, weight / total.weight, term.restored(W, term.intercept(W, term.image(W), None))


# --- the others ---


def _seen(reader, look, *rows):
    """`Seen` of a partition."""
    steps = STEPS if look.before is not None else STEPS[:1]
    rows = _long(reader, *rows)
    if rows is None:
        return Seen(None, np.zeros(len(steps)), 0.0)
    X, y, own, mass = rows
    codes = own if reader._layout_ != "stacked" else find_tasks(own, look.tasks)
    y, loss = look.target.encode(y, np.ones(len(y), dtype=bool)), look.target.loss
    weight, eta = mass * look.scale[codes], predict_rows(X, codes, *look.at)
    with np.errstate(over="ignore", invalid="ignore"):
        if look.before is None:
            values, conjugate = np.array([weight @ loss.value(y, eta)]), np.inf
        else:
            start = predict_rows(X, codes, *look.before)
            values = np.array([weight @ loss.value(y, start + step * (eta - start)) for step in steps])
            conjugate = _conjugate(loss, y, weight, start, predict_rows(X, codes, *look.dual), look.theta)
        curvature = np.maximum(loss.hessian(y, eta), LEAST)
        target = eta - loss.gradient(y, eta) / curvature
    if not np.isfinite(weight @ curvature):  # a step too far
        return Seen(None, values, conjugate)
    stats = TaskStatistics.from_arrays(X, target, codes, sample_weight=mass * curvature)
    return Seen(stats, values, conjugate)


def _conjugate(loss, y, weight, start, dual, theta):
    """That of the data term, at theta times the slopes at `dual` of the quadratic model at `start`."""
    slope = loss.gradient(y, start) + np.maximum(loss.hessian(y, start), LEAST) * (dual - start)
    slope = theta * slope
    inside = loss.project(y, slope)
    if not (np.abs(inside - slope) <= EDGE * (1 + np.abs(slope))).all():
        return np.inf
    return weight @ loss.conjugate(y, inside)


class Newton:
    """Proximal Newton of a linear model on partitions.

    Parameters
    ----------
    model : LinearModel
        That is to be fitted; it is told of the tasks and the classes.
    rows : Partitions
    reader : LinearModel
        See `reader_of`.
    """

    def __init__(self, model, rows, reader):
        self.model, self.rows, self.reader, self.n_passes = model, rows, reader, 0
        self.n_features = reader.n_features_in_ - (reader.task_column is not None)
        labels = self._pass(_union, _labels_of, is_classifier(model))
        if not labels:
            raise ValueError("X has no row with a label of positive weight.")
        if is_classifier(model):
            classes = plain_array(list(labels))
            model.classes_ = find_classes(classes, np.ones(len(classes), dtype=bool), model.loss)
            if len(model.classes_) > 2:
                raise ValueError(
                    f"y holds {len(model.classes_)} classes; on collections of Dask there can be two."
                )
            labels = {label: labels[label] for label in model.classes_.tolist()}
        model._target_ = model._known_target()
        tasks, self.scale, self.intercept = _constants(model, labels, model._target_)
        names = target_names(rows.y_head)
        model.tasks_ = tasks if names is None else names[tasks]
        model.n_tasks_, self.tasks = len(tasks), tasks
        if rows.shape and len(tasks) < rows.shape[0]:
            raise ValueError(
                f"y has labels in {len(tasks)} of {rows.shape[0]} columns: leave the others out."
            )

    def _pass(self, add, function, *given):
        self.n_passes += 1
        return self.rows.sum(add, function, self.reader, *given)

    def _look(self, at, *others):
        return self._pass(Seen.sum, _seen, Look(self.tasks, self.model._target_, self.scale, at, *others))

    def _problem(self, stats):
        """The problem of the quadratic model."""
        model = self.model
        stats = model._scaled(stats._with(tasks=model.tasks_))
        pull = model.intercept_alpha if model.n_tasks_ > 1 else 0.0
        term = MomentsTerm(stats, self.scale, model.fit_intercept, pull)
        problem = make_problem_of(term, model._omega(), model.ridge, model._shared_mean())
        if not (problem.certified and problem.convex):
            raise ValueError(f"on collections of Dask the penalty must be convex; got {problem.penalty!r}.")
        return problem

    def run(self):
        """SolverResult."""
        at = np.zeros((len(self.tasks), self.n_features)), self.intercept
        seen = self._look(at)
        self.model._prepare(seen.stats)
        problem, history, bound = self._problem(seen.stats), [], -np.inf
        state = problem.zeros(), at, float(seen.values[0]) + problem.term.spread_of_intercepts(at[1])
        target = self.model.tol * state[2]
        ended = False
        while not ended:
            # one step more than the gap asks for: the error of that is about its square
            ended = state[2] - bound <= target or self.n_passes >= MOST_PASSES
            found, stats, best = self._stepped(problem, *state, INNER * target)
            bound = max(bound, best)
            if found[2] < state[2]:
                state, problem = found, self._problem(stats)
            else:
                ended = True
            history.append((self.n_passes, state[2], state[2] - bound))
        return self._result(problem, *state, history, target)

    def _stepped(self, problem, parts, at, objective, enough):
        """Parts, point and objective after a step, moments there, and a bound of the objective.

        The step is one to the minimum of the model, or the part of it after which the objective is least.
        """
        model = self.model
        with blas_threads(problem.term.stats), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the gap that is reached tells as well
            scale = max(problem.null_objective(), np.finfo(float).tiny)
            found = run(problem, init=parts, max_iter=model.max_iter, tol=min(enough / scale, 1.0))
            moved, b, theta, rest = problem.model_dual(found.parts)
        dual = model._unscaled(replace(found, coef=moved)).coef, b
        to = model._unscaled(found).coef, found.intercept
        seen = self._look(to, at, dual, theta)
        bound, states = -seen.conjugate - rest, []
        for step, value in zip(STEPS, seen.values, strict=True):
            own = [V + step * (new - V) for V, new in zip(parts, found.parts, strict=True)]
            point = tuple(a + step * (new - a) for a, new in zip(at, to, strict=True))
            value += problem.penalty_value(own) + problem.term.spread_of_intercepts(point[1])
            states.append((own, point, value if np.isfinite(value) else np.inf))
        best = min(range(len(STEPS)), key=lambda k: states[k][2])
        if seen.stats is not None and (best == 0 or states[0][2] <= objective):
            return states[0], seen.stats, bound
        return states[best], self._look(states[best][1]).stats, bound

    def _result(self, problem, parts, at, objective, history, target):
        gap = history[-1][2]
        if not gap <= target:
            warnings.warn(
                f"{self.n_passes} passes over the data left a duality gap of {gap:.3e}; the target was "
                f"{target:.3e} (tol={self.model.tol:g}). Standardise the features, raise the strength of the "
                "penalty, or accept a larger tol.",
                ConvergenceWarning,
                stacklevel=6,
            )
        return SolverResult(
            coef=at[0], intercept=at[1], parts=parts, n_iter=self.n_passes, objective=objective, gap=gap,
            converged=gap <= target, history=history, labels=problem.labels,
        )  # fmt: skip
