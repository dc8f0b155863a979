"""Norms and scores along strengths."""

from collections.abc import Mapping
from numbers import Real

import numpy as np
from sklearn.base import is_classifier, is_regressor

from .. import linear_model
from .._columns import column_names, split_task_column
from .._fitted import feature_names, features_seen, final_fitted
from .._task_scores import standard_deviation
from ..linear_model import LinearModel
from ..model_selection import path
from ._drawing import GREY, SEVERAL, Display, checked, log_ticks, short_names

BELOW = 4.5  # the axis, by how many letters a legend stands


class PathDisplay(Display):
    """Along falling strengths: the norm of the coefficients of each feature, and the score of held-out rows.

    The chosen strength is marked. Of the scores, means over folds are drawn with their standard errors, and
    a band from the best mean to one standard error below: strengths in it are not clearly worse.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,)
        Strengths.
    norms : array-like of shape (n_alphas, n_features), default=None
        Norms of the coefficients of each feature over the tasks.
    features : sequence of str, default=None
        Names of the features.
    scores : array-like of shape (n_alphas, n_folds), default=None
        Scores of held-out rows, the greater the better.
    chosen : float, default=None
        The strength that was chosen.
    score_name, alpha_name : str, default="score", "alpha"
        What they are called.

    Attributes
    ----------
    ax_ : matplotlib axes
        Where it was drawn; where there are norms and scores the axes around both.
    norms_ax_, scores_ax_ : matplotlib axes or None
        Those of the norms and of the scores.
    figure_ : matplotlib figure
        The figure of these axes.
    lines_ : list of matplotlib lines
        The norms of the features that are named, the greatest first.

    Examples
    --------
    >>> from skmtl import MultiTaskLasso, PathSearchCV
    >>> from skmtl.datasets import make_multitask_regression
    >>> from skmtl.inspection import PathDisplay
    >>> data = make_multitask_regression(n_tasks=4, n_samples=30, random_state=0)
    >>> search = PathSearchCV(MultiTaskLasso(), alphas=10, eps=0.01).fit(data.X, data.y, tasks=data.tasks)
    >>> display = PathDisplay.from_estimator(search, data.X, data.y, data.tasks)
    >>> display.scores_ax_.get_ylabel()
    'R²'
    """

    def __init__(
        self, alphas, *, norms=None, features=None, scores=None, chosen=None, score_name="score",
        alpha_name="alpha",
    ):  # fmt: skip
        self.alphas, self.norms, self.features, self.scores = alphas, norms, features, scores
        self.chosen, self.score_name, self.alpha_name = chosen, score_name, alpha_name

    @classmethod
    def from_estimator(
        cls, estimator, X=None, y=None, tasks=None, *, alphas=50, eps=1e-3, ax=None, **options
    ):
        """Draw the path of a fitted search, or of a fitted model.

        Parameters
        ----------
        estimator : estimator
            A fitted `PathSearchCV`, or another search over a strength, `MultiTaskLassoCV` and its like, or a
            linear model with tasks; also with a Pipeline. A linear model alone need not be fitted.
        X, y, tasks
            The rows of the fit, for the norms: `skmtl.path` is computed on them. Without them there are
            scores alone.
        alphas, eps
            Strengths of the norms, as in `skmtl.path`, where there are none that were searched.
        %(ax)s
        %(options)s

        Returns
        -------
        PathDisplay
        """
        if isinstance(estimator, LinearModel) and not hasattr(estimator, "coef_") and X is not None:
            found = _along(path(estimator, X, y, tasks, alphas, eps), _names(estimator, X))
            return cls(**found).plot(ax, **options)
        if hasattr(estimator, "cv_results_") and not hasattr(estimator, "best_estimator_"):  # refit=False
            param = _strength_of(estimator.cv_results_["params"][0])
            return cls.from_cv_results(estimator.cv_results_, param=param, ax=ax, **options)
        model, columns = final_fitted(estimator)
        found = {"chosen": getattr(model, "alpha_", getattr(model, "alpha", None))}
        if hasattr(estimator, "cv_results_"):
            name = _strength_of(estimator.best_params_)
            alphas, found["scores"] = _searched(estimator.cv_results_, name, "test_score")
            found |= {"alpha_name": name, "chosen": estimator.best_params_[name]}
            found["score_name"] = _name_of_score(estimator)
        elif hasattr(model, "mse_path_"):
            model, alphas, errors = _of_folds(model)
            found |= {"scores": -errors, "score_name": "negative mean squared error"}
        elif X is None:
            raise ValueError("X and y are needed for the path of a model that no search has chosen.")
        if X is not None:
            names = feature_names(final_fitted(estimator)[0], columns)
            X, tasks = features_seen(estimator, X, tasks)
            found |= _along(path(model, X, y, tasks, alphas, eps), names)
            alphas = found.pop("alphas")
        return cls(alphas, **found).plot(ax, **options)

    @classmethod
    def from_cv_results(cls, cv_results, *, param="alpha", score="test_score", ax=None, **options):
        """Draw the scores of a search along one of its parameters.

        Where it varied others as well they are those of the best candidate.

        Parameters
        ----------
        cv_results : dict of ndarray
            The `cv_results_` of a search such as `GridSearchCV`.
        param : str, default="alpha"
            Name of the parameter, a positive number.
        score : str, default="test_score"
            Name of the score; of a search with several ``"test_"`` and its name.
        %(ax)s
        %(options)s

        Returns
        -------
        PathDisplay
        """
        alphas, scores = _searched(cv_results, param, score)
        chosen = alphas[np.argmax(np.nan_to_num(scores.mean(axis=1), nan=-np.inf))]
        named = {"score_name": score.removeprefix("test_"), "alpha_name": param}
        return cls(alphas, scores=scores, chosen=chosen, **named).plot(ax, **options)

    def plot(self, ax=None, *, most_named=8):
        """Draw norms and scores.

        Parameters
        ----------
        %(ax)s
        most_named : int, default=8
            How many features are named, those with the greatest norms.

        %(drawn)s
        ValueError
            If there is nothing to draw, or shapes do not fit together.
        """
        alphas = checked("alphas", self.alphas, (None,))
        if self.norms is None and self.scores is None:
            raise ValueError("norms or scores are needed; got neither.")
        both = self.norms is not None and self.scores is not None
        ink = self._begin(ax, (7, 5.5 if both else 3.8))
        self.norms_ax_ = self.scores_ax_ = None
        places, known = [self.ax_], isinstance(self.chosen, (int, float))
        if both:
            self.ax_.set_axis_off()
            places = [self.ax_.inset_axes([0, 0.5, 1, 0.5]), self.ax_.inset_axes([0, 0, 1, 0.46])]
        if self.norms is not None:
            self.norms_ax_ = places[0]
            self._draw_norms(alphas, most_named)
        if self.scores is not None:
            self.scores_ax_ = places[-1]
            self._draw_scores(alphas)
        for place in places:
            log_ticks(place, alphas)
            place.margins(x=0.03)
            place.autoscale(axis="x")
            place.invert_xaxis()
            if known:
                place.axvline(self.chosen, color=ink, linewidth=1, linestyle="--", label="chosen")
        if both:
            places[0].tick_params(labelbottom=False)
        places[-1].set_xlabel(f"{self.alpha_name} (falling)")
        if known:
            edge = self.scores is not None and self.chosen in (alphas.max(), alphas.min()) and len(alphas) > 1
            text = f"chosen: {self.alpha_name} = {self.chosen:.3g}{', the last of those tried' * edge}"
            places[0].set_title(text, fontsize="medium", loc="left", color=ink)
        return self

    def _draw_norms(self, alphas, most_named):
        norms = checked("norms", self.norms, (len(alphas), None))
        n_features = norms.shape[1]
        names = [f"x{j}" for j in range(n_features)] if self.features is None else self.features
        if len(names) != n_features:
            raise ValueError(f"features must name the {n_features} columns of norms; got {len(names)}.")
        order = np.argsort(-norms[np.argmin(alphas)], kind="stable")
        ax, rest = self.norms_ax_, order[most_named:]
        others = ax.plot(alphas, norms[:, rest], color=GREY, linewidth=0.6, alpha=0.6)[:1]
        for line in others:
            line.set_label(f"{len(rest)} others")
        self.lines_, named = [], order[:most_named]
        for k, (j, name) in enumerate(zip(named, short_names([names[j] for j in named]), strict=True)):
            style = "-" if k < len(SEVERAL) else "--"
            color = SEVERAL[k % len(SEVERAL)]
            self.lines_ += ax.plot(alphas, norms[:, j], style, color=color, linewidth=1.6, label=name)
        ax.set_ylabel("norm over tasks")
        place = {"loc": "upper left", "bbox_to_anchor": (1, 1), "frameon": False, "fontsize": "small"}
        ax.legend(handles=self.lines_ + others, **place)

    def _draw_scores(self, alphas):
        scores = checked("scores", self.scores, (len(alphas), None))
        mean, n = scores.mean(axis=1), scores.shape[1]
        deviation = [standard_deviation(one) if n > 1 else 0.0 for one in scores]
        error, ax = np.array(deviation) / np.sqrt(n), self.scores_ax_
        best = np.argmax(np.nan_to_num(mean, nan=-np.inf))
        one, other = SEVERAL[:2]
        ax.fill_between(alphas, mean - error, mean + error, color=one, alpha=0.3, linewidth=0)
        label = f"mean of {n} folds ± standard error"
        ax.plot(alphas, mean, color=one, marker=".", markersize=4, label=label)
        if n > 1:
            band, label = (mean[best] - error[best], mean[best]), "within one standard error of the best"
            ax.axhspan(*band, color=other, alpha=0.35, linewidth=0, label=label)
        ax.set_ylabel(self.score_name)
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": BELOW}
        ax.legend(**place, ncols=2, frameon=False, fontsize="small")


