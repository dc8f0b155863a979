"""Warnings that name the line of the user's code, whatever lies between it and the library."""

import contextlib
import os
import re
import sys
import warnings
from contextvars import ContextVar

import joblib
import numpy as np
import sklearn

FILES = __file__, joblib.__file__, np.__file__, sklearn.__file__
INSIDE = (*(os.path.dirname(file) + os.sep for file in FILES), contextlib.__file__)
SAID = ContextVar("said", default=None)  # what a call has warned of
FIGURES = re.compile(r"\[.*?\]|'[^']*'|[\d.]+(e[+-]?\d+)?")  # and names


@contextlib.contextmanager
def saying_once():
    """Each warning once, whatever is fitted inside and whatever its figures, names and lists.

    Python does so by default, but forgets what it has said wherever a `catch_warnings` ends.
    """
    outermost = SAID.get() is None
    if outermost:
        SAID.set(set())
    try:
        yield
    finally:
        if outermost:
            SAID.set(None)


def warn(message, category=UserWarning):
    """As `warnings.warn`, at the first line outside; Python 3.12 would do it by `skip_file_prefixes`."""
    said, text = SAID.get(), (category, FIGURES.sub("", message))
    if said is not None:
        if text in said:
            return
        said.add(text)
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(INSIDE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
