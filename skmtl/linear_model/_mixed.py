"""Tasks of different kinds in one model."""

from collections.abc import Mapping
from typing import Annotated, Any

from .._sklearn import StrOptions
from .._target import LOSSES, KindsMixin
from ..losses import Loss
from ._base import estimator
from ._generic import Generic


@estimator
class MixedTaskModel(KindsMixin, Generic):
    """Regression and classification tasks on the same features, with one penalty on all.

    Minimises, over W (n_tasks, n_features) and b,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i \\, \\ell_t(y_i, x_i \\cdot w_t + b_t) + \\alpha \\Omega(W)

    with s_i the sample weights divided by their sum over the task and l_t the loss of task t. The rows
    of the tasks may be the same (a column of y per task, NaN or None for a missing label) or different
    ones (`tasks`). Losses of different kinds have different scales: `task_weight` balances them.

    Parameters
    ----------
    penalty : Penalty, optional
        Omega, an object of `skmtl.penalties` or your own. Default: ``Features(L2())``, the tasks share
        which features matter. A penalty that pulls coefficients of different tasks together
        (`Coupling`) makes sense where they are in the same units. Where a task has more than two
        classes, Omega acts on a W with as many vectors per task; other tasks use the first of theirs.
    losses : mapping {task: loss} or str, optional
        Loss of every task: "squared_error", "huber", "poisson", "root_squared_error" (for all tasks or
        none) or a `Loss` for regression, "log_loss" (two or more classes) or "squared_hinge" (two) for
        classification. One name for all tasks. Default: "squared_error".

    References
    ----------
    Yang, Kim & Xing (2009), Heterogeneous multitask learning with joint sparsity constraints, NIPS 22;
    Argyriou, Evgeniou & Pontil (2008), Convex multi-task feature learning, Machine Learning 73,
    https://doi.org/10.1007/s10994-007-5040-8

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MixedTaskModel
    >>> X = np.random.default_rng(0).normal(size=(40, 5))
    >>> Y = np.column_stack([X[:, 0] > 0, X[:, 0] + X[:, 1]])
    >>> model = MixedTaskModel(alpha=0.01, losses={0: "log_loss", 1: "squared_error"}).fit(X, Y)
    >>> model.predict(X).shape, model.predict_proba(X)[0].shape
    ((40, 2), (40, 2))
    """

    losses: Annotated[Any, None, StrOptions(set(LOSSES)), Loss, Mapping] = None

    def _validate_params(self):
        if isinstance(self.losses, list | tuple):
            raise ValueError(
                "losses must be one loss, or a mapping of tasks to losses such as {'height': "
                "'squared_error', 'sick': 'log_loss'} (columns without names are tasks 0, 1, ...); got "
                f"{self.losses!r:.100}."
            )
        super()._validate_params()
