"""Log-loss of two classes and Poisson deviance: proximal Newton steps, each of one pass over the partitions.

A first pass finds the tasks and classes, and a sample of the rows whose solution is the start. Each pass
after it finds the loss, its second moments under the weights of a quadratic model, which local solvers
minimise with the penalty, and what the slopes of the model before prove of the optimum.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning

from .._batches import added_folds
from .._data import make_task_data, predict_rows
from .._inputs import check_sample_weight, resolve_task_weight
from .._labels import check_tasks, find_tasks, plain_array, plain_labels
from .._sklearn import num_samples
from .._target import find_classes, used_labels
from .._tasks import target_names
from .._warn import warn
from ..objective import MomentsTerm, make_term
from ..solvers import SolverResult, blas_threads, make_problem_of, run
from ..statistics import TaskStatistics

WHOLE, SHORTER = (1.0,), (0.5, 0.25, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001)  # parts of a step
LEAST = 1e-20  # second derivative of a row
INNER = 1e-7  # of the target: the gap of a model
EDGE = 1e-14  # by so little rounding takes a slope out of its domain
MOST_STEPS = 100
SAMPLED = 2**19  # numbers of the features of the rows that a first solution is found on
COARSE = 1e-6  # gap of that, relative to the objective without features
MOST_CLASSES = 100  # of a target that holds no classes but numbers


@dataclass
class Look:
    """Where a pass looks, (coef, intercept): `at`, and for the way there and the dual point `before`, `dual`.

    The weight of a row of each task is to be multiplied by `scale`, the slopes at `dual` of the model at
    `before` by `theta`; `steps` are parts of the way from `before` whose loss is asked for, and moments are
    found where it is the whole.
    """

    tasks: np.ndarray
    target: object
    scale: np.ndarray
    at: tuple
    before: tuple | None = None
    dual: tuple | None = None
    theta: float = 1.0
    steps: tuple = WHOLE


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
    weight = check_sample_weight(weight, y.shape, some=True)
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


# --- a first pass: tasks, classes, the best constants and a sample ---


@dataclass
class Sample:
    """Some of the rows, features, labels, tasks and weights, those with the least of random keys.

    Also {label: moments} of all rows with a label: of their weights, and of numbers (there is one label,
    None) as the target, with the loss at zero as the feature.
    """

    labels: dict
    rows: tuple | None = None
    keys: np.ndarray | None = None

    @classmethod
    def of(cls, reader, classifies, *rows):
        """That of a partition."""
        rows = _long(reader, *rows)
        if rows is None:
            return cls({})
        _, y, own, mass = rows
        if classifies:
            classes, codes = np.unique(y, return_inverse=True)
            values, at_zero = np.zeros(len(y)), np.zeros(len(y))
        else:
            target = reader._known_target()
            values, classes, codes = target.encode(y.astype(np.float64)), np.array([None]), np.zeros(len(y))
            at_zero = target.loss.value(values, np.zeros(len(y)))
        if len(classes) > MOST_CLASSES:
            raise ValueError(
                f"y must hold two classes; found {len(classes)} different labels in a partition."
            )
        found = {}
        for k, label in enumerate(classes.tolist()):
            at = codes == k
            given = at_zero[at, None], values[at], own[at]
            found[label] = TaskStatistics.from_arrays(*given, sample_weight=mass[at])
        return cls(found, rows, np.random.default_rng(len(y)).random(len(y))).cut()

    def cut(self):
        """With no more rows than a sample needs."""
        n_rows = max(SAMPLED // self.rows[0].shape[1], 1)
        if len(self.keys) <= n_rows:
            return self
        least = np.sort(np.argpartition(self.keys, n_rows)[:n_rows])
        return Sample(self.labels, tuple(own[least] for own in self.rows), self.keys[least])

    @staticmethod
    def sum(parts):
        """That of several partitions."""
        labels, parts = {}, [part for part in parts if part.labels]
        for part in parts:
            for label, stats in part.labels.items():
                labels[label] = labels[label] + stats if label in labels else stats
        if not parts:
            return Sample({})
        X, *others = zip(*(part.rows for part in parts), strict=True)
        X = sparse.vstack(X, format="csr") if sparse.issparse(X[0]) else np.concatenate(X)
        keys = np.concatenate([part.keys for part in parts])
        return Sample(labels, (X, *map(np.concatenate, others)), keys).cut()


class Constants:
    """What is known of the tasks without features: c_t, best intercepts and what is reached by these.

    The weight of a row of each task is to be multiplied by `scale`.
    """

    def __init__(self, model, target, labels):
        each, numbers = list(labels.values()), target.classes is None
        total = sum(each[1:], start=each[0])
        emphasis = resolve_task_weight(model.task_weight, total.tasks, total.weight)
        self.tasks, self.emphasis, self.scale = total.tasks, emphasis, emphasis / total.weight
        y = [stats.y_mean if numbers else np.full(stats.n_tasks, float(k)) for k, stats in enumerate(each)]
        of_rows = y, [stats.tasks for stats in each], [stats.weight for stats in each]
        self.rows = y, tasks, mass = tuple(map(np.concatenate, of_rows))
        data = make_task_data(np.zeros((len(y), 1)), y, tasks, sample_weight=mass, task_weight=emphasis)
        term = make_term(data, target.loss, model.fit_intercept, model.intercept_alpha)
        W = np.zeros((total.n_tasks, 1))
        image = term.image(W)
        b = term.intercept(W, image, None)
        self.intercept, self.objective = term.restored(W, b), term.value(W, image, b)
        if numbers:  # what the loss has beside what is linear in y
            self.objective += float(emphasis @ (total.x_mean[:, 0] - target.loss.value(total.y_mean, 0.0)))

    def beside(self, X, y, own, mass):
        """Some encoded rows with one more of every task, and class in it, at the mean of their features."""
        values, tasks, weight = self.rows
        mean = np.asarray(X.mean(axis=0)).reshape(1, -1).repeat(len(values), axis=0)
        X = sparse.vstack([X, mean], format="csr") if sparse.issparse(X) else np.vstack([X, mean])
        share = weight * (self.scale / self.scale.max())[find_tasks(tasks, self.tasks)]
        mass = np.append(mass, share / share.max() * mass.mean())
        return X, np.append(y, values), np.concatenate([own, tasks]), mass


# --- the others ---


def _seen(reader, look, *rows):
    """`Seen` of a partition."""
    rows = _long(reader, *rows)
    if rows is None:
        return Seen(None, np.zeros(len(look.steps)), 0.0)
    X, y, own, mass = rows
    return _seen_of(look, X, look.target.encode(y, np.ones(len(y), dtype=bool)), own, mass)


def _seen_of(look, X, y, own, mass):
    """The same of rows with encoded targets."""
    codes, loss, values, conjugate = find_tasks(own, look.tasks), look.target.loss, [], np.inf
    weight, eta = mass * look.scale[codes], predict_rows(X, codes, *look.at)
    start = eta if look.before is None else predict_rows(X, codes, *look.before)
    with np.errstate(over="ignore", invalid="ignore"):
        for step in look.steps:
            values.append(weight @ loss.value(y, start + step * (eta - start)))
        if look.dual is not None:
            conjugate = _conjugate(loss, y, weight, start, predict_rows(X, codes, *look.dual), look.theta)
        curvature = np.maximum(loss.hessian(y, eta), LEAST)
        target = eta - loss.gradient(y, eta) / curvature
    if look.steps != WHOLE or not np.isfinite(weight @ curvature):  # or a step too far
        return Seen(None, np.array(values), conjugate)
    stats = TaskStatistics.from_arrays(X, target, codes, sample_weight=mass * curvature)
    return Seen(stats, np.array(values), conjugate)


def _conjugate(loss, y, weight, start, dual, theta):
    """That of the data term, at theta times the slopes at `dual` of the quadratic model at `start`."""
    slope = loss.gradient(y, start) + np.maximum(loss.hessian(y, start), LEAST) * (dual - start)
    slope = theta * slope
    inside = loss.project(y, slope)
    if not (np.abs(inside - slope) <= EDGE * (1 + np.abs(slope))).all():
        return np.inf
    return weight @ loss.conjugate(y, inside)


class Newton:
    """Proximal Newton on partitions of a linear model, which is told tasks and classes; see `reader_of`."""

    def __init__(self, model, rows, reader):
        self.model, self.rows, self.reader, self.n_passes = model, rows, reader, 0
        sample = self._pass(Sample.sum, Sample.of, is_classifier(model))
        labels = sample.labels
        if not labels:
            raise ValueError("X has no row with a label of positive weight.")
        if is_classifier(model):
            classes = plain_array(list(labels))
            model.classes_ = find_classes(classes, np.ones(len(classes), dtype=bool), model.loss)
            if len(model.classes_) > 2:
                raise ValueError(f"y holds {len(model.classes_)} classes; collections of Dask can have two.")
            labels = {label: labels[label] for label in model.classes_.tolist()}
        model._target_ = model._known_target()
        self.constants = Constants(model, model._target_, labels)
        tasks, names = self.constants.tasks, target_names(rows.y_head)
        if rows.shape and len(tasks) < rows.shape[0]:
            raise ValueError(f"y has labels in {len(tasks)} of {rows.shape[0]} columns: leave out the rest.")
        model.tasks_ = tasks if names is None else names[tasks]
        if is_classifier(model):
            present = [find_tasks(tasks, stats.tasks) >= 0 for stats in labels.values()]
            model._warn_of_absent(~np.transpose(present))
        self.sample = sample.rows

    def _pass(self, add, function, *given):
        self.n_passes += 1
        return self.rows.sum(add, function, self.reader, *given)

    def _problem(self, stats, scale):
        """The problem of the quadratic model."""
        model, pull = self.model, self.model.intercept_alpha if self.model.n_tasks_ > 1 else 0.0
        stats = model._scaled(stats._with(tasks=model.tasks_))
        term = MomentsTerm(stats, scale, model.fit_intercept, pull)
        problem = make_problem_of(term, model._omega(), model.ridge, model._shared_mean())
        if not (problem.certified and problem.convex):
            raise ValueError(f"on collections of Dask the penalty must be convex; got {problem.penalty!r}.")
        return problem

    def run(self):
        """SolverResult."""
        known, target = self.constants, self.model._target_
        X, y, own, mass = self.sample
        rows = known.beside(X, target.encode(y, np.ones(len(y), dtype=bool)), own, mass)
        scale = known.emphasis / np.bincount(find_tasks(rows[2], known.tasks), rows[3])

        def at_sample(*at):
            return _seen_of(Look(known.tasks, target, scale, *at), *rows)

        def at_all(*at):
            return self._pass(Seen.sum, _seen, Look(known.tasks, target, known.scale, *at))

        at = np.zeros((len(known.tasks), X.shape[1])), known.intercept
        seen = at_sample(at)
        self.model._prepare(seen.stats)
        problem = self._problem(seen.stats, scale)
        zeros = problem.zeros()
        start = zeros, at, self._objective(problem, zeros, at, seen.values[0])
        parts, point, _ = self._descended(at_sample, scale, start, seen, COARSE * known.objective)[1]
        seen = at_all(point)
        start = parts, point, self._objective(problem, parts, point, seen.values[0])
        if not start[2] <= known.objective:  # not even better than no features
            start, seen = (zeros, at, known.objective), at_all(at)
        return self._result(*self._descended(at_all, known.scale, start, seen, None))

    def _objective(self, problem, parts, at, value):
        value = float(value) + problem.penalty_value(parts) + problem.term.spread_of_intercepts(at[1])
        return value if np.isfinite(value) else np.inf

    def _descended(self, look, scale, state, seen, target):
        """Problem of the last model, parts, point and objective there, and the gap on the way.

        From such a state, at which `seen` was found, until the gap is a target. None: that of the model, and
        then up to two steps more, as the error of coefficients is about the square root of a gap.
        """
        extra, bound, history, ended = 0 if target else 2, -np.inf, [], False
        tol, problem = self.model.tol, self._problem(seen.stats, scale)
        target = target or tol * self.constants.objective
        while not ended:
            found, stats, best = self._stepped(look, problem, *state, INNER * target)
            bound = max(bound, best)
            if found[2] < state[2]:
                state, problem = found, self._problem(stats, scale)
            else:
                ended = True
            gap = abs(state[2] - bound)  # below zero by rounding only
            history.append((self.n_passes, state[2], gap))
            ended |= len(history) >= MOST_STEPS or gap <= tol * target or (gap <= target and not extra)
            extra -= gap <= target
        return problem, state, history

    def _stepped(self, look, problem, parts, at, objective, enough):
        """Parts, point and objective after a step, moments there, and a bound of the objective.

        The step is one to the minimum of the model, or where that is no descent the best part of it.
        """
        model = self.model
        with blas_threads(problem.term.stats), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the gap that is reached tells as well
            scale = max(problem.null_objective(), np.finfo(float).tiny)
            found = run(problem, init=parts, max_iter=model.max_iter, tol=min(enough / scale, 1.0))
            moved, b, theta, rest = problem.model_dual(found.parts)
        dual = model._unscaled(replace(found, coef=moved)).coef, b
        to = model._unscaled(found).coef, found.intercept
        seen = look(to, at, dual, theta)
        bound = -seen.conjugate - rest

        def part(step, value):
            own = [V + step * (new - V) for V, new in zip(parts, found.parts, strict=True)]
            point = tuple(a + step * (new - a) for a, new in zip(at, to, strict=True))
            return own, point, self._objective(problem, own, point, value)

        state = part(1.0, seen.values[0])
        if seen.stats is not None and state[2] <= objective:
            return state, seen.stats, bound
        values = look(to, at, None, 1.0, SHORTER).values
        state = min(map(part, SHORTER, values), key=lambda state: state[2])
        return state, look(state[1]).stats, bound

    def _result(self, problem, state, history):
        (parts, at, objective), gap = state, history[-1][2]
        target = self.model.tol * self.constants.objective
        if not gap <= target:
            warn(
                f"{self.n_passes} passes over the data left a duality gap of {gap:.3e}; the target was "
                f"{target:.3e} (tol={self.model.tol:g}). Standardise the features, raise the strength of the "
                "penalty, or accept a larger tol.",
                ConvergenceWarning,
            )
        return SolverResult(
            coef=at[0], intercept=at[1], parts=parts, n_iter=self.n_passes, objective=objective, gap=gap,
            converged=gap <= target, history=history, labels=problem.labels,
        )  # fmt: skip
