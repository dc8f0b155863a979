"""Compiling ahead of the first fit."""

from time import perf_counter


def warm_up():
    """Compile all loops ahead of the first fit that needs them.

    Some loops are compiled by Numba, each when a fit needs it for the first time, which takes about a
    second for each. Compiled code is kept on disk for later processes: in the directory of the package or,
    where that cannot be written to, in the cache directory of the user, or in the one that the environment
    variable ``NUMBA_CACHE_DIR`` names. Call this function once where the first fit should not wait: when
    a container image is built or when a service starts.

    Returns
    -------
    dict of {str: float}
        Seconds spent on each loop; a fraction of one where it was found on disk.

    Examples
    --------
    >>> from skmtl import warm_up
    >>> seconds = warm_up()
    >>> "descend_shared" in seconds
    True
    """
    from . import _kernels  # Numba is imported by the first fit that needs it

    seconds = {}
    for name, types in _kernels.SIGNATURES.items():
        start, kernel = perf_counter(), getattr(_kernels, name)
        if hasattr(kernel, "compile"):  # it is a plain function where NUMBA_DISABLE_JIT is set
            kernel.compile(types)
        seconds[name] = perf_counter() - start
    return seconds
