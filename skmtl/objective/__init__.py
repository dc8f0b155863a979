"""The objective: data terms, problems and their certificate.

A data term is what the rows say about W, with the intercepts optimised out. Several forms with the same
methods: `RowsTerm` works on rows with a pointwise loss, `OutputsTerm` with one predictor per class,
`RootTerm` with the root of the squared error, `MomentsTerm` on per-task second moments with the squared
loss, `FactorTerm` on a factor of W. `image(W)` is the linear part of an evaluation (all passes over the
data are in it and in `gradient`), so that a solver may combine images instead of computing new ones.

A `Problem` adds penalties to it.
"""

from ._base import (
    DENSE_FEATURES,
    PREDICTOR_ROUNDING,
    DualPoint,
    aside,
    eigenvectors,
    graded,
    inverse_of,
    several,
    shared_step,
    tilted,
    units,
)
from ._certificate import duality_gap
from ._factor import FactorTerm
from ._forms import (
    by_products,
    comes_apart,
    few_rows,
    make_term,
    moments_pay,
    row_moments,
    rows_pay,
    squared_model,
)
from ._joint import OutputsTerm
from ._moments import MomentsTerm, RowMoments
from ._problem import Problem, fitting_units
from ._root import RootTerm
from ._rows import RowsTerm

__all__ = [
    "DENSE_FEATURES", "PREDICTOR_ROUNDING", "DualPoint", "FactorTerm", "MomentsTerm", "OutputsTerm",
    "Problem", "RootTerm", "RowMoments", "RowsTerm", "aside", "by_products", "comes_apart", "duality_gap",
    "eigenvectors", "few_rows", "fitting_units", "graded", "inverse_of", "make_term", "moments_pay",
    "row_moments", "rows_pay", "several", "shared_step", "squared_model", "tilted", "units",
]  # fmt: skip
