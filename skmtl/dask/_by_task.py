"""Tasks around a common model where all rows of a task are in one partition: what is its own stays there.

Given the common model each task has a system of its own. The partitions send what these say of the common
model, a matrix (n_features, n_features) and a vector; coefficients of tasks are asked for later, if at all.
"""

from copy import copy

import numpy as np

from .._batches import holds_rows
from .._data import task_data
from .._labels import plain_array
from .._sklearn import num_samples
from .._threads import one_blas_thread
from ..linear_model import Fitting
from ..losses import SquaredError
from ..objective import make_term
from ..solvers import SolverResult, inverse_of_mean, make_problem_of, task_inverses_of
from ._partitions import dd, delayed, delayed_rows

INTERCEPT = "(intercept)"  # its column beside those of the features


class TaskSystems:
    """The systems of the tasks of a partition, given what they share; the model knows its columns."""

    def __init__(self, model, X, y, tasks, weight):
        self.model = model = copy(model)
        fitting = Fitting.of_rows(model, X, y, tasks, weight)
        data, options = model._scaled(fitting.data), (model.fit_intercept, 0.0)
        self.unit = None
        if model.intercept_alpha and model.fit_intercept:
            X, y, codes, weight, _ = fitting.rows  # one more feature, in units in which alpha is right
            self.unit = np.sqrt(model.alpha / model.intercept_alpha)
            X = np.column_stack([X, np.full(len(y), self.unit)])
            data, options = task_data(X, y, codes, weight, None, None, model.tasks_), (False, 0.0)
        term = make_term(data, SquaredError(), *options, apart=True)
        quadratic = make_problem_of(term, model._omega(), model.ridge).parts[0].quadratic
        found = task_inverses_of(term, quadratic)
        if found is None:
            raise ValueError(f"{term.n_features} features are too many for systems of the tasks.")
        self.term, self.quadratic, self.inverse = found
        self.mean_first = self.quadratic.mean < self.quadratic.deviations
        W = np.zeros(self.term.shape)
        image = self.term.image(W)
        self.R = -self.term.gradient(W, image, self.term.intercept(W, image, None))
        self.V = self.inverse(self.R)

    def of_mean(self):
        """System (p, p) of what all tasks share and its right-hand side (p,): these are sums over tasks."""
        system, share = self.inverse.mean_system(self.quadratic)
        return system, share * self.V.sum(axis=0), self.mean_first

    def coefficients(self, mean):
        """Coefficients (n_tasks, p) and intercepts (n_tasks,), from what is shared (p,)."""
        W = self.inverse.with_mean(self.R, self.V, mean, self.mean_first)
        if self.unit is not None:
            return W[:, :-1], self.unit * W[:, -1]
        b = self.term.restored(W, self.term.intercept(W, self.term.image(W), None))
        return self.model._unscaled(SolverResult(W, b, [W], 1, np.nan, np.nan, True, [])).coef, b


def _means_of(model, *rows):
    """(system, right-hand side, whether it is of the mean, hashes of the labels) of a partition, or None."""
    import pandas as pd

    if not holds_rows(rows[0], rows[-1]):
        return None
    with one_blas_thread():
        systems = TaskSystems(model, *rows)
        found = systems.of_mean()
    labels = systems.model.tasks_
    return *found, pd.util.hash_array(labels if labels.dtype.kind in "iufbmM" else labels.astype(object))


def _sum(parts):
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    hashes = np.sort(np.concatenate([part[3] for part in parts]))
    if (hashes[1:] == hashes[:-1]).any():
        raise ValueError(
            "fit_by_task needs all rows of a task in one partition, and some tasks are in several; "
            "shuffle(on=...) of a Dask DataFrame, with the column of the tasks, brings their rows together."
        )
    return sum(part[0] for part in parts), sum(part[1] for part in parts), parts[0][2], hashes


def _without_labels(found):
    """What the caller needs: of the labels their number."""
    return None if found is None else (*found[:3], len(found[3]))


def _frame_of(model, mean, *rows):
    """Coefficients of the tasks of a partition, with their intercepts, as a frame."""
    if not holds_rows(rows[0], rows[-1]):
        return _frame(model, np.empty((0, len(model._names()))), np.empty(0), None)
    with one_blas_thread():
        systems = TaskSystems(model, *rows)
        found = systems.coefficients(mean)
    return _frame(model, *found, systems.model.tasks_)


