"""Which columns belong together: those that transformers make of one feature of the data."""

import re
from collections.abc import Iterable
from copy import copy

import numpy as np
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import check_is_fitted

from ._columns import column_names, find_column

TOKEN = "\x00{}\x01"  # in the place of the name of an input: no name of an output has it by chance


def feature_groups(source):
    """Label of the feature of the data that each column comes from, after splines, indicators and the like.

    Of use as `feature_groups` of `GroupSparseRegressor` and `GroupSparseClassifier`, in which columns of
    one group enter or leave together.

    Parameters
    ----------
    source : transformer, or names of features
        * A fitted transformer: `SplineTransformer`, `OneHotEncoder`, `PolynomialFeatures` and every other
          one that names its outputs after its inputs, or a `ColumnTransformer`, `FeatureUnion` or
          `Pipeline` of such. A column of several inputs, an interaction, is labelled by all of them, and
          one of which no input is named, as of a PCA, is a group of its own.
        * The names of the features, a sequence of strings or a data frame: for a model at the end of a
          Pipeline, whose columns are known in its fit only.

    Returns
    -------
    ndarray of str of shape (n_columns,) or callable
        The labels; for names the function that finds them by the names of the columns, see Notes.

    Raises
    ------
    TypeError
        If a transformer does not name its outputs, or the source is neither a transformer nor names.
    sklearn.exceptions.NotFittedError
        If the transformer is not fitted.

    Notes
    -----
    In a Pipeline the steps before the model must name their columns, `set_output(transform="pandas")`.
    A column is one of the features whose names it begins with, after the name of a step and two
    underscores, or holds after a space, and ends there or goes on with an underscore, a space, a caret
    or an equals sign: "age_sp_3", "step__colour_dark red", "age height^2". The longest name counts.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import SplineTransformer
    >>> from skmtl import feature_groups
    >>> splines = SplineTransformer(n_knots=2, degree=2).fit(np.random.default_rng(0).normal(size=(9, 2)))
    >>> feature_groups(splines).tolist()
    ['x0', 'x0', 'x0', 'x1', 'x1', 'x1']
    """
    if hasattr(source, "fit"):
        check_is_fitted(source)
        return _Columns(source).labels()
    names = column_names(source)
    names = source if names is None else names
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(
            "source must be a fitted transformer, the names of features or a data frame; got "
            f"{type(source).__name__}."
        )
    return GroupsByName(names)


class GroupsByName:
    """Finds the group of each column by its name, among those of some features."""

    def __init__(self, features):
        self.features = [str(name) for name in features]

    def __repr__(self):
        return f"feature_groups({self.features})"

    def __call__(self, names):
        """Labels of the columns of these names, (n_columns,)."""
        found = "|".join(re.escape(name) for name in sorted(self.features, key=len, reverse=True))
        pattern = re.compile(rf"(?:^|(?<=__)|(?<= ))(?:{found})(?=$|[_ ^=])")
        each = [dict.fromkeys(pattern.findall(str(name))) for name in names]
        lost = [str(name) for name, own in zip(names, each, strict=True) if not own]
        if lost:
            raise ValueError(
                f"feature_groups: the columns {lost[:5]} begin with none of the names of the features "
                f"{self.features[:5]}. Steps before the model name their columns by "
                "set_output(transform='pandas')."
            )
        return np.array([" ".join(own) for own in each])


class _Columns:
    """Columns on their way through fitted steps: of each the numbers of the sources that it comes from."""

    def __init__(self, transformer):
        named = getattr(transformer, "feature_names_in_", None)
        n_inputs = transformer.n_features_in_
        self.sources = [f"x{j}" for j in range(n_inputs)] if named is None else [str(name) for name in named]
        self.found = self._after(transformer, [(j,) for j in range(n_inputs)])

    def labels(self):
        """Names of the sources of each column."""
        return np.array([" ".join(self.sources[j] for j in own) for own in self.found])

    def _after(self, step, columns):
        """The columns that a step makes of others."""
        if step in (None, "passthrough"):
            return columns
        if isinstance(step, Pipeline):
            for _, inner in step.steps:
                if inner in (None, "passthrough") or hasattr(inner, "transform"):  # else it is the model
                    columns = self._after(inner, columns)
            return columns
        if isinstance(step, FeatureUnion):
            parts = [self._after(inner, columns) for _, inner in step.transformer_list if inner != "drop"]
            return [own for part in parts for own in part]
        # what a ColumnTransformer alone has: its module would load the linear models of scikit-learn
        side_by_side = hasattr(step, "output_indices_")
        return (self._side_by_side if side_by_side else self._named)(step, columns)

    def _side_by_side(self, step, columns):
        """Those of a ColumnTransformer."""
        names, out = getattr(step, "feature_names_in_", None), {}
        for name, inner, chosen in step.transformers_:
            if isinstance(inner, str) and inner == "drop":
                continue
            at = _positions(chosen, names, len(columns))
            if at:
                place = step.output_indices_[name]
                made = self._after(inner, [columns[j] for j in at])
                out.update(zip(range(place.start, place.stop), made, strict=True))
        return [out[j] for j in range(len(out))]

    def _named(self, step, columns):
        """Those of a transformer that says itself how its outputs are called."""
        if not hasattr(step, "get_feature_names_out"):
            raise TypeError(
                f"feature_groups: {type(step).__name__} has no get_feature_names_out, which says how its "
                "outputs are called. A FunctionTransformer has it with feature_names_out='one-to-one'."
            )
        unnamed = copy(step)  # one that was fitted on a frame answers for the names of that frame only
        vars(unnamed).pop("feature_names_in_", None)
        tokens = np.array([TOKEN.format(j) for j in range(len(columns))], dtype=object)
        out = []
        for name in unnamed.get_feature_names_out(tokens):
            inputs = [int(j) for j in re.findall(TOKEN.format(r"(\d+)"), name)]
            if not inputs:
                self.sources.append(str(name))
            own = {j: None for i in inputs for j in columns[i]} or {len(self.sources) - 1: None}
            out.append(tuple(sorted(own)))
        return out


def _positions(chosen, names, n_columns):
    """Positions of the columns that a fitted ColumnTransformer has chosen."""
    names = None if names is None else list(names)

    def position(key):
        return find_column(key, names, n_columns, "columns=")

    if isinstance(chosen, slice):
        start, stop = chosen.start, chosen.stop
        if isinstance(start, str) or isinstance(stop, str):  # of names the end belongs to it
            first = 0 if start is None else position(start)
            return list(range(first, n_columns if stop is None else position(stop) + 1, chosen.step or 1))
        return list(range(n_columns))[chosen]
    chosen = np.atleast_1d(np.asarray(chosen, dtype=object))
    if len(chosen) and all(isinstance(key, (bool, np.bool_)) for key in chosen):
        return np.flatnonzero(chosen).tolist()
    return [position(key) for key in chosen]
