"""Heat maps of what a model says of tasks: their coefficients, and how alike they are."""

import numpy as np
from scipy.sparse.linalg import eigsh
from scipy.spatial.distance import pdist, squareform

from .._fitted import fitted_coefficients
from ._drawing import (
    DIVERGING,
    MOST_IN_TREE,
    Display,
    along_most,
    checked,
    clustered,
    draw_tree,
    name_tasks,
    name_ticks,
)

ONE_SIDED, ALIKE = "Reds", 0.5  # colours where no similarity is below this part of the greatest
MOST_ROWS, MOST_COLUMNS = 45, 40  # that are named
MOST_PAIRED = 5000  # tasks of which all pairs are drawn
BEYOND, MANY = 99, 300  # percentile of the sizes at which colours end, where there are more than so many


class CoefficientDisplay(Display):
    """Heat map of coefficients, a row for each task, ordered so that tasks that are alike stand together.

    Blue is negative, red positive, white zero. Where a model writes its coefficients as a sum, its parts
    stand side by side.

    Parameters
    ----------
    parts : dict of {str: array-like of shape (n_rows, n_features)}
        What to draw side by side, by its title.
    tasks, features : sequence of str
        Names of the rows and of the columns.

    Attributes
    ----------
    ax_ : matplotlib axes
        Where it was drawn; with several parts the axes around them.
    axes_ : list of matplotlib axes
        Those of the parts.
    figure_ : matplotlib figure
        The figure of these axes.
    images_ : list of matplotlib images
        The heat maps.
    tasks_, features_ : list of str
        Names of the rows and columns as they are drawn.

    See Also
    --------
    skmtl.summary : The same as tables.

    Examples
    --------
    >>> from skmtl import GroupSparseRegressor
    >>> from skmtl.datasets import make_multitask_regression
    >>> from skmtl.inspection import CoefficientDisplay
    >>> data = make_multitask_regression(n_tasks=4, n_samples=30, random_state=0)
    >>> model = GroupSparseRegressor(0.1).fit(data.X, data.y, tasks=data.tasks)
    >>> display = CoefficientDisplay.from_estimator(model)
    >>> display.images_[0].get_array().shape
    (4, 20)
    """

    def __init__(self, parts, *, tasks, features):
        self.parts, self.tasks, self.features = parts, tasks, features

    @classmethod
    def from_estimator(cls, estimator, *, feature_names=None, ax=None, **options):
        """Draw the coefficients of a fitted model.

        Parameters
        ----------
        estimator : estimator
            A fitted linear model with tasks, also at the end of a Pipeline or in a search. With more than two
            classes each class of a task has a row.
        feature_names : sequence of str, default=None
            Names of the features in the place of those seen in fit.
        %(ax)s
        %(options)s

        Returns
        -------
        CoefficientDisplay
        """
        found = fitted_coefficients(estimator, feature_names)
        parts = found.parts or {"coefficients": found.coef}
        return cls(parts, tasks=found.rows, features=found.features).plot(ax, **options)

    def plot(self, ax=None, *, n_features=40, cluster=True, cmap=DIVERGING):
        """Draw the heat maps.

        Parameters
        ----------
        %(ax)s
        n_features : int, default=40
            How many features at most are drawn, those with the greatest coefficients.
        cluster : bool, default=True
            Whether rows that are alike stand together, by a tree or, if they are more than 2000, along the
            direction in which they differ the most; else they are in the order given.
        cmap : str or Colormap, default="RdBu_r"
            Map of colours, its middle at zero.

        %(drawn)s
        ValueError
            If shapes and names do not fit together.
        """
        shape = len(self.tasks), len(self.features)
        parts = {name: checked(f"parts[{name!r}]", V, shape) for name, V in self.parts.items()}
        if not parts:
            raise ValueError("parts is empty; expected at least one array of coefficients.")
        joint = np.concatenate(list(parts.values()), axis=1)
        size = sum(np.nansum(V**2, axis=0) for V in parts.values())
        columns, left_out = _columns(size, n_features)
        rows = np.arange(shape[0])
        if cluster and shape[0] <= MOST_IN_TREE:
            rows = clustered(pdist(np.nan_to_num(joint)))[1]
        elif cluster:
            rows = along_most(np.nan_to_num(np.concatenate([V[:, columns] for V in parts.values()], axis=1)))
        self.tasks_ = [self.tasks[i] for i in rows]
        self.features_ = [self.features[j] for j in columns]
        width, height = np.clip(0.28 * len(columns), 2.2, 9), np.clip(0.2 * len(rows), 1.6, 8)
        ink = self._begin(ax, (min(1.8 + (width + 0.3) * len(parts), 15), height + 1.4))
        self.axes_ = self._places(len(parts))
        sizes = np.abs(joint[np.isfinite(joint)])
        limit = sizes.max(initial=0)
        if len(sizes) > MANY:
            limit = np.percentile(sizes, BEYOND) or limit
        limit = limit or 1.0
        self.images_ = []
        for place, (name, V) in zip(self.axes_, parts.items(), strict=True):
            image = place.imshow(
                V[np.ix_(rows, columns)], cmap=cmap, vmin=-limit, vmax=limit, aspect="auto",
                interpolation="nearest",
            )  # fmt: skip
            self.images_.append(image)
            name_ticks(place, "x", self.features_, MOST_COLUMNS, size[columns], rotation=60)
            place.set_title(f"{name}{left_out}", fontsize="medium", color=ink)
        for place in self.axes_[1:]:
            place.set_yticks([])
        name_tasks(self.axes_[0], self.tasks_, MOST_ROWS)
        extend = "both" if sizes.max(initial=0) > limit else "neither"
        shrink = {"extend": extend, "label": "coefficient", "fraction": 0.05, "pad": 0.02}
        self.figure_.colorbar(self.images_[0], ax=self.ax_, **shrink)
        return self

    def _places(self, n):
        """The axes, or n axes side by side inside."""
        if n == 1:
            return [self.ax_]
        self.ax_.set_axis_off()
        gap = 0.03
        width = (1 - gap * (n - 1)) / n
        return [self.ax_.inset_axes([k * (width + gap), 0, width, 1]) for k in range(n)]