def _along(found, names):
    """What is drawn of a `CoefficientPath`."""
    coef = np.reshape(found.coef, (len(found.alphas), -1, found.coef.shape[-1]))
    return {"alphas": found.alphas, "norms": np.linalg.norm(coef, axis=1), "features": names}


def _names(model, X):
    """Names of the features of X for a model that is not fitted; None where there are none."""
    column = model.task_column
    names = column_names(X if column is None else split_task_column(X, column)[0])
    return None if names is None else list(map(str, names))


def _strength_of(params):
    """The name of the strength among the parameters of a search."""
    names = [name for name in params if name.split("__")[-1] == "alpha"]
    if len(names) != 1:
        raise ValueError(
            f"the search tried {sorted(params)}, not one strength alpha: use "
            "PathDisplay.from_cv_results(search.cv_results_, param=...)."
        )
    return names[0]


def _name_of_score(search):
    """What a search maximised, in words."""
    if isinstance(search.scoring, str):
        return search.scoring.replace("_", " ")
    if search.scoring is None and (is_regressor(search) or is_classifier(search)):
        return "R²" if is_regressor(search) else "accuracy"
    return "score"


def _of_folds(model):
    """Of `MultiTaskLassoCV` and its like: the model of one strength, strengths, errors at the best ratio."""
    plain = getattr(linear_model, type(model).__name__.removesuffix("CV"))()
    params = {name: getattr(model, f"{name}_", getattr(model, name, None)) for name in plain.get_params()}
    alphas, errors = np.asarray(model.alphas_), model.mse_path_
    if errors.ndim == 3:
        at = list(np.atleast_1d(model.l1_ratio)).index(model.l1_ratio_)
        alphas, errors = alphas[at] if alphas.ndim == 2 else alphas, errors[at]
    return plain.set_params(**params), alphas, errors


def _searched(results, param, score):
    """Values of a parameter, scores (n_values, n_folds) there; the candidates are else as the best one."""
    if not isinstance(results, Mapping):
        raise TypeError(
            f"cv_results must be a dict, the cv_results_ of a search; got {type(results).__name__}."
        )
    if f"param_{param}" not in results:
        known = [name.removeprefix("param_") for name in results if name.startswith("param_")]
        raise ValueError(f"param={param!r} is not among the parameters of the search, {known}.")
    folds = [name for name in results if name.startswith("split") and name.endswith(f"_{score}")]
    if not folds:
        raise ValueError(f"score={score!r} is not among the scores of the search.")
    scores = np.transpose([results[name] for name in folds])
    best = results["params"][np.argmax(np.nan_to_num(scores.mean(axis=1), nan=-np.inf))]
    same = [
        i for i, one in enumerate(results["params"])
        if all(one[key] is best[key] or one[key] == best[key] for key in one if key != param)
    ]  # fmt: skip
    values = [results["params"][i][param] for i in same]
    if not all(isinstance(value, Real) for value in values):
        raise ValueError(
            f"param={param!r} must hold numbers to be drawn along; the search tried {values[:5]}."
        )
    values = np.array(values, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    return values[order], scores[same][order]
