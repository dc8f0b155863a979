"""Which features, groups, tasks or coefficients are in use, by how often halves of the rows find them."""

from bisect import bisect_right
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed

from .._inputs import check_among
from .._tables import in_line, shown_names
from ..linear_model import Fitting
from ..statistics import TaskStatistics
from ._false_selections import ASSUMPTIONS, false_bound, on_grid
from ._grid import check_alphas
from ._path import check_linear
from ._split import TaskKFold

BEYOND = 2.0  # times the greatest strength for all rows: halves of them have greater ones
LISTED = 10  # names of a family that are printed


@dataclass(repr=False)
class StabilitySelection:
    """What halves of the rows select again and again, as `stability_selection` returns it.

    Everything but the strengths is a dictionary by family: "features", "groups", "tasks", "coefficients" or
    "changes".

    Parameters
    ----------
    alphas : ndarray of shape (n_alphas,)
        Strengths, falling.
    names : dict of {str: list}
        Names of the items of each family: features, groups or tasks, or pairs of (task, feature). Features
        without names have positions, which are printed as x0, x1, ...
    frequencies : dict of {str: ndarray of shape (n_alphas, n_items)}
        Share of the halves in which an item is among the first `n_first` and in use at that strength or a
        greater one: paths that rise.
    n_first : dict of {str: int}
        How many items each half lets in.
    bound : dict of {str: float}
        Bound of the expected number of false selections.
    threshold : float
        Share of the halves from which on an item is selected.
    assumption : str
        On which the bounds rest.

    See Also
    --------
    stability_selection : Makes it.
    skmtl.inspection.StabilityDisplay : A picture of the paths.

    Examples
    --------
    >>> from skmtl import GroupSparseRegressor, stability_selection
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=4, n_samples=30, random_state=0)
    >>> found = stability_selection(GroupSparseRegressor(), data.X, data.y, data.tasks, n_pairs=5)
    >>> list(found.names), found.frequencies["features"].shape[1]
    (['features'], 20)
    """

    alphas: np.ndarray
    names: dict
    frequencies: dict
    n_first: dict
    bound: dict
    threshold: float
    assumption: str

    @property
    def families(self):
        """Names of the families, as a list."""
        return list(self.names)

    @property
    def max_frequency(self):
        """Share of the halves that let each item in, {family: ndarray of shape (n_items,)}."""
        return {family: shares[-1] for family, shares in self.frequencies.items()}

    @property
    def selected(self):
        """Names of the selected items, the most frequent first, {family: list}."""
        return {family: [self.names[family][j] for j in self._ranked(family)] for family in self.names}

    def _ranked(self, family):
        """Positions of the selected items."""
        share = self.max_frequency[family]
        order = np.argsort(-share, kind="stable")
        return order[share[order] >= self.threshold - 1e-9]

    def __repr__(self):
        found = ", ".join(f"{len(own)} of {len(self.names[key])} {key}" for key, own in self.selected.items())
        return f"StabilitySelection({found})"

    def __str__(self):
        lines = []
        for family, names in self.names.items():
            chosen, shares = self._ranked(family), self.max_frequency[family]
            lines.append(
                f"{family}: {len(chosen)} of {len(names)} selected, in at least {self.threshold:.0%} of the "
                f"halves; expected false ones at most {self.bound[family]:.2g} ({self.assumption})"
            )
            shown = shown_names(family, names)
            lines += [f"  {shares[j]:4.0%}  {in_line(str(shown[j]))}" for j in chosen[:LISTED]]
            lines += [f"  and {len(chosen) - LISTED} more"] if len(chosen) > LISTED else []
        return "\n".join(lines)


