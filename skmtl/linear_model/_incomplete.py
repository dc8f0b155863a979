"""Rows that lack whole sources of features: the patterns of available sources are the tasks."""

from collections.abc import Mapping
from numbers import Integral
from typing import Annotated, Any

import numpy as np

from .._columns import column_names, find_column
from .._inputs import as_target
from .._sklearn import StrOptions
from ..penalties import L2, Features
from ..statistics import TaskStatistics
from ._base import LinearClassifier, LinearModel, NonnegativeRegressor, estimator


@estimator
class IncompleteMultiSource(LinearModel):
    """%(Kind)s on several sources of features, of which rows lack some as a whole.

    Each pattern of available sources is a task t with a model of its own on the columns S_t of these
    sources; a feature is used by all patterns that have it or by none. Nothing is imputed. Minimises,
    over W (n_patterns, n_features) with W_tj = 0 for j not in S_t, and b,

    .. math::

        \\sum_t c_t \\sum_{i \\in N_t} s_{ti} %(row_loss)s
        + \\alpha \\sum_j \\| W_{:,j} \\|_2

    with N_t the rows that have at least the sources of the pattern (see `rows`). X is an array or a
    data frame of numbers, with NaN in all columns of a source that a row lacks.

    The patterns take the place of tasks: `tasks`, `task_column`, a 2-D y, `mean_alpha` (a column that
    a pattern lacks has no shared coefficient) and ``handle_unknown="average"`` are refused. A row is
    predicted by the pattern with the most sources among the fitted ones whose sources it all has (the
    first in `tasks_` of several): by its own if that was seen in fit.

    Parameters
    ----------
    sources : list of blocks or mapping {name: block}, default=None
        The columns of each source by position or name, every column in one source. None: each
        column is a source.
    rows : {"containing", "equal"}, default="containing"
        Rows that train a pattern: those that have all its sources, so that a complete row trains
        every pattern; or those with exactly its sources, so that each row trains one.

    Attributes
    ----------
    patterns_ : ndarray of shape (n_tasks, n_sources) of bool
        The sources of each pattern. In `tasks_` it is called after those that it lacks: "complete",
        "without pet", "without mri, pet", with the keys of `sources`, numbers, or names of columns.
    support_ : ndarray of int
        Positions of the features in use.

    Notes
    -----
    Made for a few patterns: with many, as from values missing one by one, rows are repeated often. The
    program of the authors divides the rows, ``rows="equal"``; with "containing" patterns of few rows
    learn from the others as well. It pays where sources are correlated, so that coefficients depend on
    what else is there; for independent sources imputing the mean is as good or better.

    References
    ----------
    Yuan, Wang, Thompson, Narayan & Ye (2012), Multi-source feature learning for joint analysis of
    incomplete multiple heterogeneous neuroimaging data, NeuroImage 61,
    https://doi.org/10.1016/j.neuroimage.2012.03.059

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import IncompleteMultiSource%(Model)s
    >>> X = np.random.default_rng(0).normal(size=(60, 5))
    >>> y = np.sign(X[:, 0] + X[:, 3])
    >>> X[:20, 3:] = np.nan
    >>> model = IncompleteMultiSource%(Model)s(0.05, sources={"mri": [0, 1, 2], "pet": [3, 4]}).fit(X, y)
    >>> model.tasks_.tolist(), model.patterns_.tolist()
    (['complete', 'without pet'], [[True, True], [True, False]])
    """

    sources: Annotated[Any, None, "array-like", Mapping] = None
    rows: Annotated[str, StrOptions({"containing", "equal"})] = "containing"
    # what patterns leave no room for
    task_column: Annotated[None, None] = None
    handle_unknown: Annotated[str, StrOptions({"error"})] = "error"
    mean_alpha: Annotated[None, None] = None

    _predicts_by_task = False  # of a task that is passed
    _takes_statistics = False

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.input_tags.allow_nan = True
        tags.target_tags.multi_output = False
        return tags

    def _penalty(self):
        return Features(L2(self.alpha))

    def _prepare(self, data):
        if isinstance(data, TaskStatistics):
            raise ValueError(f"{type(self).__name__} reads its tasks from the rows; fit it on X and y.")

    def _refuse_parts(self):
        if self.rows == "containing":
            raise ValueError(
                "with rows='containing' a row trains several patterns and would be in several parts of the "
                "data; rows='equal' lets it train one."
            )

    # --- fit ---

    def _fit_inputs(self, X, y, tasks, sample_weight, offset=None):
        """Features, y, patterns, weights, offset; a row is there once for every pattern that it trains."""
        X, y, _, sample_weight, offset = super()._fit_inputs(X, y, tasks, sample_weight, offset)
        self._sources_, self._source_of_ = read_sources(self.sources, self.n_features_in_, column_names(X))
        X = self._numbers(X)
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        found = self._available(X)
        self._set_patterns(found[weight > 0])
        trains = contains(found, self.patterns_) & (weight > 0)[:, None]
        if self.rows == "equal":
            trains &= found.sum(axis=1)[:, None] == self.patterns_.sum(axis=1)
        codes, rows = np.nonzero(trains.T)
        offset = None if offset is None else offset[rows]
        return np.where(self._owned_[codes], X[rows], 0.0), y[rows], codes, weight[rows], offset

    def _set_patterns(self, found):
        """The tasks, sorted by label, and which columns each of them has."""
        patterns = np.unique(found, axis=0)
        missing = [", ".join(self._missing(pattern)) for pattern in patterns]
        labels = np.array([f"without {names}" if names else "complete" for names in missing])
        if len(set(labels)) < len(labels):
            raise ValueError(f"sources: the names {self._sources_[:10]} do not tell the patterns apart.")
        order = np.argsort(labels)
        self.tasks_, self.patterns_ = labels[order], patterns[order]
        self._owned_ = self.patterns_[:, self._source_of_]
        self._layout_ = "single" if len(labels) == 1 else "stacked"

    def _missing(self, pattern):
        """Names of the sources that a pattern lacks."""
        return [name for name, there in zip(self._sources_, pattern, strict=True) if not there]

    def _start(self, data):
        parts = super()._start(data)  # of the patterns of the fit before
        return parts and [part * np.tile(self._owned_, self._n_outputs) for part in parts]

    def _store(self, result):
        for W in (result.coef, *result.parts):
            W *= np.tile(self._owned_, self._n_outputs)  # exactly zero, where rounding moved it
        return super()._store(result)

    def _set_attributes(self, result):
        self.support_ = np.flatnonzero(np.reshape(self.coef_, (-1, self.n_features_in_)).any(axis=0))

    # --- reading X, y and tasks ---

    def _refuse_two_sources(self, tasks):
        if tasks is not None:
            raise ValueError(
                f"tasks was given, but the tasks of {type(self).__name__} are the patterns of missing "
                "sources in X."
            )

    def _check_target(self, y, has_rows_of_tasks):
        shape = np.shape(as_target(y))
        if len(shape) == 2 and shape[1] > 1:
            raise ValueError(
                f"y must have shape (n_samples,); got {shape}. The tasks of {type(self).__name__} "
                "are the patterns of missing sources in X, not the columns of y."
            )
        return super()._check_target(y, has_rows_of_tasks=True)

    def _numbers(self, X):
        """X as an array of floats, NaN where it is missing."""
        return self._check_features(X, accept_sparse=False, ensure_all_finite="allow-nan")

    def _available(self, X):
        """Which sources a row has, (n_samples, n_sources); a ValueError for a part of one, or for none."""
        size = np.bincount(self._source_of_)
        n_missing = (np.isnan(X).astype(np.float64) @ np.eye(len(size))[self._source_of_]).astype(np.intp)
        part = (n_missing > 0) & (n_missing < size)
        if part.any():
            i, s = np.argwhere(part)[0]
            raise ValueError(
                f"row {i} of X has {n_missing[i, s]} of the {size[s]} columns of source "
                f"{self._sources_[s]!r} missing (NaN); a source is missing as a whole or not at all. "
                f"Rows with a part of a source: {int(part.any(axis=1).sum())}."
            )
        found = n_missing == 0
        if not found.any(axis=1).all():
            i = int(np.argmin(found.any(axis=1)))
            raise ValueError(f"row {i} of X has no source at all: every column is NaN. Drop such rows.")
        return found

    # --- predict ---

    def _predict_inputs(self, X, tasks):
        """X with zeros for what the model of a row does not use, and the position of its pattern."""
        X = self._numbers(super()._predict_inputs(X, tasks)[0])
        found = self._available(X)
        size = np.where(contains(found, self.patterns_), self.patterns_.sum(axis=1), 0)
        codes = size.argmax(axis=1)
        if not size.any(axis=1).all():
            i = int(np.argmin(size.any(axis=1)))
            raise ValueError(
                f"no pattern seen in fit can predict row {i} of X, which lacks the source(s) "
                f"{self._missing(found[i])}; fitted patterns: {self.tasks_.tolist()[:5]}."
            )
        return np.where(self._owned_[codes], X, 0.0), codes


