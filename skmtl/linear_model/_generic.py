"""The generic door: any penalty."""

from typing import Annotated, Any

from ..penalties import L2, Features, InfConv, Penalty
from ._base import LinearClassifier, LinearModel, LinearRegressor, estimator


@estimator
class Generic(LinearModel):
    """%(Kind)s with any penalty on the coefficients of all tasks.

    Minimises, over W and b,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s + \\alpha \\Omega(W)

    Parameters
    ----------
    penalty : Penalty, optional
        Omega, an object of `skmtl.penalties` or your own. Default: ``Features(L2())``.

    Attributes
    ----------
    part_coefs_ : list of ndarray of shape (n_tasks, n_features)
        The summands of W; only with an `InfConv` penalty.

    References
    ----------
    Evgeniou, Micchelli & Pontil (2005), Learning multiple tasks with kernel methods, JMLR 6;
    Bach, Jenatton, Mairal & Obozinski (2012), Optimization with sparsity-inducing penalties,
    Foundations and Trends in Machine Learning 4, https://doi.org/10.1561/2200000015

    Examples
    --------
    >>> from skmtl import MultiTask%(Model)s
    >>> from skmtl.penalties import L1, Coupling, Entries
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=5, n_samples=30, random_state=0)
    >>> model = MultiTask%(Model)s(alpha=0.1, penalty=Entries(L1()) + Coupling(2.0))
    >>> bool(model.fit(data.X, data.y, tasks=data.tasks).dual_gap_ >= 0)
    True
    """

    penalty: Annotated[Any, None, Penalty] = None

    def _penalty(self):
        penalty = Features(L2()) if self.penalty is None else self.penalty
        return penalty.scaled(self.alpha)

    def _set_parts(self, parts):
        if isinstance(self.penalty, InfConv):
            self.part_coefs_ = [V for V, _ in zip(parts, self.penalty.parts(), strict=False)]


@estimator
class MultiTaskRegressor(Generic, LinearRegressor): ...


@estimator
class MultiTaskClassifier(Generic, LinearClassifier): ...