def stability_selection(
    estimator, X, y, tasks=None, *, max_false=1.0, threshold=0.75, n_pairs=50, assumption="unimodal",
    alphas=50, eps=0.02, sample_weight=None, offset=None, random_state=0, n_jobs=None,
):  # fmt: skip
    r"""Select what a sparse model finds again and again in halves of the rows, with few false ones.

    The rows of every task are halved `n_pairs` times at random. On each half the model is solved along
    falling strengths until q items are in use, the first q (of those that enter at one strength the largest).
    Selected is what is in a share of at least `threshold` of all halves, with q as large as

    .. math:: E[V] \le \frac{C q^2}{p} \le \mathit{max\_false}

    allows, p the number of items and V that of the false ones among the selected. What the items are is up to
    the penalty of the estimator, and each kind is a family with a bound of its own:

    * "features", or "groups" of them, of a multi-task Lasso and its like (also the shared ones of `Dirty*`
      and `Robust*`); with `mean_alpha` those whose deviations from the shared model are not zero;
    * "coefficients" of one task and feature: of a Lasso, of ``norm="sparse"``, the private part of `Dirty*`;
    * "tasks": the outlier tasks of `Robust*`;
    * "changes" of a coefficient from one task to the next, of `Temporal*`.

    Parameters
    ----------
    estimator : linear estimator
        One with a sparse penalty; its `alpha` is ignored.
    X, y, tasks
        As in `skmtl.path`, rows only. Columns in different units want the same spread first.
    max_false : float, default=1.0
        Expected number of false selections that is allowed in each family.
    threshold : float, default=0.75
        Share of the halves, above 1/2.
    n_pairs : int, default=50
        Number of times that the rows are halved.
    assumption : {"unimodal", "none", "r-concave"}, default="unimodal"
        What is assumed of the bounds, see Notes.
    alphas : int or array-like of shape (n_alphas,), default=50
        Strengths for all halves, or how many of them: from twice `alpha_max` of all rows down.
    eps : float, default=0.02
        Least strength over the greatest, where `alphas` is a number.
    sample_weight, offset : array-like of shape (n_samples,) or (n_samples, n_tasks), optional
        As in `fit`.
    random_state : int, RandomState instance or None, default=0
        Seed of the halves.
    n_jobs : int, default=None
        Number of processes over pairs of halves.

    Returns
    -------
    StabilitySelection
        Print it, or use its `selected`, `max_frequency`, `frequencies` and `bound`.

    Raises
    ------
    TypeError
        If the estimator is not a linear one of this library.
    ValueError
        If an argument is malformed, the penalty gives no zeros, a task has a single row, or no q allows so
        few false selections.

    See Also
    --------
    skmtl.inspection.StabilityDisplay : A picture of the paths.
    skmtl.path : The solutions along one path.

    Notes
    -----
    With "none" C is 1 / (2 threshold - 1). The bound is then one of how many items are selected of those
    that a half lets in with a probability of at most q / p, without any assumption on the data beyond rows
    that are independent (Shah & Samworth, theorem 1). That all false items are such is an assumption, that
    of Meinshausen & Buehlmann: the model is no worse than guessing, and *chance favours none of the false
    items*. It fails where some are favoured: the columns with the largest spread, tasks with far fewer rows
    than others (an outlier needs more rows to tell), and features that stand for true ones with which they
    are closely correlated. Rows of one person or place in both halves are not independent either.

    "unimodal" and "r-concave" assume in addition that the share of pairs (of halves) that let a false item
    in is distributed in such a shape, over repetitions of the whole experiment. That cannot be checked.
    Their bounds are about a half and a fifth of the first one. "False" is what is independent of the target
    given the rest; in the parts of a decomposition, what is not in that part. In simulations with
    correlated features (docs/how-sure.md) all families stay below their bounds.

    What a penalty of your own selects it says by ``pattern(V)``, a vector function by `zeros`.

    References
    ----------
    Meinshausen & Buehlmann (2010), Stability selection, JRSS B 72,
    https://doi.org/10.1111/j.1467-9868.2010.00740.x;
    Shah & Samworth (2013), Variable selection with error control: another look at stability selection,
    JRSS B 75, https://doi.org/10.1111/j.1467-9868.2011.01034.x

    Examples
    --------
    >>> from skmtl import GroupSparseRegressor, stability_selection
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=4, n_samples=30, n_features=20, random_state=0)
    >>> found = stability_selection(GroupSparseRegressor(), data.X, data.y, data.tasks, n_pairs=10)
    >>> sorted(found.selected["features"]), found.bound["features"] <= 1
    ([10, 18, 19], True)
    >>> data.coef.any(axis=0).nonzero()[0].tolist()
    [1, 8, 10, 18, 19]
    """
    _check(estimator, X, max_false, threshold, n_pairs, assumption)
    fitting = Fitting.of(clone(estimator).set_params(alpha=1.0), X, y, tasks, sample_weight, offset)
    alphas = check_alphas(alphas, eps)
    if isinstance(alphas, Integral):
        alphas = BEYOND * fitting.alphas(alphas, eps)
    alphas = np.sort(alphas)[::-1]
    families = _families(fitting, max_false, (on_grid(threshold, n_pairs), n_pairs, assumption))
    pairs = _pairs(fitting, n_pairs, check_random_state(random_state))
    bare = Fitting(fitting.model, fitting.data, fitting.rows)  # to be sent without what was computed
    runs = Parallel(n_jobs=n_jobs)(delayed(_entries)(bare, pair, families, alphas) for pair in pairs)
    counts = {family: sum(run[family] for run in runs) for family in families}
    shares = {family: np.cumsum(own, axis=0) / (2 * n_pairs) for family, own in counts.items()}
    parts = [{key: own[k] for key, own in families.items()} for k in (0, 2, 3)]
    return StabilitySelection(alphas, parts[0], shares, *parts[1:], float(threshold), assumption)


