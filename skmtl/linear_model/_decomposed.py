"""Two kinds of structure at once: models that write W as a sum of two parts."""

from numbers import Real

from .._sklearn import Interval, StrOptions
from ..penalties import L1, L2, Entries, Features, InfConv, LInf, Spectrum, Tasks
from ._base import LinearClassifier, LinearModel, LinearRegressor, estimator

SHARED_NORMS = {"linf": LInf, "l2": L2}
SHARED_PARTS = {"features": lambda alpha: Features(L2(alpha)), "subspace": lambda alpha: Spectrum(L1(alpha))}


@estimator
class Dirty(LinearModel):
    """%(kind)s with features that all tasks use and features that single tasks add.

    Minimises, over W = P + Q and b, with rho the `shared_ratio`,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\alpha \\Big[ \\rho \\sum_j \\| P_{:,j} \\|_\\infty + (1 - \\rho) \\| Q \\|_1 \\Big]

    with s_i the sample weights divided by their sum over the task.

    %(classes)s

    Parameters
    ----------
    %(parameters)s
    shared_ratio : float in [0, 1], default=0.5
        rho, the price of the shared part against the private one. At 0 or 1 one of the two, and with
        it W, is free of charge.
    norm : {"linf", "l2"}, default="linf"
        Norm of the coefficients of one feature in the shared part; "l2" is the variant of Janati et al.

    Attributes
    ----------
    shared_coef_, private_coef_ : ndarray of the shape of `coef_`
        P and Q.
    %(attributes)s

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
    """

    shared_ratio: float = 0.5
    norm: str = "linf"

    _parameter_constraints = {
        "shared_ratio": [Interval(Real, 0, 1, closed="both")],
        "norm": [StrOptions(set(SHARED_NORMS))],
    }

    def _penalty(self):
        shared = SHARED_NORMS[self.norm](self.alpha * self.shared_ratio)
        return InfConv([Features(shared), Entries(L1(self.alpha * (1 - self.shared_ratio)))])

    def _set_attributes(self, result):
        self.shared_coef_, self.private_coef_ = map(self._shaped, result.parts[:2])


@estimator
class DirtyRegressor(Dirty, LinearRegressor):
    """
    >>> from skmtl import DirtyRegressor
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=5, n_samples=50, n_features=10, random_state=0)
    >>> model = DirtyRegressor(alpha=0.5, shared_ratio=0.7).fit(data.X, data.y, tasks=data.tasks)
    >>> bool((model.shared_coef_ + model.private_coef_ == model.coef_).all())
    True
    """

    positive: bool = False

    _parameter_constraints = {"positive": ["boolean"]}


@estimator
class DirtyClassifier(Dirty, LinearClassifier):
    """
    >>> from skmtl import DirtyClassifier
    >>> from skmtl.datasets import make_multitask_classification
    >>> data = make_multitask_classification(n_tasks=5, n_samples=50, n_features=10, random_state=0)
    >>> model = DirtyClassifier(alpha=0.05, shared_ratio=0.7).fit(data.X, data.y, tasks=data.tasks)
    >>> model.private_coef_.shape
    (5, 10)
    """


@estimator
class Robust(LinearModel):
    """%(kind)s with tasks that share structure and outlier tasks that do not.

    Minimises, over W = P + Q and b, with rho the `shared_ratio`,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\alpha \\Big[ \\rho S(P) + (1 - \\rho) \\sum_t \\| q_t \\|_2 \\Big]

    with s_i the sample weights divided by their sum over the task and S(P) the sum of the
    ``||P[:, j]||_2`` over features, or the trace norm of P.

    %(classes)s

    Parameters
    ----------
    %(parameters)s
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
    %(attributes)s

    References
    ----------
    Gong, Ye & Zhang (2012), Robust multi-task feature learning, KDD,
    https://doi.org/10.1145/2339530.2339672;
    Chen, Zhou & Ye (2011), Integrating low-rank and group-sparse structures for robust multi-task
    learning, KDD, https://doi.org/10.1145/2020408.2020423
    """

    shared: str = "features"
    shared_ratio: float = 0.5

    _parameter_constraints = {
        "shared": [StrOptions(set(SHARED_PARTS))],
        "shared_ratio": [Interval(Real, 0, 1, closed="both")],
    }

    def _penalty(self):
        shared = SHARED_PARTS[self.shared](self.alpha * self.shared_ratio)
        return InfConv([shared, Tasks(L2(self.alpha * (1 - self.shared_ratio)))])

    def _set_attributes(self, result):
        self.shared_coef_, self.private_coef_ = map(self._shaped, result.parts[:2])
        self.outlier_tasks_ = self.tasks_[result.parts[1].any(axis=1)]


