"""Columns in units far from one, which a network could not learn from, in units that it can."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

LARGEST, USUAL, SMALLEST = 100.0, 3.0, 1 / 30  # absolute values of columns
FAR = 5.0  # centre of the range over half of it, beyond which a column is shifted


@dataclass
class Units:
    """Columns as (X - center) / scale, a fixed layer below the network."""

    center: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, X):
        """Units of the columns of X, or None where all may stay as they are.

        From the range alone, which does not depend on how often a row is there.
        """
        ends = X.min(axis=0), X.max(axis=0)
        low, high = np.vstack([end.toarray() if sparse.issparse(end) else end for end in ends]).astype(float)
        middle, half = low / 2 + high / 2, high / 2 - low / 2
        top = np.maximum(np.abs(low), np.abs(high))
        far = (np.abs(middle) > FAR * half) & ((half > 0) | (top > LARGEST))
        small = (top < SMALLEST) & (top > 0)
        large = (top > USUAL) & (top[~far] > LARGEST).any()  # one too large: columns stay in proportion
        if not (far | small | large).any():
            return None
        scale = np.select([far & (half > 0), far, small, large], [half, 1.0, top, top / USUAL], 1.0)
        return cls(np.where(far, middle, 0.0), scale)

    def apply(self, X):
        """X in these units, in its own precision."""
        out = X.astype(np.float64)
        if sparse.issparse(X):  # a column far from zero has no zeros: it stays as full as it is
            far, n = np.flatnonzero(self.center), X.shape[0]
            if len(far):
                entries = np.tile(self.center[far], n), np.tile(far, n), len(far) * np.arange(n + 1)
                out = (out - type(out)(entries, shape=X.shape)).tocsr()
            out.data /= self.scale[out.indices]
        else:
            out -= self.center
            out /= self.scale
        return out.astype(X.dtype, copy=False)


def as_floats(X):
    """X as a float array or CSR matrix, of single precision where it was so."""
    dtype = np.float32 if X.dtype == np.float32 else np.float64
    return X.tocsr().astype(dtype, copy=False) if sparse.issparse(X) else np.ascontiguousarray(X, dtype=dtype)
