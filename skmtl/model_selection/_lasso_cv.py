"""The multi-task Lasso and elastic net with a strength chosen by cross-validation."""

from abc import ABC, abstractmethod
from dataclasses import field
from numbers import Integral
from typing import Annotated, Any

import numpy as np
from sklearn import config_context
from sklearn.metrics import mean_squared_error
from sklearn.utils import indexable

from .._inputs import check_offset
from .._parameters import COUNT, FRACTION, RATIO, with_parameters
from .._sklearn import num_samples
from .._tasks import by_name
from ..linear_model import Fitting, MultiTaskElasticNet, MultiTaskLasso, estimator
from ..metrics import task_scorer
from ._search import PathSearchCV


@with_parameters
class CrossValidated(MultiTaskLasso, ABC):
    """Chooses the strength along paths, then is the model at that strength; weights count in errors as well.

    Parameters
    ----------
    alphas : int or array-like of shape (n_alphas,), default=100
        Strengths, or how many of them from `alpha_max` down.
    eps : float, default=1e-3
        Least strength over the greatest, where `alphas` is a number.
    cv : int, splitter or iterable of splits, default=None
        By default 5 folds, shuffled ones of `TaskKFold` where rows have task labels or labels are missing; as
        in `PathSearchCV` tasks with fewer rows than folds only train.
    n_jobs : int, default=None
        Number of processes.

    Attributes
    ----------
    alpha_ : float
        The strength of least mean squared error.
    alphas_ : ndarray of shape (n_alphas,) or (n_l1_ratio, n_alphas)
        Strengths, falling.
    mse_path_ : ndarray of shape (n_alphas, n_folds) or (n_l1_ratio, n_alphas, n_folds)
        Mean squared error of each strength on each test set.
    """

    alpha: float = field(init=False, default=1.0)
    alphas: Annotated[Any, COUNT, "array-like"] = 100
    eps: Annotated[float, FRACTION] = 1e-3
    cv: Annotated[Any, "cv_object"] = None
    n_jobs: Annotated[int | None, None, Integral] = None

    @abstractmethod
    def _model(self):
        """The model whose strength is chosen, and the grid of other parameters to search."""

    def _penalty(self):
        model, grid = self._model()
        return model.set_params(**{name: getattr(self, f"{name}_") for name in ("alpha", *grid)})._penalty()

    @config_context(skip_parameter_validation=True)
    def _fit(self, X, y, tasks, sample_weight, offset):
        model, grid = self._model()
        model.alpha, given = 1.0, {"tasks": tasks, "sample_weight": sample_weight, "offset": offset}
        Fitting.of(model, X, y, **given)  # malformed data are refused in words about them, not about folds
        given["offset"] = check_offset(offset, num_samples(X))
        given = {
            key: value if np.isscalar(value) else np.asarray(value)
            for key, value in given.items()
            if value is not None
        }
        scorer = task_scorer(mean_squared_error, average="pooled", greater_is_better=False)
        search = PathSearchCV(
            model, self.alphas, self.eps, grid, self.cv, scorer, n_jobs=self.n_jobs, error_score="raise"
        )
        X, y = indexable(X, y)
        splits = search._splits(X, y, tasks, {}, sample_weight)
        with self._steps("path", X, y, **given) as after:
            search._search_rows(X, y, splits, given, given, scorer, "score", after)
        model.set_params(**search.best_params_).fit(X, y, **given)
        vars(self).update((key, value) for key, value in vars(model).items() if key.endswith("_"))
        vars(self).update((f"{name}_", getattr(model, name)) for name in ("alpha", *grid))
        self._set_path(search, grid.get("l1_ratio", [None]))

    def _set_path(self, search, ratios):
        """The strengths and their errors on all test sets, for each ratio."""
        results, params = search.cv_results_, search.cv_results_["params"]
        errors = -np.stack([results[f"split{k}_test_score"] for k in range(search.n_splits_)], axis=-1)
        alphas, own = np.array([one["alpha"] for one in params]), [one.get("l1_ratio") for one in params]
        falling = np.argsort(-alphas, kind="stable")
        rows = np.array([[at for at in falling if own[at] == ratio] for ratio in ratios])
        rows = rows[0] if len(rows) == 1 else rows
        self.mse_path_, alphas = errors[rows], alphas[rows]
        self.alphas_ = alphas if isinstance(self.alphas, Integral) else alphas.reshape(-1, rows.shape[-1])[0]

    @by_name
    def alpha_max(self, X, y, *, tasks=None, sample_weight=None, offset=None):
        return self._model()[0].alpha_max(X, y, tasks=tasks, sample_weight=sample_weight, offset=offset)

    alpha_max.__doc__ = MultiTaskLasso.alpha_max.__doc__

    @property
    def fit_statistics(self):
        raise AttributeError(f"{type(self).__name__} needs the rows, to hold some of them out.")

    partial_fit = fit_statistics

    def _common(self, cls):
        """A model with the parameters that it has in common with this one."""
        params = self.get_params(deep=False)
        return cls(**{key: params[key] for key in cls._get_param_names() if key in params})


