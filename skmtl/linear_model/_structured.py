"""Tasks with a known structure: a graph, an order, a tree."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._parameters import AUTO, RATIO
from .._sklearn import StrOptions
from ..penalties import L1, Coupling, Entries, Features, Fused, Ridge, SparseL2, Tree
from ..solvers import solve
from ._base import LinearClassifier, LinearModel, NonnegativeRegressor, estimator
from ._coupled_tasks import GraphCoupledRegressor
from ._empirical_bayes import Auto
from ._relations import chain, feature_variance, laplacian, linkage_tree, read_order, read_tree


@estimator
class GraphRegularized(LinearModel):
    """%(Kind)s with tasks on a graph: neighbours have similar coefficients.

    Minimises, over W and b,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\alpha \\Big[ \\frac{1 - \\rho}{2} \\sum_{s < t} A_{st} \\| w_s - w_t \\|^2
        + \\rho \\| W \\|_1 \\Big]

    with A the adjacency of the graph and rho the `l1_ratio`.

    Parameters
    ----------
    graph : array-like, sparse matrix, mapping or iterable of tuples, default=None
        Adjacency A (n_tasks, n_tasks): symmetric nonnegative weights in the order of `tasks_` (a
        DataFrame labelled by the tasks, in any order); or edges by task label, ``(s, t)``,
        ``(s, t, weight)`` or ``{(s, t): weight}``. None: all pairs with weight 1/T, which is mean
        regularisation.
    l1_ratio : float in [0, 1], default=0.0
        rho, the share of the L1 norm.

    Attributes
    ----------
    laplacian_ : sparse array of shape (n_tasks, n_tasks)
        Laplacian of the graph.

    References
    ----------
    Evgeniou, Micchelli & Pontil (2005), Learning multiple tasks with kernel methods, JMLR 6

    Examples
    --------
    >>> from skmtl import GraphRegularized%(Model)s
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=6, n_samples=50, random_state=0)
    >>> model = GraphRegularized%(Model)s(alpha=0.1, graph=[(0, 1), (1, 2, 0.5)], ridge=0.01)
    >>> model.fit(data.X, data.y, tasks=data.tasks).laplacian_.toarray()[1, :3]
    array([-1. ,  1.5, -0.5])
    """

    graph: Annotated[Any, None, "array-like", "sparse matrix", Iterable] = None
    l1_ratio: Annotated[float, RATIO] = 0.0

    def _prepare(self, data):
        if self.graph is not None:
            self.laplacian_ = laplacian(self.graph, self.tasks_)

    @cached_property
    def laplacian_(self):
        """That of all pairs, which no fit needs: it grows with the square of the tasks."""
        check_is_fitted(self)
        return laplacian(None, [label for label in self.tasks_.tolist() if label not in self.added_tasks_])

    def _penalty(self):
        M = "mean" if self.graph is None else self.laplacian_
        return Coupling(self.alpha * (1 - self.l1_ratio), M) + Entries(L1(self.alpha * self.l1_ratio))


@estimator
class GraphRegularizedRegressor(GraphRegularized, GraphCoupledRegressor):
    alpha: Auto = field(default=1.0, kw_only=False)  # again: the first base has those of all models
    intercept_alpha: Auto = 0.0

    _beside = "mean_alpha", "ridge", "l1_ratio"

    def _laplacian_of_tasks(self):
        return None if self.graph is None else self.laplacian_


@estimator
class GraphRegularizedClassifier(GraphRegularized, LinearClassifier): ...


@estimator
class Temporal(LinearModel):
    """%(Kind)s with ordered tasks, such as points in time, that change in few steps.

    Minimises, over W and b,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\alpha \\Big[ (1 - \\rho - g) \\sum_j \\sum_{t > 1} | W_{t,j} - W_{t-1,j} |
        + \\rho \\| W \\|_1 + g \\sum_j \\| W_{:,j} \\|_2 \\Big]

    with rho the `l1_ratio`, g the `group_ratio`; ``smooth="quadratic"`` has ``1/2 (W_tj - W_t-1,j)^2``
    in place of the absolute differences: gradual changes.

    Parameters
    ----------
    order : array-like of shape (n_tasks,), default=None
        All task labels in their order. None: the sorted labels.
    l1_ratio : float in [0, 1], default=0.0
        rho, the share of the L1 norm.
    group_ratio : float in [0, 1], default=0.0
        g, the share of the group norm that selects features for all tasks; rho + g is at most 1.
    smooth : {"fused", "quadratic"}, default="fused"
        Absolute or squared differences of successive tasks.

    Attributes
    ----------
    change_points_ : ndarray
        Labels of the tasks, in their order, whose coefficients differ from those of the task before.
        A strength chosen for prediction leaves small changes beside the true ones: compare the sizes.
    change_sizes_ : ndarray
        Euclidean length of each change.

    References
    ----------
    Zhou, Yuan, Liu & Ye (2011), A multi-task learning formulation for predicting disease progression,
    KDD, https://doi.org/10.1145/2020408.2020549 (quadratic);
    Zhou, Liu, Narayan & Ye (2012), Modeling disease progression via fused sparse group lasso, KDD,
    https://doi.org/10.1145/2339530.2339702 (fused)

    Examples
    --------
    >>> from skmtl import Temporal%(Model)s
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=6, n_samples=50, structure="temporal", random_state=0)
    >>> model = Temporal%(Model)s(alpha=0.1).fit(data.X, data.y, tasks=data.tasks)
    >>> model.change_points_.shape[0] < 6
    True
    """

    order: Annotated[Any, None, "array-like"] = None
    l1_ratio: Annotated[float, RATIO] = 0.0
    group_ratio: Annotated[float, RATIO] = 0.0
    smooth: Annotated[str, StrOptions({"fused", "quadratic"})] = "fused"

    def _prepare(self, data):
        if self.l1_ratio + self.group_ratio > 1 + 1e-12:
            raise ValueError(
                "l1_ratio + group_ratio must be at most 1; "
                f"got l1_ratio={self.l1_ratio} and group_ratio={self.group_ratio}."
            )
        self._order_ = read_order(self.order, self.tasks_)

    def _penalty(self):
        if self.smooth == "fused" and self.n_tasks_ > 1:  # one task has no changes
            return Features(Fused(self.alpha, self.l1_ratio, self.group_ratio, order=self._order_))
        share = min(self.l1_ratio + self.group_ratio, 1.0)
        steps = Coupling.graph(chain(self._order_), alpha=self.alpha * (1 - share))
        return steps + Features(SparseL2(self.alpha * share, self.l1_ratio / share if share else 0.0))

    def _set_attributes(self, result):
        W = result.parts[0][self._order_]
        jumps = np.hypot.reduce(W[1:] - W[:-1], axis=1)
        self.change_points_ = self.tasks_[self._order_[1:][jumps > 0]]
        self.change_sizes_ = jumps[jumps > 0]


@estimator
class TemporalRegressor(Temporal, NonnegativeRegressor, GraphCoupledRegressor):
    alpha: Auto = field(default=1.0, kw_only=False)  # again: the first base has those of all models
    intercept_alpha: Auto = 0.0

    _beside = "mean_alpha", "ridge", "l1_ratio", "group_ratio", "positive"

    def _laplacian_of_tasks(self):
        return Coupling.graph(chain(self._order_)).M

    def _refuse_other_models(self, what):
        super()._refuse_other_models(what)
        if self.smooth != "quadratic":
            raise ValueError(f"{what} needs smooth='quadratic'; got smooth={self.smooth!r}.")

    def _remember(self, fitting):
        if self.smooth == "quadratic":
            super()._remember(fitting)


@estimator
class TemporalClassifier(Temporal, LinearClassifier): ...


@estimator
class Hierarchical(LinearModel):
    """%(Kind)s with tasks on a tree: related tasks use the same features.

    Minimises, over W and b,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\alpha \\sum_v \\omega_v \\sum_j \\| W_{L(v), j} \\|_2

    with v the nodes of the tree, the tasks among them, and L(v) the tasks below v (v itself if it is a
    task).

    Parameters
    ----------
    tree : "auto" or mapping, default="auto"
        ``{child: parent}`` by label. The tasks are the leaves, a node without a parent is a root, of
        which there may be several. "auto": average linkage of single-task fits, see Notes.
    node_weight : mapping, default=None
        ``{node: omega_v}``, 1.0 for nodes not in it; not with ``tree="auto"``.

    Attributes
    ----------
    tree_ : list of TreeNode
        The nodes v, each after those below it, as (name, tasks, weight): the labels of the tasks below it
        and omega_v.

    Notes
    -----
    "auto" fits every task on its own with a ridge of a tenth of the mean variance of the features,
    scales the coefficients of each task to length 1 and joins tasks by average linkage. A node of height
    h, relative to the root, gets the weight (1 - h) times the heights of the nodes above it, a
    task the product of the heights above it (Kim & Xing): these weights add up to 1 from the root to
    every task.

    References
    ----------
    Kim & Xing (2012), Tree-guided group lasso for multi-response regression with structured sparsity,
    Annals of Applied Statistics 6, https://doi.org/10.1214/12-AOAS549;
    Jenatton, Mairal, Obozinski & Bach (2011), Proximal methods for hierarchical sparse coding, JMLR 12

    Examples
    --------
    >>> from skmtl import Hierarchical%(Model)s
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=6, n_samples=50, random_state=0)
    >>> tree = {0: "a", 1: "a", 2: "a", 3: "b", 4: "b", 5: "b"}
    >>> model = Hierarchical%(Model)s(alpha=0.05, tree=tree).fit(data.X, data.y, tasks=data.tasks)
    >>> model.tree_[-1]
    TreeNode(name='b', tasks=[3, 4, 5], weight=1.0)
    """

    tree: Annotated[Any, AUTO, Mapping] = "auto"
    node_weight: Annotated[Any, None, Mapping] = None

    def _prepare(self, data):
        if not isinstance(self.tree, str):
            self.tree_ = read_tree(self.tree, self.tasks_, self.node_weight)
        elif self.node_weight is not None:
            raise ValueError('node_weight needs a tree with named nodes; tree="auto" sets its own weights.')
        else:
            ridge, options = Ridge(0.1 * feature_variance(data) or 1.0), {"fit_intercept": self.fit_intercept}
            single = solve(data, self._target_.loss, ridge, tol=1e-6, **options)
            self.tree_ = linkage_tree(single.coef, self.tasks_)

    def _penalty(self):
        where = {label: t for t, label in enumerate(self.tasks_.tolist())}
        used = [node for node in self.tree_ if node.weight != 0]
        groups = [np.array([where[label] for label in node.tasks]) for node in used]
        return Features(Tree(self.alpha, groups, np.array([node.weight for node in used])))


@estimator
class HierarchicalRegressor(Hierarchical, NonnegativeRegressor): ...


@estimator
class HierarchicalClassifier(Hierarchical, LinearClassifier): ...
