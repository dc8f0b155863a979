"""Warnings that name the line of the user's code, whatever lies between it and the library."""

import contextlib
import os
import sys
import warnings

import joblib
import numpy as np
import sklearn

FILES = __file__, joblib.__file__, np.__file__, sklearn.__file__
INSIDE = (*(os.path.dirname(file) + os.sep for file in FILES), contextlib.__file__)


def warn(message, category=UserWarning):
    """As `warnings.warn`, at the first line outside; Python 3.12 would do it by `skip_file_prefixes`."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(INSIDE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
