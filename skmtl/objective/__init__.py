"""Data terms: what the rows say about W, with the intercepts optimised out.

Several forms with the same methods: `RowsTerm` works on rows with a pointwise loss, `OutputsTerm`
with one predictor per class, `RootTerm` with the root of the squared error, `MomentsTerm` on
per-task second moments with the squared loss.

`image(W)` is the linear part of an evaluation (all passes over the data are in it and in
`gradient`), so that a solver may combine images instead of computing new ones.
"""

from ..losses import RootSquaredError
from ..statistics import TaskStatistics
from ._base import DENSE_FEATURES
from ._joint import OutputsTerm, PerTask, RootTerm
from ._moments import MomentsTerm
from ._rows import RowsTerm

__all__ = [
    "DENSE_FEATURES",
    "MomentsTerm",
    "OutputsTerm",
    "RootTerm",
    "RowsTerm",
    "make_term",
    "moments_pay",
]


def make_term(data, loss, fit_intercept=True, intercept_alpha=0.0):
    """The data term in its cheapest form; `loss` may be a list with one loss per task."""
    if isinstance(loss, list):
        loss = loss[0] if all(other == loss[0] for other in loss) else PerTask(loss, data)
    if loss.quadratic and (moments_pay(data) or _in_other_units(data)):
        stats = TaskStatistics.from_data(data)
        return MomentsTerm(stats, data.scale, fit_intercept, intercept_alpha, data)
    form = (
        RootTerm if isinstance(loss, RootSquaredError) else RowsTerm if loss.n_outputs == 1 else OutputsTerm
    )
    return form(data, loss, fit_intercept, intercept_alpha)


def _in_other_units(data):
    """Whether features differ so much in their units that products of rows would lose the small ones."""
    return data.n_designs * data.n_features**2 <= 1e7 and data.graded


def moments_pay(data):
    """Whether an iteration on moments is cheaper than one on rows, and they fit in memory (1 GB)."""
    p, designs, n_rows = data.n_features, data.n_designs, data.y.size
    entries = designs * p * p
    small = entries <= 1e7 or entries <= 8 * n_rows * p
    few = 300 if designs == data.n_tasks else 0  # so few features pay anyway, but not with many tasks on each
    return p <= max(2 * n_rows / data.n_tasks, few) and small and entries <= 1.25e8
