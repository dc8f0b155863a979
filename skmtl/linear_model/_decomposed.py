"""Two kinds of structure at once: models that write W as a sum of two parts."""

from typing import Annotated

from .._parameters import RATIO
from .._sklearn import StrOptions
from ..penalties import L1, L2, Entries, Features, InfConv, LInf, Spectrum, Tasks
from ._base import LinearClassifier, LinearModel, LinearRegressor, NonnegativeRegressor, estimator

SHARED_NORMS = {"linf": LInf, "l2": L2}
SHARED_PARTS = {"features": lambda alpha: Features(L2(alpha)), "subspace": lambda alpha: Spectrum(L1(alpha))}


@estimator
class Dirty(LinearModel):
    """%(Kind)s with features that all tasks use and features that single tasks add.

    Minimises, over W = P + Q and b, with rho the `shared_ratio`,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\alpha \\Big[ \\rho \\sum_j \\| P_{:,j} \\|_\\infty + (1 - \\rho) \\| Q \\|_1 \\Big]

    Parameters
    ----------
    shared_ratio : float in [0, 1], default=0.5
        rho, the price of the shared part against the private one. At 0 or 1 one of the two, and with
        it W, is free of charge.
    norm : {"linf", "l2"}, default="linf"
        Norm of the coefficients of one feature in the shared part; "l2" is the variant of Janati et al.

    Attributes
    ----------
    shared_coef_, private_coef_ : ndarray of the shape of `coef_`
        P and Q.

    Notes
    -----
    Both parts can be in use only for rho between 1/2 and T/(T + 1), or sqrt(T)/(sqrt(T) + 1) with
    ``norm="l2"``, for T tasks: up to the lower end a private coefficient is never cheaper than a
    shared one (W = P is optimal), from the upper end on a shared one never pays (W = Q).

    References
    ----------
    Jalali, Ravikumar, Sanghavi & Ruan (2010), A dirty model for multi-task learning, NeurIPS 23;
    Jalali, Ravikumar & Sanghavi (2013), A dirty model for multiple sparse regression, IEEE
    Transactions on Information Theory 59, https://doi.org/10.1109/TIT.2013.2280272

    Examples
    --------
    >>> from skmtl import Dirty%(Model)s
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=5, n_samples=50, n_features=10, random_state=0)
    >>> model = Dirty%(Model)s(alpha=0.05, shared_ratio=0.7).fit(data.X, data.y, tasks=data.tasks)
    >>> bool((model.shared_coef_ + model.private_coef_ == model.coef_).all())
    True
    """

    shared_ratio: Annotated[float, RATIO] = 0.5
    norm: Annotated[str, StrOptions(set(SHARED_NORMS))] = "linf"

    def _penalty(self):
        shared = SHARED_NORMS[self.norm](self.alpha * self.shared_ratio)
        return InfConv([Features(shared), Entries(L1(self.alpha * (1 - self.shared_ratio)))])

    def _set_parts(self, parts):
        self.shared_coef_, self.private_coef_, *_ = parts


@estimator
class DirtyRegressor(Dirty, NonnegativeRegressor): ...


@estimator
class DirtyClassifier(Dirty, LinearClassifier): ...


@estimator
class Robust(LinearModel):
    """%(Kind)s with tasks that share structure and outlier tasks that do not.

    Minimises, over W = P + Q and b, with rho the `shared_ratio`,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\alpha \\Big[ \\rho S(P) + (1 - \\rho) \\sum_t \\| q_t \\|_2 \\Big]

    with S(P) the sum of the ``||P[:, j]||_2`` over features, or the trace norm of P.

    Parameters
    ----------
    shared : {"features", "subspace"}, default="features"
        What the tasks share: features (Gong et al.), or a low-dimensional space (Chen et al.).
    shared_ratio : float in [0, 1], default=0.5
        rho, the price of the shared part against the private one. At 0 or 1 one of the two, and with
        it W, is free of charge. With ``shared="subspace"`` outliers show for rho > 1/2 only: below,
        a private vector is never cheaper than one more dimension.

    Attributes
    ----------
    shared_coef_, private_coef_ : ndarray of the shape of `coef_`
        P and Q.
    outlier_tasks_ : ndarray
        Labels of the tasks with a private part.

    References
    ----------
    Gong, Ye & Zhang (2012), Robust multi-task feature learning, KDD,
    https://doi.org/10.1145/2339530.2339672;
    Chen, Zhou & Ye (2011), Integrating low-rank and group-sparse structures for robust multi-task
    learning, KDD, https://doi.org/10.1145/2020408.2020423

    Examples
    --------
    >>> from skmtl import Robust%(Model)s
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=8, structure="outliers", random_state=0)
    >>> model = Robust%(Model)s(alpha=0.1, shared_ratio=0.3).fit(data.X, data.y, tasks=data.tasks)
    >>> model.private_coef_.shape
    (8, 20)
    """

    shared: Annotated[str, StrOptions(set(SHARED_PARTS))] = "features"
    shared_ratio: Annotated[float, RATIO] = 0.5

    def _penalty(self):
        shared = SHARED_PARTS[self.shared](self.alpha * self.shared_ratio)
        return InfConv([shared, Tasks(L2(self.alpha * (1 - self.shared_ratio)))])

    def _set_parts(self, parts):
        self.shared_coef_, self.private_coef_, *_ = parts
        self.outlier_tasks_ = self.tasks_[self.private_coef_.reshape(self.n_tasks_, -1).any(axis=1)]


@estimator
class RobustRegressor(Robust, NonnegativeRegressor): ...


@estimator
class RobustClassifier(Robust, LinearClassifier): ...


@estimator
class SparseLowRank(LinearModel):
    """%(Kind)s with coefficients of low rank plus a few single entries of their own.

    Minimises, over W = L + S and b, with rho the `sparse_ratio`,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\alpha \\big[ (1 - \\rho) \\| L \\|_* + \\rho \\| S \\|_1 \\big]

    with the trace norm the sum of the singular values.

    Parameters
    ----------
    sparse_ratio : float in [0, 1], default=0.5
        rho, the price of the sparse part against that of low rank. At 0 or 1 one of the two, and with
        it W, is free of charge.

    Attributes
    ----------
    low_rank_coef_, sparse_coef_ : ndarray of the shape of `coef_`
        L and S.

    Notes
    -----
    Both parts can be in use only for rho between 1/(sqrt(T p) + 1) and 1/2, for T tasks and p
    features: from 1/2 on a single entry is never cheaper than one more dimension (W = L is optimal).

    References
    ----------
    Chen, Liu & Ye (2012), Learning incoherent sparse and low-rank patterns from multiple tasks, ACM
    Transactions on Knowledge Discovery from Data 5, https://doi.org/10.1145/2086737.2086742

    Examples
    --------
    >>> from skmtl import SparseLowRank%(Model)s
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=8, structure="low_rank", random_state=0)
    >>> model = SparseLowRank%(Model)s(alpha=0.1, sparse_ratio=0.3)
    >>> model.fit(data.X, data.y, tasks=data.tasks).sparse_coef_.shape
    (8, 20)
    """

    sparse_ratio: Annotated[float, RATIO] = 0.5

    def _penalty(self):
        rho = self.sparse_ratio
        return InfConv([Spectrum(L1(self.alpha * (1 - rho))), Entries(L1(self.alpha * rho))])

    def _set_parts(self, parts):
        self.low_rank_coef_, self.sparse_coef_, *_ = parts


@estimator
class SparseLowRankRegressor(SparseLowRank, LinearRegressor): ...


@estimator
class SparseLowRankClassifier(SparseLowRank, LinearClassifier): ...