def _check(estimator, X, max_false, threshold, n_pairs, assumption):
    """Refuse what is malformed."""
    check_linear(estimator, "stability_selection needs a linear estimator of skmtl")
    if isinstance(X, TaskStatistics):
        raise ValueError("stability_selection halves rows; got TaskStatistics in their place.")
    for name, value, kind, valid, wanted in [
        ("max_false", max_false, Real, lambda v: 0 < v < np.inf, "a number > 0"),
        ("threshold", threshold, Real, lambda v: 0.5 < v <= 1, "a share above 0.5, at most 1"),
        ("n_pairs", n_pairs, Integral, lambda v: v >= 1, "a positive integer"),
    ]:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, kind) or not valid(value):
            raise ValueError(f"{name} must be {wanted}; got {value!r}.")
    check_among("assumption", assumption, ASSUMPTIONS)


def _families(fitting, max_false, how):
    """{family: (names, mask of items, how many a half lets in, bound)}."""
    found = {}
    for family, (sizes, labels) in fitting.pattern().items():
        items = ~np.isnan(sizes.ravel())
        p = int(items.sum())
        q = bisect_right(range(1, p + 1), max_false, key=lambda q, p=p: false_bound(q, p, *how))
        if p and not q:
            raise ValueError(
                f"max_false={max_false} is too little for {p} {family}: where a half lets one in, up to "
                f"{false_bound(1, p, *how):.3g} false ones are expected. Raise max_false or threshold."
            )
        if p:
            names = [name for name, own in zip(fitting.names(family, labels), items, strict=True) if own]
            found[family] = names, items, q, false_bound(q, p, *how)
    if not found:
        raise ValueError(
            f"the penalty of {type(fitting.model).__name__} gives no exact zeros that select anything: "
            f"{fitting.model!r}. Use one that does, such as GroupSparseRegressor, DirtyRegressor, "
            "RobustRegressor, or MultiTaskRegressor(penalty=Entries(L1()))."
        )
    return found


def _pairs(fitting, n_pairs, rng):
    """Two halves of the rows in use of every task, n_pairs times."""
    y, codes, weight = fitting.rows[1:4]
    used = np.ones(y.shape, dtype=bool) if weight is None else (weight.T > 0).T
    if y.ndim == 2:
        used = ~np.isnan(y) & (used if used.ndim == 2 else used[:, None])
        counts, at, labels = used.sum(axis=0), np.flatnonzero(used.any(axis=1)), np.where(used, 0.0, np.nan)
        known = {"y": labels[at]}
    else:
        at = np.flatnonzero(used)
        known = {"tasks": np.zeros(len(at), dtype=np.intp) if codes is None else codes[at]}
        counts = np.bincount(known["tasks"])
    if counts.min() < 2:
        alone = fitting.model.tasks_[counts < 2]
        raise ValueError(
            "stability_selection halves the rows of every task, which takes two of each; "
            f"{len(alone)} task(s) have one: {alone.tolist()[:5]}. Leave them out or merge them."
        )
    splits = (next(TaskKFold(2, shuffle=True, random_state=rng).split(at, **known)) for _ in range(n_pairs))
    return [(at[one], at[other]) for one, other in splits]


def _entries(fitting, pair, families, alphas):
    """{family: in how many halves of a pair an item enters among the first, (n_alphas, n_items)}."""
    out = {family: np.zeros((len(alphas), own[1].sum())) for family, own in families.items()}
    for rows in pair:
        for family, (at, steps) in _first(fitting.part(rows), families, alphas).items():
            out[family][steps, at] += 1
    return out


def _first(half, families, alphas):
    """{family: (positions of the items that enter first, at which strengths)} of one half."""
    step = {family: np.full(own[1].sum(), len(alphas)) for family, own in families.items()}
    size = {family: np.zeros(len(own)) for family, own in step.items()}
    for k, (_, found) in enumerate(half.along(alphas, half.convex)):
        for family, (sizes, _) in half.pattern(found.parts).items():
            own = sizes.ravel()[families[family][1]] if family in families else np.zeros(0)
            new = np.flatnonzero(own)
            new = new[step[family][new] == len(alphas)] if len(new) else new
            if len(new):
                step[family][new], size[family][new] = k, own[new]
        if all(np.count_nonzero(step[family] <= k) >= own[2] for family, own in families.items()):
            break
    out = {}
    for family, (_, _, q, _) in families.items():
        at = np.lexsort((-size[family], step[family]))[:q]
        at = at[step[family][at] < len(alphas)]
        out[family] = at, step[family][at]
    return out