@estimator
class RobustRegressor(Robust, LinearRegressor):
    """
    >>> from skmtl import RobustRegressor
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=8, structure="outliers", random_state=0)
    >>> model = RobustRegressor(alpha=3.0, shared_ratio=0.3).fit(data.X, data.y, tasks=data.tasks)
    >>> model.private_coef_.shape
    (8, 20)
    """

    positive: bool = False

    _parameter_constraints = {"positive": ["boolean"]}


@estimator
class RobustClassifier(Robust, LinearClassifier):
    """
    >>> from skmtl import RobustClassifier
    >>> from skmtl.datasets import make_multitask_classification
    >>> data = make_multitask_classification(n_tasks=8, structure="outliers", random_state=0)
    >>> model = RobustClassifier(alpha=0.1, shared_ratio=0.3).fit(data.X, data.y, tasks=data.tasks)
    >>> model.private_coef_.shape
    (8, 20)
    """


@estimator
class SparseLowRank(LinearModel):
    """%(kind)s with coefficients of low rank plus a few single entries of their own.

    Minimises, over W = L + S and b, with rho the `sparse_ratio`,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\alpha \\big[ (1 - \\rho) \\| L \\|_* + \\rho \\| S \\|_1 \\big]

    with s_i the sample weights divided by their sum over the task and the trace norm the sum of the
    singular values.

    %(classes)s

    Parameters
    ----------
    %(parameters)s
    sparse_ratio : float in [0, 1], default=0.5
        rho, the price of the sparse part against that of low rank. At 0 or 1 one of the two, and with
        it W, is free of charge.

    Attributes
    ----------
    low_rank_coef_, sparse_coef_ : ndarray of the shape of `coef_`
        L and S.
    %(attributes)s

    Notes
    -----
    Both parts can be in use only for rho between 1/(sqrt(T p) + 1) and 1/2, for T tasks and p
    features: from 1/2 on a single entry is never cheaper than one more dimension (W = L is optimal).

    References
    ----------
    Chen, Liu & Ye (2012), Learning incoherent sparse and low-rank patterns from multiple tasks, ACM
    Transactions on Knowledge Discovery from Data 5, https://doi.org/10.1145/2086737.2086742
    """

    sparse_ratio: float = 0.5

    _parameter_constraints = {
        "sparse_ratio": [Interval(Real, 0, 1, closed="both")],
    }

    def _penalty(self):
        rho = self.sparse_ratio
        return InfConv([Spectrum(L1(self.alpha * (1 - rho))), Entries(L1(self.alpha * rho))])

    def _set_attributes(self, result):
        self.low_rank_coef_, self.sparse_coef_ = map(self._shaped, result.parts[:2])


@estimator
class SparseLowRankRegressor(SparseLowRank, LinearRegressor):
    """
    >>> from skmtl import SparseLowRankRegressor
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=8, structure="low_rank", random_state=0)
    >>> model = SparseLowRankRegressor(alpha=1.0, sparse_ratio=0.3).fit(data.X, data.y, tasks=data.tasks)
    >>> bool((model.low_rank_coef_ + model.sparse_coef_ == model.coef_).all())
    True
    """


@estimator
class SparseLowRankClassifier(SparseLowRank, LinearClassifier):
    """
    >>> from skmtl import SparseLowRankClassifier
    >>> from skmtl.datasets import make_multitask_classification
    >>> data = make_multitask_classification(n_tasks=8, structure="low_rank", random_state=0)
    >>> model = SparseLowRankClassifier(alpha=0.1, sparse_ratio=0.3)
    >>> model.fit(data.X, data.y, tasks=data.tasks).sparse_coef_.shape
    (8, 20)
    """
