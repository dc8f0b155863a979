"""How far off predictions may be."""

import numpy as np
from scipy import sparse, special

from .._parameters import with_parameters
from .._tasks import by_name
from ._base import LinearRegressor
from ._empirical_bayes import EmpiricalBayes
from ._fitting import as_fitted


@with_parameters
class EmpiricalBayesRegressor(EmpiricalBayes, LinearRegressor):
    """The same of regressors, with standard deviations of targets."""

    @as_fitted
    def _standard_deviations(self, X, tasks, offset):
        """Of the targets of rows, in the shape of predictions."""
        loss = self._target_.loss
        eta = None if loss.quadratic else self._asked(X, tasks, offset)[0]
        X, codes = self._predict_inputs(X, tasks)
        X = self._check_features(X)
        X = X.tocsr() if sparse.issparse(X) else X
        if codes is None:
            every = [self._errors(X, np.full(X.shape[0], t), eta is None) for t in range(self.n_tasks_)]
            found = every[0] if self._layout_ == "single" else np.column_stack(every)
        else:
            found = self._errors(X, codes, eta is None)
        return found if eta is None else np.sqrt(loss.target_variance(eta.reshape(found.shape), found**2))

    @by_name
    def predict(self, X, *, tasks=None, offset=None, return_std=False):
        """Predict targets, and how far off they may be.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, with the task column if `task_column` is set.
        tasks : array-like of shape (n_samples,), optional
            Task label of every row; required after a fit with `tasks`.
        offset : array-like, optional
            Added to the linear predictors, as in `fit`; None is zero.
        return_std : bool, default=False
            Whether to return standard deviations of targets about predictions as well: of the noise of a
            row of weight 1, of the coefficients of its task, and of the common ones; of a task that is
            unknown (``handle_unknown="average"``) all that its coefficients may be.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
            Predictions; 2-D after a fit on a 2-D y (unless `tasks` is given).
        std : ndarray of the same shape
            Standard deviations, with `return_std`.

        Raises
        ------
        ValueError
            If tasks are missing or unknown, or the model gives no standard deviations: with another loss,
            ``mean_alpha`` or ``ridge``.
        """
        y = super().predict(X, tasks=tasks, offset=offset)
        return (y, self._standard_deviations(X, tasks, offset)) if return_std else y

    @by_name
    def prediction_interval(self, X, *, tasks=None, offset=None, level=0.95):
        """Intervals that hold the target of a row with a probability.

        Parameters
        ----------
        X, tasks, offset
            As in `predict`.
        level : float in (0, 1), default=0.95
            Probability.

        Returns
        -------
        ndarray of shape (2, n_samples) or (2, n_samples, n_tasks)
            Lower and upper ends.

        See Also
        --------
        TaskConformalRegressor.predict_interval : Intervals around any model, whatever its noise.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1; got {level!r}.")
        if not self._target_.loss.quadratic:
            raise ValueError(f"prediction_interval needs loss='squared_error'; got loss={self.loss!r}.")
        y, std = self.predict(X, tasks=tasks, offset=offset, return_std=True)
        width = special.stdtrit(self._known_posterior().moments.df, 0.5 + 0.5 * level) * std
        return np.stack([y - width, y + width])
