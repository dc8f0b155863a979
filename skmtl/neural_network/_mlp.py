"""Estimators: the shared MLP for regression, classification and mixed tasks."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from .._parameters import documented, with_parameters
from .._sklearn import StrOptions
from .._target import LOSSES, ClassesMixin, KindsMixin, NumbersMixin
from .._tasks import by_name
from ..losses import Loss
from ._base import MLP


@documented
@with_parameters
class MultiTaskMLPRegressor(NumbersMixin, MLP):
    """Multi-layer network for several regression tasks that share a nonlinear representation.

    Minimises, over trunks and heads,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i \\, \\ell(y_i, v_t \\cdot h_t(x_i) + b_t)
        + \\frac{\\alpha}{2} \\Big( \\sum_k \\|\\theta_k\\|^2 + \\|\\bar v\\|^2 \\Big)
        + \\frac{\\alpha_v}{2} \\sum_t \\|v_t - \\bar v\\|^2
        + \\frac{\\alpha_b}{2} \\sum_t (b_t - \\bar b)^2

    with s_i the sample weights divided by their sum over the task, c_t the emphasis of the task and theta_k
    the weights of the trunks, biases apart, alpha_v `head_alpha` and alpha_b `intercept_alpha`. The
    representation h_t is one trunk for all tasks (``sharing="hard"``), a mixture of experts weighted by the
    task (``"attention"``), or a trunk of the task's own (``"soft"``), which adds ``coupling/2 sum_t ||theta_t
    - mean(theta)||^2``; the heads are then part of theta_t. Squared-error and Huber targets are
    standardised in every task (alike in all if their offsets are pooled), and back in `predict`: by mean and
    standard deviation, under Huber's loss by the median and 1.4826 times the median absolute deviation,
    unless that is zero.

    Parameters
    ----------
    loss : {"squared_error", "huber", "poisson"} or Loss, default="squared_error"
        Loss of a row, see `skmtl.losses`. The delta of Huber's loss is in standard deviations of the
        targets, as their median absolute deviation tells these. With "poisson" the network predicts ``exp``
        of its output.

    References
    ----------
    Caruana (1997), Multitask learning, Machine Learning 28, https://doi.org/10.1023/A:1007379606734;
    Ma et al. (2018), Modeling task relationships in multi-task learning with multi-gate
    mixture-of-experts, KDD, https://doi.org/10.1145/3219819.3220007

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MultiTaskMLPRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> h = np.tanh(X @ rng.normal(size=(3, 2)))
    >>> Y = h @ rng.normal(size=(2, 4))
    >>> model = MultiTaskMLPRegressor(alpha=1e-3, random_state=0).fit(X, Y)
    >>> model.predict(X).shape, model.transform(X).shape == (200, model.hidden_layer_sizes_[-1])
    ((200, 4), True)
    """

    loss: Annotated[Any, StrOptions({"squared_error", "huber", "poisson"}), Loss] = "squared_error"


@documented
@with_parameters
class MultiTaskMLPClassifier(ClassesMixin, MLP):
    """Multi-layer network for several classification tasks that share a nonlinear representation.

    Minimises, over trunks and heads,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i \\, \\ell(y_i, V_t h_t(x_i) + b_t)
        + \\frac{\\alpha}{2} \\Big( \\sum_k \\|\\theta_k\\|^2 + \\|\\bar V\\|^2 \\Big)
        + \\frac{\\alpha_v}{2} \\sum_t \\|V_t - \\bar V\\|^2
        + \\frac{\\alpha_b}{2} \\sum_t \\|b_t - \\bar b\\|^2

    with the log-loss l of two or more classes, and the representation h_t as in `MultiTaskMLPRegressor`.
    Where the columns of a 2-D y have different labels, such as coarse and fine ones, each is a task with
    classes of its own.

    References
    ----------
    Caruana (1997), Multitask learning, Machine Learning 28, https://doi.org/10.1023/A:1007379606734

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MultiTaskMLPClassifier
    >>> X = np.random.default_rng(0).normal(size=(120, 2))
    >>> Y = np.column_stack([X[:, 0] * X[:, 1] > 0, X[:, 0] > X[:, 1] ** 2]).astype(int)
    >>> model = MultiTaskMLPClassifier(alpha=1e-3, random_state=0).fit(X, Y)
    >>> model.predict_proba(X).shape, model.score(X, Y) > 0.9
    ((120, 2), True)
    """

    loss = "log_loss"  # the one there is; no parameter

    @by_name
    def partial_fit(self, X, y, classes=None, *, tasks=None, sample_weight=None, offset=None):
        """Train one more epoch of Adam on some rows.

        The first call must hold every task. With ``alpha="auto"`` the strength is that of a fit before,
        else 1e-4.

        Parameters
        ----------
        X, y
            As in `fit`.
        classes : array-like of shape (n_classes,) or list of array-like, optional
            All class labels, in the first call; by default those in its `y`. One array per column where
            columns have different labels.
        tasks, sample_weight, offset
            As in `fit`.

        Returns
        -------
        self
        """
        return self._partial_fit(X, y, tasks, sample_weight, offset, classes)

    def _take_classes(self, classes):
        self.classes_ = self._sorted_classes(classes)
        self._target_ = self._known_target()

    def _sorted_classes(self, classes):
        """The classes of all tasks, or a list of those of each."""
        each = all(np.ndim(one) == 1 for one in classes)
        if each and len(classes) != self.n_tasks_:
            raise ValueError(f"classes must hold one array per task; got {len(classes)} for {self.n_tasks_}.")
        found = [np.unique(one) for one in classes] if each else np.unique(classes)
        if not each and len(found) < len(classes):
            raise ValueError(
                f"classes must hold every class once; got {len(found)} classes in {len(classes)} "
                "labels. Task labels are given by name: tasks=."
            )
        return found

    def _refuse_other_classes(self, classes):
        """ValueError where the classes of a later call are not those that the network was made for."""
        given, known = (
            [one.tolist() for one in found] if isinstance(found, list) else found.tolist()
            for found in (self._sorted_classes(classes), self.classes_)
        )
        if given != known:
            raise ValueError(f"classes must be those of the first call, {known}, or left away; got {given}.")


@documented
@with_parameters
class MultiTaskMLP(KindsMixin, MLP):
    """Multi-layer network for regression and classification tasks on the same representation.

    Minimises, over trunks and heads,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i \\, \\ell_t(y_i, V_t h_t(x_i) + b_t)
        + \\frac{\\alpha}{2} \\Big( \\sum_k \\|\\theta_k\\|^2 + \\sum_t \\|V_t\\|^2 \\Big)

    with a loss l_t for every task and the representation h_t as in `MultiTaskMLPRegressor`. The rows of the
    tasks may be the same (a column of y per task, NaN or None for a missing label) or different ones
    (`tasks`). If all losses are the same, heads are pulled to their mean as there.

    Parameters
    ----------
    losses : mapping {task: loss} or str, optional
        Loss of every task: "squared_error", "huber", "poisson" or a `Loss` for regression, "log_loss" (two
        or more classes) or "squared_hinge" (two) for classification. One name for all tasks. Default:
        "squared_error".

    References
    ----------
    Caruana (1997), Multitask learning, Machine Learning 28, https://doi.org/10.1023/A:1007379606734

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MultiTaskMLP
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> Y = np.column_stack([X[:, 0] > 0, X[:, 0] * X[:, 1]])
    >>> model = MultiTaskMLP(alpha=1e-3, losses={0: "log_loss", 1: "squared_error"}, random_state=0)
    >>> model.fit(X, Y).predict(X).shape, model.predict_proba(X)[0].shape
    ((100, 2), (100, 2))
    """

    losses: Annotated[Any, None, StrOptions(set(LOSSES) - {"root_squared_error"}), Loss, Mapping] = None
