"""How `speed.py` measures: child processes that may be ended, interleaved runs, the page for the results."""

import importlib.metadata
import math
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import _peers as peers
import numpy as np
import threadpoolctl

LIBRARIES = ["numpy", "scipy", "numba", "scikit-learn", "celer", "skglm", "adelie"]
SAMPLE = 0.1  # seconds below which a run is repeated within a round


class Found(NamedTuple):
    """What a run in a child process showed.

    `memory` is its peak in MB beyond what the process held before, `reported` the gap that a program claims.
    """

    setting: float
    seconds: float
    gap: float
    memory: float
    reported: float


def calibrate(problem, entry, goal, clock, limit):
    """`Found` of the loosest setting that reaches the goal, or in words why there is none.

    The child process has `limit` seconds of CPU time for all settings together.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)
    arguments = problem, entry, goal, clock, math.ceil(limit), sender
    process = multiprocessing.get_context("fork").Process(target=_child, args=arguments)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return f"not in {limit:.0f} s of trials"
    finally:
        process.join()


def _child(problem, entry, goal, clock, limit, sender):
    """Climb the settings and send what was found; the system ends a process that has used up its seconds."""
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    try:
        for setting in entry.settings:
            before, start = peak(), clock()
            result = entry.run(setting)
            seconds, memory = clock() - start, peak() - before
            gap = peers.worst(problem, entry.read(result))
            if not gap > 1.01 * goal:
                return sender.send(Found(setting, seconds, gap, memory, getattr(result, "dual_gap_", np.nan)))
        sender.send(f"gap {gap:.0e} at its last setting")
    except Exception as error:
        sender.send(f"{type(error).__name__}: {error}")


def peak():
    """Largest memory of this process so far in MB; a fork starts anew from what it inherits."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def interleaved(runs, options, guess=None):
    """Median seconds of calls that take turns, by name; without a `guess` of them after one round more."""
    if guess is None:
        guess = {}
        for name, run in runs.items():
            start = options.clock()
            run()
            guess[name] = options.clock() - start
    samples = {name: [] for name in runs}
    for name in list(runs) * options.rounds:
        count = int(np.clip(SAMPLE / max(guess[name], 1e-9), 1, 100))
        start = options.clock()
        for _ in range(count):
            runs[name]()
        samples[name].append((options.clock() - start) / count)
    return {name: float(np.median(values)) for name, values in samples.items()}


def python(code, **environment):
    """CPU seconds of a fresh interpreter, and what it printed as numbers."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command, environment = [sys.executable, "-c", code], os.environ | environment
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(done.stderr.splitlines()[-1])
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, [float(text) for text in done.stdout.split()]


def shown(value):
    """Seconds in three digits."""
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def machine(options):
    """What was measured where, in a line."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((text.split(":")[1].strip() for text in lines if text.startswith("model name")), model)
    found = []
    for library in LIBRARIES:
        try:
            found.append(f"{library} {importlib.metadata.version(library)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {library}")
    pools = {f"{pool['internal_api']} {pool['num_threads']}" for pool in threadpoolctl.threadpool_info()}
    return (
        f"Medians of {options.rounds} interleaved rounds, {options.clock_name} time; {os.cpu_count()} cores, "
        f"{model}; threads: {', '.join(sorted(pools))}; Python {platform.python_version()}, "
        f"{', '.join(found)}."
    )


def write(page, name, lines, order=()):
    """Put lines between the marks of a block of the page.

    With the `order` of the rows of a table, lines replace those with the same first cell and the rest stays.
    """
    text = page.read_text()
    before, rest = text.split(f"<!-- {name} -->\n")
    old, after = rest.split(f"<!-- end of {name} -->\n")
    if order:
        kept = {_first_cell(text): text for text in [*old.splitlines(), *lines]}
        lines = [*lines[:2], *(kept[row] for row in order if row in kept)]
    body = "\n".join(lines)
    page.write_text(f"{before}<!-- {name} -->\n{body}\n<!-- end of {name} -->\n{after}")


def _first_cell(text):
    """Of a line of a table."""
    return text.split("|")[1].strip() if text.startswith("|") else ""
