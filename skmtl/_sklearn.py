"""What the package takes from the private parts of scikit-learn: all of it, and why no public name serves.

`PathSearchCV` also calls methods of `GridSearchCV`, which it is, that read scorers and metadata, put results
into a table and choose among them. The public way, a grid search over the results of the paths in the place
of a model, gives the same and takes a fifth longer.
"""

import inspect
import sys
import warnings
from copy import copy
from weakref import finalize

import numpy as np
from sklearn import base, utils
from sklearn.externals import array_api_compat
from sklearn.model_selection import _validation
from sklearn.utils import _array_api, _param_validation, metaestimators, validation
from sklearn.utils._repr_html import estimator as diagrams

# --- constraints of parameters: checks by hand, the public way, word every error anew ---

fit_context = base._fit_context
HasMethods, Interval = _param_validation.HasMethods, _param_validation.Interval
Options, StrOptions = _param_validation.Options, _param_validation.StrOptions
validate_params = _param_validation.validate_params
validate_parameter_constraints = _param_validation.validate_parameter_constraints

# --- rows and columns of any container: `len`, `shape`, slices and `iloc` serve for some of them each ---

num_samples = validation._num_samples
safe_split = metaestimators._safe_split  # of a precomputed kernel the columns as well
check_method_params = validation._check_method_params  # metadata that are one per row, among others
get_feature_names = validation._get_feature_names  # `validate_data` keeps them in an estimator only
check_response_method = validation._check_response_method  # its error names the model and the methods


def safe_indexing(X, indices, *, axis=0):
    """Rows or columns of any container in memory."""
    if type(X) is np.ndarray and axis == 0 and type(indices) is np.ndarray:
        return X[indices]  # what scikit-learn asks of any container first takes longer
    if hasattr(X, "__dask_graph__"):
        raise TypeError(
            f"a {type(X).__name__} of Dask was given where rows in memory are needed: "
            "use the estimators of skmtl.dask, or its compute()."
        )
    # a batch, which scikit-learn does not know
    if hasattr(X, "column_names") and not hasattr(X, "combine_chunks"):
        X = sys.modules["pyarrow"].Table.from_batches([X])
    return utils._safe_indexing(X, indices, axis=axis)


# --- arrays of other libraries, on a GPU say: scikit-learn's own array-api-compat tells them apart ---

array_namespace = array_api_compat.array_namespace


def is_elsewhere(X):
    """Whether X is an array of the array API on a device whose memory NumPy does not see."""
    known = array_api_compat.is_array_api_obj(X) and not array_api_compat.is_lazy_array(X)
    return known and "cpu" not in str(array_api_compat.device(X)).lower()


def in_memory(values):
    """The same for NumPy, where `is_elsewhere`."""
    return _array_api._convert_to_numpy(values, array_namespace(values)) if is_elsewhere(values) else values


# --- HTML: only a block of a diagram has a place for what a fit says of itself ---

visual_block = diagrams._VisualBlock

# --- boosted trees: stages of predictions are public, a model after some of its rounds is not ---


def after_rounds(model, n_rounds):
    """Fitted boosted trees as they were after so many rounds."""
    model = copy(model)
    model._predictors = model._predictors[:n_rounds]
    return model


# --- scores: `GridSearchCV` keeps for itself what it does with fits and scores that fail ---

score_fitted = _validation._score
insert_error_scores = _validation._insert_error_scores
warn_or_raise_about_fit_failures = _validation._warn_or_raise_about_fit_failures


def is_scorer(metric):
    """Whether a metric is the name of a scorer, or one by `make_scorer`."""
    return isinstance(metric, str) or hasattr(metric, "_score_func")


def scorer_parts(scorer):
    """Function, sign, keyword arguments and response method of a scorer, which shows none of them."""
    return scorer._score_func, scorer._sign, dict(scorer._kwargs), scorer._response_method


def named_scorers(scorer):
    """The scorers by name where there are several, else None."""
    return getattr(scorer, "_scorers", None)


def takes_weights(scorer):
    """Whether a scorer says that it takes sample weights."""
    return getattr(scorer, "_accept_sample_weight", lambda: False)()


class _Again:
    """In the place of the pattern of a warnings filter: raises an error once, at a text that quotes it."""

    pattern = "(?!)"  # of no text: what `Parallel` reads to give its workers the same filters

    def __init__(self, words):
        self.words = words

    def match(self, text):
        """Raise the error where the text quotes it, and leave the filters."""
        if text.startswith("Scoring failed") and self.words in text:
            self.leave()
            raise ValueError(self.words)

    def leave(self):
        """Leave the filters."""
        warnings.filters[:] = [entry for entry in warnings.filters if entry[1] is not self]


def refuse(message):
    """Raise a ValueError that a search does not turn into the score NaN.

    With ``error_score=nan``, its default, scikit-learn catches what scoring raises, warns "Scoring failed"
    with the traceback and goes on to pick any candidate; there is no exception that it lets through. Only
    while it waits for that score is there a filter, for that one warning, which raises the error again.
    """
    frame = _caller(lambda frame: frame.f_code is score_fitted.__code__)  # waits for a score
    if frame is not None and frame.f_locals.get("error_score", "raise") != "raise":
        again = _Again(message)
        warnings.filterwarnings("error", "Scoring failed", UserWarning)
        warnings.filters[0] = (warnings.filters[0][0], again, *warnings.filters[0][2:])
        frame.f_locals["until_then"] = stay = type("Stay", (), {})()  # as long as the frame does
        finalize(stay, again.leave)
    raise ValueError(message)


def asks_for(estimator, name):
    """Whether `set_fit_request` of an estimator, and no default, asks for that metadata."""
    own = vars(estimator).get("_metadata_request")
    return own is not None and own.fit.requests.get(name) is True


def in_cross_validation():
    """Whether scikit-learn's cross-validation or a search of it waits for what is computed."""
    return _caller(lambda frame: frame.f_globals is vars(_validation)) is not None


def _caller(wanted):
    """The nearest frame for which `wanted` is true, or None."""
    frame = inspect.currentframe().f_back
    while frame is not None and not wanted(frame):
        frame = frame.f_back
    return frame
