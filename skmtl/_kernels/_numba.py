"""How loops are compiled: the only module that imports Numba."""

from numba import boolean, float32, float64, int64, njit, types, uint64

_MATH = {"reassoc", "contract", "arcp", "nsz"}  # not nnan, ninf: NaN must stay visible


def _cacheable():
    """Whether there is a directory for compiled code: without one Numba refuses to cache, and to go on."""
    try:
        njit(cache=True)(_cacheable)
    except RuntimeError:
        return False
    return True


def plain(kernel):
    """The function that a kernel was compiled from: itself where NUMBA_DISABLE_JIT is set."""
    return getattr(kernel, "py_func", kernel)


OPTIONS = {"cache": _cacheable(), "nogil": True, "fastmath": _MATH}
compiled = njit(**OPTIONS)
# a test for a zero divisor in every turn would keep a loop from being vectorised
compiled_unchecked = njit(error_model="numpy", **OPTIONS)

# the types that Python passes
NUMBER, INTEGER, FLAG = float64, int64, boolean
VECTOR, MATRIX, CUBE = float64[::1], float64[:, ::1], float64[:, :, ::1]
ROWS, ROW = types.Array(float64, 2, "C", readonly=True), types.Array(float64, 1, "C", readonly=True)
CUBES = types.Array(float64, 3, "C", readonly=True)
BOUNDS, PLACES = types.Array(int64, 1, "C", readonly=True), int64[::1]
SUMS, PLACE = uint64[::1], uint64
SINGLE, SINGLE_VECTOR, SINGLE_CUBE = float32, float32[::1], float32[:, :, ::1]