def contains(found, patterns):
    """Whether a row has all sources of a pattern, (n_samples, n_patterns)."""
    return (~found).astype(np.float64) @ patterns.T.astype(np.float64) == 0


def read_sources(sources, n_columns, names):
    """Names of the sources and the source of every column, (n_columns,)."""
    if sources is None:
        return [str(name) for name in (range(n_columns) if names is None else names)], np.arange(n_columns)
    if not isinstance(sources, Mapping):
        sources = dict(enumerate(sources))
    source_of = np.full(n_columns, -1)
    for s, (label, block) in enumerate(sources.items()):
        block = [block] if isinstance(block, (str, Integral)) else list(block)
        if not block:
            raise ValueError(f"sources: source {label!r} has no column.")
        for key in block:
            j = find_column(key, names, n_columns, "sources: ")
            if source_of[j] >= 0:
                raise ValueError(f"sources: column {key!r} appears twice; every column is in one source.")
            source_of[j] = s
    rest = np.flatnonzero(source_of < 0).tolist()
    if rest:
        rest = rest if names is None else [names[j] for j in rest]
        raise ValueError(f"sources: the column(s) {rest[:5]} of X are in no source.")
    return [str(label) for label in sources], source_of


@estimator
class IncompleteMultiSourceRegressor(IncompleteMultiSource, NonnegativeRegressor):
    @property
    def partial_fit(self):
        """Not available: patterns are found in all rows at once."""
        raise AttributeError(f"{type(self).__name__} reads its tasks from the rows, all at once.")


@estimator
class IncompleteMultiSourceClassifier(IncompleteMultiSource, LinearClassifier): ...