@estimator
class MultiTaskLassoCV(CrossValidated):
    """Multi-task Lasso whose strength is chosen by cross-validation; drop-in for scikit-learn's class.

    Minimises the objective of `MultiTaskLasso` at the strength of least mean squared error

    .. math::

        \\frac{1}{K} \\sum_{k=1}^K \\frac{1}{N_k} \\sum_{i, t} (Y_{it} - \\hat Y_{it}^{(k)})^2

    over the N_k labels of the test sets.

    References
    ----------
    Obozinski, Taskar & Jordan (2010), Joint covariate selection and joint subspace selection for
    multiple classification problems, Statistics and Computing 20,
    https://doi.org/10.1007/s11222-008-9111-x

    Examples
    --------
    >>> from skmtl import MultiTaskLassoCV
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=5, n_samples=40, n_features=20, random_state=0)
    >>> model = MultiTaskLassoCV(alphas=20).fit(data.X, data.y, tasks=data.tasks)
    >>> model.mse_path_.shape, bool(model.alphas_[-1] <= model.alpha_ <= model.alphas_[0])
    ((20, 5), True)
    """

    def _model(self):
        return self._common(MultiTaskLasso), {}


@estimator
class MultiTaskElasticNetCV(CrossValidated):
    """Multi-task elastic net whose strength, and ratio, are chosen by cross-validation.

    Drop-in for scikit-learn's class. Minimises the objective of `MultiTaskElasticNet` at the strength and
    the ratio of least mean squared error

    .. math::

        \\frac{1}{K} \\sum_{k=1}^K \\frac{1}{N_k} \\sum_{i, t} (Y_{it} - \\hat Y_{it}^{(k)})^2

    over the N_k labels of the test sets.

    Parameters
    ----------
    l1_ratio : float or list of float, default=0.5
        Share of the norm in the penalty; of a list the best one is chosen.

    Attributes
    ----------
    l1_ratio_ : float
        The ratio of least mean squared error.

    References
    ----------
    Zou & Hastie (2005), Regularization and variable selection via the elastic net, JRSS B 67,
    https://doi.org/10.1111/j.1467-9868.2005.00503.x

    Examples
    --------
    >>> from skmtl import MultiTaskElasticNetCV
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=5, n_samples=40, n_features=20, random_state=0)
    >>> model = MultiTaskElasticNetCV(alphas=20, l1_ratio=[0.5, 0.9]).fit(data.X, data.y, tasks=data.tasks)
    >>> model.mse_path_.shape, model.l1_ratio_ in (0.5, 0.9)
    ((2, 20, 5), True)
    """

    l1_ratio: Annotated[Any, RATIO, "array-like"] = 0.5

    def _model(self):
        ratios = list(dict.fromkeys(np.atleast_1d(self.l1_ratio).tolist()))
        return self._common(MultiTaskElasticNet).set_params(l1_ratio=ratios[0]), {"l1_ratio": ratios}
