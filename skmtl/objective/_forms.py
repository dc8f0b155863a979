"""Which form of the data term serves."""

from scipy.sparse import issparse

from .._threads import loop_pays
from ..losses import SquaredError
from ..penalties import TaskQuadratic
from ..statistics import TaskStatistics
from ._joint import OutputsTerm, PerTask
from ._moments import MomentsTerm, RowMoments
from ._root import RootTerm
from ._rows import RowsTerm

LEAST_ENTRIES, MOST_ENTRIES = 1e6, 1.25e8  # of second moments that are to pay; 1 GB


def make_term(data, loss, fit_intercept=True, intercept_alpha=0.0, x_common=None, apart=False):
    """The data term in its cheapest form; `loss` may be a list with one loss per task.

    `data` is TaskData, or TaskStatistics for the squared loss, every task counting the same; `x_common` has
    been taken off its features for all tasks with intercepts that are tied. `apart`: see `comes_apart`.
    """
    if data.n_tasks == 1:
        intercept_alpha = 0.0  # an only intercept is the mean that it is pulled to
    if isinstance(data, TaskStatistics):
        if isinstance(loss, list) or not loss.quadratic:
            raise ValueError(f"statistics are enough for the squared loss only, not for {loss!r}.")
        return MomentsTerm(data, 1.0 / data.weight, fit_intercept, intercept_alpha, x_common=x_common)
    if isinstance(loss, list):
        loss = loss[0] if all(other == loss[0] for other in loss) else PerTask(loss, data)
    few = data.n_designs * data.n_features**2 <= 1e7
    if loss.quadratic and apart and rows_pay(data) and not data.graded:
        return RowsTerm(data, loss, fit_intercept, intercept_alpha, x_common)
    # features may differ so much in their units that products of rows would lose the small ones
    if loss.quadratic and (moments_pay(data) or (few and data.graded)):
        stats = TaskStatistics.from_data(data)
        return MomentsTerm(stats, data.scale, fit_intercept, intercept_alpha, data, x_common)
    form = OutputsTerm if loss.n_outputs > 1 else RowsTerm if loss.pointwise else RootTerm
    return form(data, loss, fit_intercept, intercept_alpha, x_common)


def squared_model(term, eta, above=False, apart=False):
    """The data term of a squared loss with about the curvature of another at eta, or with one above it."""
    rows = term.majorant_model(eta) if above else term.quadratic_model(eta)
    return make_term(rows, SquaredError(), term.fit_intercept, term.intercept_alpha, term.x_common, apart)


def by_products(term):
    """The term for solvers that need gradients only: rows of many tasks are read once, not twice.

    So they are in the place of moments that are larger, unless a product of them would lose small features.
    """
    data = term.data if term.on_moments else None
    fewer = data is not None and rows_pay(data) and not data.graded
    if term.products is None and (fewer or isinstance(term, RowsTerm)):
        term.products = row_moments(term)
    return term if term.products is None else term.products


def row_moments(term):
    """The squared loss of many tasks on their rows, None where that does not apply."""
    data = term.data if term.loss.quadratic else None
    if data is None or data.indptr is None or issparse(data.X) or term.tied_intercepts:
        return None
    return RowMoments(data, term.fit_intercept) if loop_pays(*term.shape) else None


def comes_apart(penalty, n_tasks):
    """Whether a penalty is quadratic and leaves a problem of its own to each task, but for their mean."""
    if penalty.learned is not None or len(parts := penalty.parts()) > 1:
        return False
    rough, smooth = parts[0].split()
    return rough is None and TaskQuadratic.of(smooth, n_tasks).separate


def rows_pay(data):
    """Whether the system of each of many tasks is smaller on its rows than on its features."""
    p = data.n_features
    many = data.indptr is not None and not issparse(data.X) and loop_pays(data.n_tasks, 1)
    smaller = len(data.y) < data.n_tasks * p or data.n_tasks * p * p > MOST_ENTRIES
    return (many and smaller) or few_rows(data)


def few_rows(data):
    """Whether tasks, though not many, have so few rows for their features that systems of these pay.

    The loops over them are compiled; less would not pay for loading Numba.
    """
    size = data.n_tasks * data.n_features
    small = data.indptr is None or issparse(data.X) or size * data.n_features < LEAST_ENTRIES
    return not small and not loop_pays(data.n_tasks, 1) and 2 * len(data.y) < size


def moments_pay(data):
    """Whether an iteration on moments is cheaper than one on rows, and they fit in memory (1 GB)."""
    p, designs, n_rows = data.n_features, data.n_designs, data.y.size
    entries = designs * p * p
    small = entries <= 1e7 or entries <= 8 * n_rows * p
    few = 300 if designs == data.n_tasks else 0  # so few features pay anyway, but not with many tasks on each
    return p <= max(2 * n_rows / data.n_tasks, few) and small and entries <= MOST_ENTRIES
