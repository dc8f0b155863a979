"""One more task for a fitted model, with what the tasks share held fixed."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .._data import make_task_data
from .._figures import parts_of
from .._inputs import check_rows, shaped_offset
from .._labels import (
    check_tasks,
    encode_tasks,
    find_tasks,
    label_keys,
    label_kind,
    object_array,
    of_one_kind,
    plain_array,
    readable,
)
from .._tasks import all_or_nothing
from ..objective import FactorTerm, Problem, duality_gap, make_term
from ..penalties import Metric, RowPenalty, TaskQuadratic
from ..solvers import run

DEFAULT = "new"
MOST_SOLVED = 1000  # coefficients of a task up to which it is solved as a system


class TransferMixin:
    """`fit_task` of linear models."""

    @all_or_nothing
    def fit_task(self, X_new, y_new, task=DEFAULT, *, sample_weight=None, offset=None):
        """Add one task to the fitted model, with what its tasks share held fixed.

        For a task with a few rows that appears after the fit. The coefficients of the other tasks do
        not change.

        Parameters
        ----------
        X_new : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features of the new task, the columns of X in `fit`; its task column, if `task_column` is
            set, holds nothing but `task`.
        y_new : array-like of shape (n_samples,)
            Targets, without missing ones; for a classifier classes seen in `fit`.
        task : hashable, default="new"
            Label of the task, of the type of those in `tasks_`. Where these are numbers "new" is the whole
            number after the greatest, the last key of `added_tasks_`.
        sample_weight : array-like of shape (n_samples,), optional
            Nonnegative weights; a row of weight zero does not exist.
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            As in `fit`.

        Returns
        -------
        self
            With one more entry in `tasks_` (sorted as before; after the others where the columns of y
            were not sorted), `n_tasks_`, `coef_`, `deviation_coef_`, `intercept_`, `added_tasks_` and, of
            a decomposition, its parts. All other attributes, `mean_coef_` and `mean_intercept_` among them,
            describe the tasks of `fit`: they are what is held fixed, also by further calls.

        Raises
        ------
        ValueError
            If the model is not fitted, was fitted without tasks or has losses or classes that differ
            between tasks; if `task` is known or cannot be sorted with the others; if the columns of
            `X_new` differ from those in fit; if `y_new` holds NaN or an unknown class.

        Notes
        -----
        Most penalties are the least value of a quadratic form in W over something that all tasks share:
        ``alpha sum_j ||W_j||_2 = min_d alpha/2 sum_j (||W_j||^2 / d_j + d_j)`` for groups of features,
        ``alpha ||W||_* = min_D alpha/2 (tr(W D^-1 W') + tr D)`` for the trace norm, where D is
        positive definite (Argyriou, Evgeniou & Pontil). With the fitted d or D the new task minimises

        .. math::

            \\sum_i s_i \\, \\mathrm{loss}(y_i, x_i \\cdot w + b) + \\Omega_{new}(w)
            + \\frac{ridge}{2} \\| w \\|^2 + \\frac{\\alpha_{intercept}}{2} (b - \\bar b)^2

        with s_i the sample weights divided by their sum, bbar the `mean_intercept_` (one for each class;
        b is free where `intercept_alpha` is 0) and Omega_new

        * ``alpha/2 sum_j w_j^2 / d_j`` for group-sparse models, d_j = ||W_j||_2: features out of use stay
          so. Another norm f has d_j = ||W_j||_2^2 / f(W_j) and an L1 term stays as it is; "exclusive" has
          ``alpha sum_j (||W_j||_1 |w_j| + w_j^2 / 2)``, by which the penalty grows;
        * ``alpha/2 w D^-1 w'`` for models of the singular values, D with the right singular vectors of W
          and d_i = sigma_i (trace norm), sigma_i / sum sigma (task relationship), the optimal theta_i
          (subspace, clusters: about the mean of the tasks); task relationships with ``alpha="auto"`` have
          the estimated covariance of coefficients about their mean in its place;
        * ``alpha/2 ||w - mean(w)||^2`` for mean regularisation, and for a graph, ``smooth="quadratic"``
          too, with its mean degree in place of 1: it says nothing of a new task, which hangs on all alike;
        * ``alpha sum_j |w_j - w_jT|`` for ordered tasks, after the last one T, with ``smooth="fused"``;
        * ``alpha/2 ||w - w_c||^2`` for k-means clusters, the centre c with the lowest objective;
        * ``alpha rho ||s||_1`` for w = s L with a latent basis;
        * the penalty itself where it shares nothing between tasks, and the penalties of all parts for a
          decomposition; with `mean_alpha` they are about ``w - mean_coef_``.

        The emphasis `task_weight` of the new task is 1. `added_tasks_` holds the duality gap, NaN
        where there is no certificate. Where `y_new` lacks a class, its intercept is bounded by
        ``intercept_alpha > 0`` only.

        References
        ----------
        Argyriou, Evgeniou & Pontil (2008), Convex multi-task feature learning, Machine Learning 73,
        https://doi.org/10.1007/s10994-007-5040-8

        Examples
        --------
        >>> from skmtl import TraceNormRegressor
        >>> from skmtl.datasets import make_multitask_regression
        >>> data = make_multitask_regression(n_tasks=9, structure="low_rank", random_state=0)
        >>> new = data.tasks == 8
        >>> model = TraceNormRegressor(alpha=0.5).fit(data.X[~new], data.y[~new], tasks=data.tasks[~new])
        >>> model.fit_task(data.X[new][:6], data.y[new][:6], task=8).coef_.shape
        (9, 20)
        """
        check_is_fitted(self)
        _refuse(self)
        task = _label_among(self.tasks_, task)
        tasks, position = insert_label(self.tasks_, task)
        X, y, given = _read_rows(self, X_new, y_new, task, sample_weight, offset)
        if isinstance(getattr(self, "classes_", None), np.ndarray):
            weight = np.ones(len(y)) if given["sample_weight"] is None else given["sample_weight"]
            self._warn_of_absent(~np.isin(np.arange(len(self.classes_)), y[weight > 0])[None], [task])
        model = self._in_numbers()
        if not self.added_tasks_:  # alternative penalties of a new row, and what rows it is made of
            penalty = model._omega()
            if penalty.learned == "clusters" and hasattr(model, "labels_"):
                penalty = penalty.given(model.labels_)
            self._frozen_ = penalty.for_classes(model._n_outputs).frozen_parts(model._parts_)
        model._frozen_ = self._frozen_
        W, b, gap, parts = _fit_row(model, X, y, given)
        self.coef_ = _with_row(self.coef_, position, W)
        self.intercept_ = _with_row(self.intercept_, position, b)
        vars(self).pop("deviation_coef_", None)  # stored by version 0.1, and without this task
        self.tasks_ = tasks
        held = zip(parts_of(self).values(), parts, strict=False)
        self._set_parts([_with_row(V, position, row) for V, row in held])
        self.added_tasks_ = {**self.added_tasks_, task: gap}
        self._remember_added(task, X, y, given)
        return self

    def _remember_added(self, task, X, y, given):
        """Keep of the rows what is asked of the model later."""


def _refuse(model):
    """ValueError where a new task has no meaning."""
    name = type(model).__name__
    if not model._predicts_by_task:
        raise ValueError(f"{name} reads its tasks from X and cannot add one by name.")
    if model._layout_ == "single":
        raise ValueError(
            f"this {name} was fitted on a single task without a label (1-D y and neither tasks= nor "
            "task_column=); there is nothing that a new task could share."
        )
    if isinstance(model._target_.loss, list):
        raise ValueError(
            f"the tasks of this {name} have losses or classes of their own, and those of a new task "
            "are not known; fit_task needs the same for all tasks."
        )


# --- data ---


def _label_among(tasks, task):
    """The label; of the default where tasks are numbers, which no text is, one that is free."""
    if not (isinstance(task, str) and task == DEFAULT and label_kind(tasks) in ("integers", "numbers")):
        return task
    last = tasks.max()
    return int(last // 1) + 1 if last - last == 0 else task  # after infinity there is none


def insert_label(tasks, task):
    """The labels with one more, sorted if they were, and its position."""
    seen = f"the tasks of fit, which look like {readable(tasks[:3])}"
    refused = ValueError(f"task={task!r} cannot be sorted with {seen}; give a label of their type.")
    if np.ndim(task) and not isinstance(task, tuple):
        raise ValueError(
            f"task must be the label of the one new task; got {task!r:.100}. Weights are given as "
            "sample_weight=."
        )
    new = given = object_array([task])
    check_tasks(given, 1, "task")
    if tasks.dtype != object:
        try:
            new = np.asarray([task], dtype=tasks.dtype) if tasks.dtype.kind in "mM" else plain_array([task])
        except (TypeError, ValueError):
            raise refused from None
    moved = new.dtype.kind in "mM" and not isinstance(task, str) and label_keys(new) != label_keys(given)
    if new.ndim != 1 or moved or not of_one_kind(new, tasks):
        raise refused
    try:
        if find_tasks(new, tasks)[0] >= 0:
            raise ValueError(f"task={task!r} is known: it is one of the {len(tasks)} tasks of the model.")
        joined = _both(tasks, new)
        ranks = encode_tasks(joined)[1]
    except TypeError:
        raise refused from None
    is_sorted = (np.diff(ranks[:-1]) > 0).all()
    position = int(ranks[-1]) if is_sorted else len(tasks)
    return np.concatenate([joined[:position], joined[-1:], joined[position:-1]]), position


def _both(tasks, new):
    """The labels of both in an array where each is itself, not the nearest float."""
    joined = np.concatenate([tasks, new])
    exact = label_keys(joined) == [*label_keys(tasks), *label_keys(new)]
    return joined if exact else object_array([*tasks.tolist(), *new.tolist()])


def _read_rows(model, X, y, task, sample_weight, offset):
    """X, targets as numbers, and weights and offset, by name, of the new task."""
    X, labels = model._split(X)
    if labels is not None:
        labels = check_tasks(labels, len(labels), "the task column of X_new")
        own = find_tasks(labels, object_array([task])) == 0
        if not own.all():
            other = encode_tasks(labels[~own])[0].tolist()
            raise ValueError(f"the task column of X_new must hold task={task!r} only; got also {other[:5]}.")
    if np.ndim(y) == 2 and np.shape(y)[1] > 1:
        raise ValueError(f"y_new must hold one task, shape (n_samples,); got shape {np.shape(y)}.")
    y = model._check_target(y, has_rows_of_tasks=True)
    weight, offset = check_rows(X, y, sample_weight, offset)
    if model._target_.classes is None:
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y_new")
    y = model._target_.encode(y, np.ones(len(y), dtype=bool) if weight is None else weight > 0)
    if offset is None:
        model._refuse_without_offset()
    offset = shaped_offset(offset, y.shape, model._n_outputs)
    return model._check_features(X), y, {"sample_weight": weight, "offset": offset}


# --- model ---


def _with_row(V, position, row):
    """What has a row for every task with the one of a new task."""
    return np.insert(V, position, np.reshape(row, V.shape[1:]), axis=0)


def _fit_row(model, X, y, given):
    """Coefficients, intercepts, gap and parts of the new task: the best of the alternatives."""
    X, emphasis = model._scaled_rows(X, given["sample_weight"])
    X, own, problems = _problems(model, X, y, {**given, "task_weight": emphasis})
    options = {"max_iter": model.max_iter, "tol": model.tol, "verbose": model.verbose}
    results = [run(one, "fista", one.solved(X), **options) for one in problems]
    best = min(range(len(results)), key=lambda k: results[k].objective)
    result = results[best]
    w = problems[best].row(result.coef)
    b = result.intercept if own.all() else w[:, ~own]
    return model._unscaled(replace(result, coef=w[:, own])).coef, b, float(result.gap), result.parts


def _problems(model, X, y, given):
    """The columns of the new row w, which of them are features, and its problems.

    Intercepts that are pulled to their mean are coefficients as well, of a column of ones.
    """
    (alternatives, rows), loss, K = model._frozen_, model._target_.loss, model._n_outputs
    term = plain = make_term(make_task_data(X, y, **given), loss, model.fit_intercept)
    own, pull = np.ones(K * X.shape[1], dtype=bool), []
    if model.fit_intercept and model.intercept_alpha > 0:
        ones = np.ones((X.shape[0], 1))
        X = sparse.hstack([X, ones], format="csr") if sparse.issparse(X) else np.hstack([X, ones])
        term = make_term(make_task_data(X, y, **given), loss, False)
        own = np.tile(np.arange(X.shape[1]) < X.shape[1] - 1, K)
        pull = [Metric(np.reshape(model.mean_intercept_, (1, K)), model.intercept_alpha)]
    at, rest, right = np.flatnonzero(own), np.flatnonzero(~own), None
    if rows is not None:
        right = np.zeros((len(rows) + len(rest), len(own)))
        right[: len(rows), own], right[len(rows) :, ~own] = rows, np.eye(len(rest))
        at, rest = np.arange(len(rows)), np.arange(len(rows), len(right))
    problems = []
    for penalties in alternatives:
        parts = [*(RowPart(one, at) for one in penalties), *(RowPart(one, rest) for one in pull)]
        problems.append(RowProblem(term, parts, model.ridge * own, right).measured(plain, own))
    return X, own, problems


@dataclass(eq=False)
class RowPart:
    """A summand of the row, or of its code, at some places."""

    rough: RowPenalty
    at: np.ndarray

    quadratic, unsigned, finite = TaskQuadratic(1), None, True

    shape = property(lambda self: (1, len(self.at)))

    def of(self, z, whole):
        """What z holds there; `whole` says that it is all of z."""
        return z if whole else z[:, self.at]

    def prox(self, V, step):
        return self.rough.prox(V, step)

    def joint_units(self, unit):
        """The same units."""
        return unit

    def in_units(self, unit):
        """None: what is frozen compares features."""


class RowProblem(Problem):
    """Data term of one task + frozen penalties of the parts of its row + ridges/2 . w^2.

    w is the total of the parts, or what `right` makes of it.
    """

    solver, free, corrects = "fista", None, False
    turns = False  # what the other tasks are is about the features

    def __init__(self, term, parts, ridges, right=None):
        self.data_term, self.term = term, term if right is None else FactorTerm(term, 0.0, right=right)
        self.shape, self.parts, self.ridges, self.right = self.term.shape, parts, ridges, right
        self.ridge, self.size = float(np.max(ridges, initial=0.0)), 0.0  # the first for the length of steps
        self.whole = all(part.shape == self.shape for part in parts)  # every part has all places
        self.convex = all(part.rough.convex for part in parts)
        self.is_open = any(part.rough.is_open for part in parts)
        answered = not self.is_open or (self.ridge > 0 and right is None)
        self.certified = answered and all(part.rough.certified(part.shape) for part in parts)

    def start(self):
        """The parts at which the penalties start, or the solution with convex ones."""
        rough = [part.rough if part.rough.convex else part.rough.surrogate() for part in self.parts]
        if self.convex or None in rough:
            return self.zeros()
        parts = [RowPart(one, part.at) for one, part in zip(rough, self.parts, strict=True)]
        other = RowProblem(self.data_term, parts, self.ridges, self.right)
        other.size = self.size
        return run(other).parts

    def solved(self, X):
        """The parts at the optimum in any units where all is quadratic and none shares a place; else None.

        The new row less the centre is R c, R of its prior and c among the rows of X R, if these are fewer.
        """
        term, n = self.term, self.shape[1]
        quadratic = all(type(part.rough) is Metric and not part.rough.is_open for part in self.parts)
        apart = sum(len(part.at) for part in self.parts) == n and self.shape[0] == 1
        if not (
            quadratic and apart and term.loss.quadratic and self.right is None and min(X.shape) <= MOST_SOLVED
        ):
            return None

        def root(V):
            out = np.empty_like(V)
            for part in self.parts:
                out[part.at] = part.rough.root(V[part.at], self.ridges[part.at].max(initial=0.0))
            return out

        z, among = self.total(self.zeros()).T, np.eye(n)
        z -= root(root(self.ridges[:, None] * z))
        if len(rows := X.toarray() if sparse.issparse(X) else X) < n:
            among = np.linalg.qr(root(rows.T.astype(float)))[0]
        R, times = root(among), term.curvature_at()
        A = np.vstack([times(row[None]) for row in np.ascontiguousarray(R.T)])
        z -= R @ np.linalg.solve(np.eye(len(A)) + A @ R, R.T @ term.gradient_at(z.T).T)
        return [part.of(z.T, self.whole) for part in self.parts]

    def row(self, z):
        """w."""
        return z if self.right is None else z @ self.right

    def total(self, parts):
        """w, or its code."""
        if self.whole:
            return super().total(parts)
        z = np.zeros(self.shape)
        for part, V in zip(self.parts, parts, strict=True):
            z[:, part.at] += V
        return z

    def zeros(self):
        """The parts at which the penalties start."""
        return [part.rough.start(part.shape) for part in self.parts]

    def null_penalty(self):
        return self.penalty_value(self.zeros())

    def penalty_value(self, parts):
        own = sum(part.rough.value(V) for part, V in zip(self.parts, parts, strict=True))
        return own + self.smooth_penalty_value(parts, self.total(parts))

    def smooth_penalty_value(self, parts, total):
        """The ridges alone."""
        return 0.5 * float((self.ridges * self.row(total) ** 2).sum())

    def smooth_gradients(self, parts, total, G):
        G = G + self._back(self.ridges * self.row(total))
        return [part.of(G, self.whole) for part in self.parts]

    def _back(self, Z):
        """The transpose of `row`."""
        return Z if self.right is None else Z @ self.right.T

    def measured(self, plain, own):
        """The problem, its scale taken from a data term with free intercepts at zero and at the start.

        `own` are the coefficients among the entries of w; the size of a gradient without a certificate.
        """
        start = self.row(self.total(self.zeros()))[:, own]
        for W in (np.zeros_like(start), start):
            image = plain.image(W)
            b = plain.intercept(W, image, None)
            size = plain.value(W, image, b) if self.certified else np.linalg.norm(plain.gradient(W, image, b))
            self.size = max(self.size, float(size))
        if self.certified:  # constant targets: an intercept that is not free cannot be exact
            self.size = max(self.size, 1e-8 * self.evaluate(self.zeros())[3])
        return self

    def scale(self, *known):
        return self.size

    def dual_cost(self, dual, W, parts):
        """That of `Problem`; the ridges have a dual variable of their own, z."""
        z = self.ridges * self.row(W)
        if self.is_open:  # the ridges alone can answer the gradient
            z = np.where(self.ridges > 0, -dual.gradient, 0.0)
        G = dual.gradient + self._back(z)
        cost = 0.5 * float((z**2 / np.where(self.ridges > 0, self.ridges, np.inf)).sum())
        own = [(part.rough, part.of(G, self.whole)) for part in self.parts]

        def total(theta):
            return theta**2 * cost + sum(penalty.conjugate(theta * g) for penalty, g in own)

        return max(penalty.dual_norm(g) for penalty, g in own), total

    def scaled_gap(self, *bounds):
        """That of `Problem`; conjugates of penalties are no parabolas."""
        return min(super().scaled_gap(*bounds), duality_gap(*bounds[:3], False, *bounds[3:]))
