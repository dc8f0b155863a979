"""Tasks composed of a few latent ones."""

from typing import Annotated, Any

from .._parameters import COUNT, RATIO
from ..penalties import Factorized
from ._base import LinearClassifier, LinearModel, LinearRegressor, estimator


@estimator
class LatentBasis(LinearModel):
    """%(Kind)s with tasks that are sparse combinations of a few latent tasks (GO-MTL).

    Minimises, over S (n_tasks, n_components), L (n_components, n_features) and b, with W = S L,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\alpha \\Big[ \\rho \\| S \\|_1 + \\frac{1 - \\rho}{2} \\| L \\|_F^2 \\Big]

    with rho the `sparsity`. Tasks whose codes use the same components form groups, which may overlap.
    The problem is not convex: S and L are improved in turn from the leading singular vectors of
    single-task ridge regressions and rotations of them.

    Parameters
    ----------
    n_components : int, default=2
        Number of latent tasks.
    sparsity : float in [0, 1], default=0.5
        rho, the share of the penalty on the codes.
    n_init : int, default=5
        Number of starts, of which the best after a few rounds is followed.
    random_state : int, RandomState instance or None, default=None
        Seed of the starts.

    Attributes
    ----------
    codes_ : ndarray of shape (n_tasks, n_components)
        S, what each task takes of each latent one.
    components_ : ndarray of shape (n_components, n_features) or (n_components, n_classes, n_features)
        L, the coefficients of the latent tasks.

    References
    ----------
    Kumar & Daume (2012), Learning task grouping and overlap in multi-task learning, ICML,
    https://doi.org/10.48550/arXiv.1206.6417

    Examples
    --------
    >>> from skmtl import LatentBasis%(Model)s
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=8, n_samples=50, structure="low_rank", random_state=0)
    >>> model = LatentBasis%(Model)s(alpha=0.03, n_components=2, random_state=0)
    >>> model.fit(data.X, data.y, tasks=data.tasks).codes_.shape
    (8, 2)
    """

    n_components: Annotated[int, COUNT] = 2
    sparsity: Annotated[float, RATIO] = 0.5
    n_init: Annotated[int, COUNT] = 5
    random_state: Annotated[Any, "random_state"] = None

    def _penalty(self):
        return Factorized(self.alpha, self.n_components, self.sparsity, self.n_init, self.random_state)

    def _set_attributes(self, result):
        self.codes_, self.components_ = result.parts[0], self._by_class(result.parts[1])


@estimator
class LatentBasisRegressor(LatentBasis, LinearRegressor): ...


@estimator
class LatentBasisClassifier(LatentBasis, LinearClassifier):
    alpha = 0.03  # grows with the cube root of a factor on W: weak on large coefficients