def _frame(model, W, b, tasks):
    import pandas as pd

    return pd.DataFrame(np.column_stack([W, b]), index=tasks, columns=[*map(str, model._names()), INTERCEPT])


def _local(model, frame, mean):
    """A fitted local estimator of the tasks in a frame of coefficients, of which `mean` is that of all."""
    frame, out = frame.sort_index(), copy(model)
    out.tasks_ = plain_array(frame.index.to_numpy())
    out.coef_, out.intercept_ = frame.to_numpy()[:, :-1], frame[INTERCEPT].to_numpy()
    out.mean_coef_, out.mean_intercept_ = mean[:-1], float(mean[-1])
    out.added_tasks_ = {}
    out._target_ = out._known_target()
    return out


def _predictions(model, frame, mean, X, tasks):
    import pandas as pd

    found = _local(model, frame, mean).predict(X, tasks=tasks) if num_samples(X) else np.empty(0)
    return pd.Series(found, index=getattr(X, "index", None))


class TaskModels:
    """Models of tasks around a common one, the coefficients of which stay in partitions.

    What `fit_by_task` of `MeanRegularizedRegressor` gives.

    Parameters
    ----------
    estimator : MeanRegularizedRegressor
        Unfitted, of `skmtl`; it knows the columns of the rows.
    rows : Partitions
        All rows of a task are in one of them.

    Attributes
    ----------
    coef_ : Dask DataFrame
        A row for each task, the index are the tasks; its partitions are those of the rows.
    intercept_ : Dask Series
        Their intercepts.
    mean_coef_ : ndarray of shape (n_features,)
        Mean of the coefficients of all tasks.
    mean_intercept_ : float
        Mean of the intercepts.
    n_tasks_ : int
        Number of tasks.

    Examples
    --------
    >>> import dask.array as da
    >>> from skmtl.dask import MeanRegularizedRegressor
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=4, n_samples=50, n_features=5, random_state=0)
    >>> X, y, tasks = (da.from_array(rows, chunks=100) for rows in (data.X, data.y, data.tasks))
    >>> MeanRegularizedRegressor(0.1).fit_by_task(X, y, tasks=tasks).coef_.compute().shape
    (4, 5)
    """

    def __init__(self, estimator, rows):
        self.estimator = estimator
        found = rows.sum(_sum, _means_of, estimator, finish=_without_labels)
        if found is None:
            raise ValueError("X has no rows.")
        system, right, mean_first, self.n_tasks_ = found
        mean = inverse_of_mean(system, mean_first) @ right
        meta = _frame(estimator, np.empty((0, len(estimator._names()))), np.empty(0), None)
        parts = rows.map(_frame_of, estimator, mean)
        self._frame = rows.kept(dd.from_delayed(parts, meta=meta, verify_meta=False))
        self._mean = rows.computed(self._frame.mean()).to_numpy()
        self.coef_, self.intercept_ = self._frame[list(meta.columns[:-1])], self._frame[INTERCEPT]
        self.mean_coef_, self.mean_intercept_ = self._mean[:-1], float(self._mean[-1])

    def predict(self, X, *, tasks=None):
        """Predict targets where the coefficients are.

        Parameters
        ----------
        X : Dask DataFrame or Array of shape (n_samples, n_features), or list of delayed partitions
            Features, in as many partitions as in the fit, each with rows of the tasks that it had there.
        tasks : Dask Series or Array of shape (n_samples,), or list, optional
            Task label of every row, unless the estimator has a `task_column`.

        Returns
        -------
        Dask Series of shape (n_samples,)

        Raises
        ------
        ValueError
            If the partitions are not as many; when computed also if a task is not in its partition.
        """
        parts = delayed_rows({"X": X, "tasks": tasks, "coef_": self._frame})
        model = delayed(self.estimator, traverse=False)
        predict = delayed(_predictions)
        found = [predict(model, one["coef_"], self._mean, one["X"], one["tasks"]) for one in parts]
        return dd.from_delayed(found, meta=(None, np.float64), verify_meta=False)

    def to_local(self):
        """All tasks in one estimator of `skmtl`, which is fitted and needs no Dask.

        Returns
        -------
        MeanRegularizedRegressor
        """
        return _local(self.estimator, self._frame.compute(), self._mean)
