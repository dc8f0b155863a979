"""Tasks that use the same features: group-sparse models."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from scipy import sparse

from .._columns import place_of
from .._parameters import POSITIVE, RATIO
from .._sklearn import StrOptions
from .._tables import shown_names
from ..penalties import L2, MCP, SCAD, CappedL1, Features, Groups, LInf, Ridge, SparseL2, SqrtL1, SquaredL1
from ._base import LinearClassifier, LinearModel, LinearRegressor, NonnegativeRegressor, estimator

NORMS = {
    "l2": L2, "linf": LInf, "sparse": SparseL2, "exclusive": SquaredL1, "mcp": MCP, "scad": SCAD,
    "capped": CappedL1, "sqrt": SqrtL1,
}  # fmt: skip


@estimator
class GroupSparse(LinearModel):
    """%(Kind)s in which each feature, or group of features, is used by all tasks or by none.

    Minimises, over W and b,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\alpha \\sum_g v_g f(W_{:,g}), \\qquad f = \\| \\cdot \\|_2 \\text{ or another norm}

    where g runs over the features, with v_g = 1, or over groups of them: then W_{:,g} is the block of all
    tasks and all columns of the group.

    Parameters
    ----------
    norm : {"l2", "linf", "sparse", "exclusive", "mcp", "scad", "capped", "sqrt"}, default="l2"
        The function f of the coefficients v of one feature across tasks:

        * "l2": ``||v||_2``; "linf": ``||v||_inf``, of similar size in all tasks;
        * "sparse": ``(1 - rho) ||v||_2 + rho ||v||_1``, not all tasks use a feature that some use;
        * "exclusive": ``1/2 ||v||_1^2``, tasks compete for features;
        * "mcp", "scad": concave functions of ``||v||_2`` with slope 1 at zero that are constant from
          ``gamma alpha`` on; "capped": ``min(||v||_1, gamma alpha)``; "sqrt": ``sqrt(||v||_1)``. Large
          coefficients are shrunken less, or not at all; the solution may be a local one. Where classes
          can be separated they need ``ridge > 0``: a flat penalty bounds nothing.
    l1_ratio : float in [0, 1], default=0.5
        rho of "sparse"; other norms ignore it.
    gamma : float, default=3.0
        Concavity of "mcp" (> 1), "scad" (> 2) and "capped" (> 0), the smaller the more concave; other
        norms ignore it.
    feature_groups : array-like of shape (n_features,) or callable, optional
        Label of the group of every feature, such as `skmtl.feature_groups` finds them for the columns that
        splines or indicators make of one feature; there may be one for the task column as well. A callable
        is given the names of the features and returns the labels: at the end of a Pipeline
        ``feature_groups(names)``, with the names of the features that go into it.
    feature_weight : array-like of shape (n_features,) or (n_groups,), or mapping, optional
        Weight v_g of every feature, alike within a group, or of every group in the order of the sorted
        labels; or {label or name: weight} for some of them. 0: not penalised, and then without a duality
        gap. Default: 1, and for groups the root of the number of their features.

    Attributes
    ----------
    support_ : ndarray of int
        Positions of the features in use (of the deviations, with `mean_alpha`).
    feature_groups_ : ndarray of shape (n_features,)
        Label of the group of every feature; without groups its name, or position.
    support_groups_ : ndarray
        Labels of the groups in use, in the order of their first features.

    References
    ----------
    Obozinski, Taskar & Jordan (2010), Joint covariate selection and joint subspace selection for
    multiple classification problems, Statistics and Computing 20,
    https://doi.org/10.1007/s11222-008-9111-x ("l2");
    Quattoni, Carreras, Collins & Darrell (2009), An efficient projection for l1,infinity
    regularization, ICML, https://doi.org/10.1145/1553374.1553484;
    Simon, Friedman, Hastie & Tibshirani (2013), A sparse-group Lasso, J. Computational and Graphical
    Statistics 22, https://doi.org/10.1080/10618600.2012.681250;
    Zhou, Jin & Hoi (2010), Exclusive Lasso for multi-task feature selection, AISTATS;
    Breheny & Huang (2015), Group descent algorithms for nonconvex penalized linear and logistic
    regression models with grouped predictors, Statistics and Computing 25,
    https://doi.org/10.1007/s11222-013-9424-2 ("mcp", "scad");
    Yuan & Lin (2006), Model selection and estimation in regression with grouped variables, JRSS B 68,
    https://doi.org/10.1111/j.1467-9868.2005.00532.x (groups);
    Gong, Ye & Zhang (2013), Multi-stage multi-task feature learning, JMLR 14 ("capped");
    Lozano & Swirszcz (2012), Multi-level Lasso for sparse multi-task regression, ICML ("sqrt")

    Examples
    --------
    >>> from skmtl import GroupSparse%(Model)s
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=5, n_samples=30, n_features=20, random_state=0)
    >>> model = GroupSparse%(Model)s(alpha=0.05).fit(data.X, data.y, tasks=data.tasks)
    >>> model.coef_.shape
    (5, 20)
    """

    norm: Annotated[str, StrOptions(set(NORMS))] = "l2"
    l1_ratio: Annotated[float, RATIO] = 0.5
    gamma: Annotated[float, POSITIVE] = 3.0
    feature_groups: Annotated[Any, None, callable, "array-like"] = None
    feature_weight: Annotated[Any, None, Mapping, "array-like"] = None

    _grouping_ = None  # labels and weights of the fit, where features are not penalised one by one

    @property
    def _takes_statistics(self):
        """Whether moments of rows serve, which have no names."""
        by_name = callable(self.feature_groups) or isinstance(self.feature_weight, Mapping)
        return super()._takes_statistics and not by_name

    def _prepare(self, data):
        place = place_of(self.task_column, self._all_names())
        self.feature_groups_ = labels = group_labels(self.feature_groups, self._names(), place)
        self._grouping_ = None
        if self.feature_groups is not None or self.feature_weight is not None:
            self._grouping_ = labels, group_weights(self.feature_weight, labels)

    def _penalty(self):
        shape = {}
        if self.norm == "sparse":
            shape = {"l1_ratio": self.l1_ratio}
        elif self.norm in ("mcp", "scad", "capped"):
            shape = {"gamma": self.gamma, "scale": self.alpha or 1.0}  # at alpha = 0 any
        function = NORMS[self.norm](self.alpha, **shape)
        return Features(function) if self._grouping_ is None else Groups(function, *self._grouping_)

    def _set_attributes(self, result):
        penalised = result.parts[0].reshape(-1, np.shape(self.coef_)[-1])
        self.support_ = np.flatnonzero(penalised.any(axis=0))
        used, first = np.unique(self.feature_groups_[self.support_], return_index=True)
        self.support_groups_ = used[np.argsort(first)]


def group_labels(groups, names, place_of_tasks=None):
    """Labels (n_features,) of the groups of features of these names: names where there are no groups.

    `groups` are labels, maybe one for the task column at its place as well, or a function of the names.
    """
    if groups is None:
        return np.array(names)
    if callable(groups):
        groups = groups(np.array(shown_names("features", names)))
    labels = np.asarray(groups)
    if place_of_tasks is not None and labels.shape == (len(names) + 1,):
        labels = np.delete(labels, place_of_tasks)
    if labels.shape != (len(names),):
        raise ValueError(
            f"feature_groups must hold one label for each of {len(names)} features; got an array of shape "
            f"{labels.shape}."
        )
    try:
        np.unique(labels)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in labels.tolist()})
        raise ValueError(f"feature_groups must hold labels of one type; got {kinds}.") from None
    return labels


def group_weights(weight, labels):
    """Weights of the groups, in the order of the sorted labels; None: the default ones of `Groups`."""
    groups, of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if weight is None:
        return None
    if isinstance(weight, Mapping):
        own = dict(zip(groups.tolist(), np.sqrt(counts), strict=True))
        unknown = [key for key in weight if key not in own]
        if unknown:
            raise ValueError(
                f"feature_weight: {unknown[:5]} are no groups, or features; there are {list(own)[:5]}."
            )
        weight = list({**own, **weight}.values())
    weight = np.asarray(weight, dtype=np.float64)
    if weight.shape == of.shape:
        each, weight = weight, np.zeros(len(groups))
        weight[of] = each
        if not np.array_equal(weight[of], each):
            raise ValueError("feature_weight must be the same for all features of a group.")
    if weight.shape != groups.shape or not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError(
            f"feature_weight must hold one finite number >= 0 for each of {len(labels)} features or "
            f"{len(groups)} groups; got {weight!r}."
        )
    return weight


@estimator
class GroupSparseRegressor(GroupSparse, NonnegativeRegressor): ...


@estimator
class GroupSparseClassifier(GroupSparse, LinearClassifier): ...


@estimator
class MultiTaskLasso(LinearRegressor):
    """Multi-task Lasso with the parameters and the numbers of scikit-learn's class of that name.

    Minimises, for a shared design,

    .. math::

        \\tfrac{1}{2n} \\| Y - X W^\\top - 1 b^\\top \\|_F^2 + \\alpha \\sum_j \\| W_{:,j} \\|_2

    and accepts beyond that rows with task labels, missing labels and all common parameters.

    Parameters
    ----------
    copy_X : bool, default=True
        For compatibility; X is never overwritten.
    random_state : int, RandomState instance or None, default=None
        For compatibility; the solver is deterministic.
    selection : {"cyclic", "random"}, default="cyclic"
        For compatibility; the order of the updates does not change the solution.

    References
    ----------
    Obozinski, Taskar & Jordan (2010), Joint covariate selection and joint subspace selection for
    multiple classification problems, Statistics and Computing 20,
    https://doi.org/10.1007/s11222-008-9111-x

    Examples
    --------
    >>> from skmtl import MultiTaskLasso
    >>> model = MultiTaskLasso(alpha=0.1).fit([[0, 0], [1, 1], [2, 2]], [[0, 0], [1, 1], [2, 2]])
    >>> model.predict([[1, 1]]).round(6)
    array([[1., 1.]])
    """

    copy_X: Annotated[bool, "boolean"] = True
    random_state: Annotated[Any, "random_state"] = None
    selection: Annotated[str, StrOptions({"cyclic", "random"})] = "cyclic"

    def _penalty(self):
        return Features(L2(alpha=self.alpha))

    @property
    def sparse_coef_(self):
        """`coef_` as a CSR matrix."""
        return sparse.csr_matrix(self.coef_)


@estimator
class MultiTaskElasticNet(MultiTaskLasso):
    """Multi-task elastic net with the parameters and the numbers of scikit-learn's class of that name.

    Minimises, for a shared design, with rho the `l1_ratio`,

    .. math::

        \\tfrac{1}{2n} \\| Y - X W^\\top - 1 b^\\top \\|_F^2
        + \\alpha \\rho \\sum_j \\| W_{:,j} \\|_2 + \\tfrac{\\alpha (1 - \\rho)}{2} \\| W \\|_F^2

    and accepts beyond that rows with task labels, missing labels and all common parameters.

    Parameters
    ----------
    l1_ratio : float in [0, 1], default=0.5
        rho; 1 is the multi-task Lasso, 0 ridge regression.

    References
    ----------
    Zou & Hastie (2005), Regularization and variable selection via the elastic net, JRSS B 67,
    https://doi.org/10.1111/j.1467-9868.2005.00503.x

    Examples
    --------
    >>> from skmtl import MultiTaskElasticNet
    >>> model = MultiTaskElasticNet(alpha=0.1).fit([[0, 0], [1, 1], [2, 2]], [[0, 0], [1, 1], [2, 2]])
    >>> model.predict([[1, 1]]).round(6)
    array([[1., 1.]])
    """

    l1_ratio: Annotated[float, RATIO] = 0.5

    def _penalty(self):
        lasso = Features(L2(alpha=self.alpha * self.l1_ratio))
        return lasso + Ridge(alpha=self.alpha * (1 - self.l1_ratio))