def _refuse_tasks(n_tasks):
    """ValueError where a picture of all pairs of tasks shows none of them."""
    if n_tasks > MOST_PAIRED:
        raise ValueError(
            f"TaskSimilarityDisplay draws every pair of tasks, of {MOST_PAIRED} at most; got {n_tasks} "
            "tasks. Draw some: TaskSimilarityDisplay(similarity, tasks=names).plot(), with a matrix of these."
        )


def _columns(size, most):
    """Positions of the features that are drawn, and what is said of the others."""
    if len(size) <= most:
        return np.arange(len(size)), ""
    columns = np.sort(np.argsort(-size, kind="stable")[:most])
    used = columns[size[columns] > 0]
    if len(used) == np.count_nonzero(size) > 0:
        return used, f"\n{len(used)} of {len(size)} features, the others are zero"
    return columns, f"\n{len(columns)} of {len(size)} features"


class TaskSimilarityDisplay(Display):
    """Heat map of how alike tasks are, in the order of a dendrogram above it.

    Parameters
    ----------
    similarity : array-like of shape (n_tasks, n_tasks)
        Similarities, such as correlations: 1 for the same, -1 for the opposite.
    tasks : sequence
        Names of the tasks.
    label : str, default="similarity"
        What the colours say.

    Attributes
    ----------
    ax_ : matplotlib axes
        Where the heat map was drawn.
    tree_ax_ : matplotlib axes or None
        Where the dendrogram was, of three tasks and more.
    figure_ : matplotlib figure
        The figure of these axes.
    image_ : matplotlib image
        The heat map.
    order_ : ndarray of shape (n_tasks,)
        Positions of the tasks in the order in which they are drawn.

    Examples
    --------
    >>> from skmtl import TaskRelationshipRegressor
    >>> from skmtl.datasets import make_multitask_regression
    >>> from skmtl.inspection import TaskSimilarityDisplay
    >>> data = make_multitask_regression(n_tasks=6, n_samples=30, structure="clustered", random_state=0)
    >>> model = TaskRelationshipRegressor(0.1).fit(data.X, data.y, tasks=data.tasks)
    >>> display = TaskSimilarityDisplay.from_estimator(model)
    >>> display.label
    'correlation of tasks'
    """

    def __init__(self, similarity, *, tasks, label="similarity"):
        self.similarity, self.tasks, self.label = similarity, tasks, label

    @classmethod
    def from_estimator(cls, estimator, *, of="model", ax=None, **options):
        """Draw how alike a fitted model finds its tasks.

        Parameters
        ----------
        estimator : estimator
            A fitted linear model with tasks, also at the end of a Pipeline or in a search.
        of : {"model", "coefficients", "deviations"}, default="model"
            Which similarity: that of the model, `task_correlation_` or `task_similarity_`, where it has one;
            or the cosine between the coefficients of tasks, or between their deviations from the mean.
        %(ax)s
        %(options)s

        Returns
        -------
        TaskSimilarityDisplay
        """
        if of not in ("model", "coefficients", "deviations"):
            raise ValueError(f"of must be 'model', 'coefficients' or 'deviations'; got {of!r}.")
        found = fitted_coefficients(estimator)
        model, (names, W) = found.model, found.by_task()
        _refuse_tasks(len(names))
        known = {"task_correlation_": "correlation of tasks", "task_similarity_": "similarity of tasks"}
        for name, label in known.items() if of == "model" else ():
            if hasattr(model, name):
                return cls(getattr(model, name), tasks=names, label=label).plot(ax, **options)
        if of == "deviations":
            W = W - W.mean(axis=0)
        length = np.linalg.norm(W, axis=1, keepdims=True)
        W = np.divide(W, length, out=np.zeros_like(W), where=length > 0)
        label = f"cosine between {'coefficients' if of == 'model' else of}"
        return cls(W @ W.T, tasks=names, label=label).plot(ax, **options)

    def plot(self, ax=None, *, cmap=None):
        """Draw the heat map.

        Parameters
        ----------
        %(ax)s
        cmap : str or Colormap, optional
            Map of colours, its middle at zero. Default: "RdBu_r", or "Reds" from the least similarity on
            where all tasks are alike.

        %(drawn)s
        ValueError
            If shapes and names do not fit together, or there are more than 5000 tasks.
        """
        T, names = len(self.tasks), [str(task) for task in self.tasks]
        S = checked("similarity", self.similarity, (T, T))
        _refuse_tasks(T)
        if T <= MOST_IN_TREE:
            away = squareform(np.nanmax(S, initial=0) - S, checks=False)
            tree, self.order_ = clustered(np.maximum(away, 0.0))
        else:
            most = eigsh(np.nan_to_num(S), 1, v0=np.arange(1.0, T + 1))[1][:, 0]
            tree, self.order_ = None, np.argsort(most, kind="stable")
        side = np.clip(0.2 * T, 2.5, 8)
        ink = self._begin(ax, (side + 2.2, side + 1.6))
        limit = np.nanmax(np.abs(S), initial=0) or 1
        least = np.nanmin(S, initial=limit)
        if least > ALIKE * limit:
            self.ax_.set_xlabel(f"all are alike, {least:.3g} or more:\ntheir deviations tell more", color=ink)
        one_sided = cmap is None and ALIKE * limit < least < 0.999 * limit
        self.image_ = self.ax_.imshow(
            S[np.ix_(self.order_, self.order_)], cmap=cmap or (ONE_SIDED if one_sided else DIVERGING),
            vmin=least if one_sided else -limit, vmax=limit, aspect="auto", interpolation="nearest",
        )  # fmt: skip
        ordered = [names[t] for t in self.order_]
        name_ticks(self.ax_, "x", ordered, MOST_COLUMNS, rotation=60)
        name_tasks(self.ax_, ordered, MOST_COLUMNS)
        self.tree_ax_ = None
        if tree is not None:
            self.tree_ax_ = self.ax_.inset_axes([0, 1.01, 1, 0.15])
            draw_tree(self.tree_ax_, tree, ink)
        self.figure_.colorbar(self.image_, ax=self.ax_, label=self.label, fraction=0.05, pad=0.02)
        return self
