"""How fast is skmtl against the best of its peers, at the same certified accuracy?

Usage::

    python examples/benchmarks/speed.py [rows] [--quick] [--rounds 3] [--markdown docs/speed.md]

Rows are names or patterns (`a/10`, `"b/*"`); `--list` shows all. By default the whole table is run, with
`--quick` what is done in a minute; `cold`, `limit`, `scaling` and `mixed` are run when named. Libraries that
are not installed are left out with a line that says so. The rows on School need `--school
path/to/school.npz` (X, y and task: exam scores of the Inner London Education Authority).

All programs run in one process on the same number of threads (OMP_NUM_THREADS, 1 unless set), interleaved;
the figures are medians over the rounds of CPU seconds (`--clock wall` for the other). Each peer runs at the
loosest setting whose result has the gap of the row, found beforehand in a child process that ends after
`--limit` seconds, or 10 times those of the best peer; skmtl at tol = that gap. The gap is recomputed for all
by `Problem.relative_gap` from W and b alone. A peer that was 1.5 times slower than the best one in its child
process is not run again; its one figure is marked with *.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is imported
os.environ.update(
    {f"{lib}_NUM_THREADS": os.environ["OMP_NUM_THREADS"] for lib in ("OPENBLAS", "MKL", "NUMBA")}
)

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import NamedTuple

import _peers as peers
import numpy as np
import threadpoolctl
from _measure import Found, calibrate, interleaved, machine, python, shown, write
from _problems import (
    ENTRIES,
    FEATURES,
    LARGEST,
    TASKS,
    TRACE,
    Problem,
    Tied,
    digits,
    low_rank,
    megabytes,
    school,
    shared_support,
    stacked,
)
from sklearn.base import clone
from sklearn.linear_model import MultiTaskLassoCV

import skmtl

CONTENDERS = 1.5  # a peer this many times slower than the best is not run in the rounds
HOPELESS = 10.0  # nor tried for longer than so many times the best

# --- rows ---


class Row(NamedTuple):
    """A line of the table: `build(options)` gives the problem and, by name, what makes the entries."""

    text: str
    target: str
    goal: float
    quick: bool
    build: Callable


ROWS = {}


def row(name, text, target, goal=1e-6, quick=False):
    """Register what builds a row."""

    def register(build):
        ROWS[name] = Row(text, target, goal, quick, build)
        return build

    return register


def ours(problem, goal, model, parts=("coef_",)):
    """A class of skmtl at tol = goal."""
    model.set_params(tol=goal, fit_intercept=getattr(problem, "fit_intercept", True))

    def read(fitted):
        return [(problem.alpha, [getattr(fitted, part) for part in parts], fitted.intercept_)]

    return peers.Entry(
        [goal], lambda _: model.fit(problem.data.X, problem.data.y, **problem.data.arguments), read
    )


def lasso(name, text, target, make, divisor, goal=1e-6, quick=False, fit_intercept=False):
    """Register a row of the multi-task Lasso."""

    @row(name, f"{text}, alpha_max/{divisor}", target, goal, quick)
    def build(options):
        problem = Problem(make(), fit_intercept=fit_intercept).at(divisor)
        libraries = {library: partial(run, problem, goal) for library, run in peers.LASSO.items()}
        return problem, {
            "skmtl": partial(ours, problem, goal, skmtl.MultiTaskLasso(problem.alpha))
        } | libraries


wide, wide_text = partial(shared_support, 500, 5000, 20), "n=500, p=5000, T=20"
thin, thin_text = partial(shared_support, 20000, 300, 50), "n=20000, p=300, T=50"
large, large_text = partial(shared_support, 1000, 20000, 100), "n=1000, p=20000, T=100"
few_entries = partial(shared_support, 5000, 30000, 10, density=0.005, n_used=100)
sparse_text = "sparse, n=5000, p=30000, 0.5 %, T=10"
lasso("a/2", wide_text, "3", wide, 2, quick=True)
lasso("a/10", wide_text, "5", wide, 10, quick=True)
lasso("a/50", wide_text, "3", wide, 50)
lasso("b/10", thin_text, "20", thin, 10)
lasso("b/100", thin_text, "30", thin, 100)
lasso("c/5", large_text, "6", large, 5)
lasso("c/20", large_text, "3", large, 20)
lasso("d/2", sparse_text, "3.5", few_entries, 2)
lasso("d/10", sparse_text, "3.5", few_entries, 10, quick=True)
lasso(
    "d/10+b", f"{sparse_text}, with intercept", "3.5 (scikit-learn: 20)", few_entries, 10, fit_intercept=True
)
lasso("many", "n=200, p=1000, T=2000", "20", partial(shared_support, 200, 1000, 2000), 10)
lasso("digits/10", "digits, upper half, degree 2 -> lower half", "15", digits, 10, quick=True)
lasso("digits/100", "digits, upper half, degree 2 -> lower half", "15", digits, 100)
lasso(
    "tiny",
    "n=100, p=50, T=5, with intercept",
    "0.67 (scikit-learn)",
    partial(shared_support, 100, 50, 5, n_used=10),
    10,
    goal=1e-4,
    quick=True,
    fit_intercept=True,
)


def path(name, n_alphas, eps, target):
    """Register a path of the multi-task Lasso."""

    @row(name, f"path of {n_alphas} alphas to alpha_max * {eps:g}, {wide_text}", target, 1e-4)
    def build(options):
        problem = Problem(wide()).at(1)
        alphas = problem.alpha * np.geomspace(1, eps, n_alphas)
        X, Y = problem.data.X, problem.data.y
        model = skmtl.MultiTaskLasso(fit_intercept=False, tol=1e-4)

        def read(found):
            return list(zip(found.alphas, found.coef[:, None], found.intercept, strict=True))

        entry = peers.Entry([1e-4], lambda _: skmtl.path(model, X, Y, alphas=alphas), read)
        libraries = {library: partial(run, problem, 1e-4, alphas) for library, run in peers.LASSO.items()}
        return problem, {"skmtl": lambda: entry} | libraries


path("path100", 100, 1e-3, "2")
path("path30", 30, 1e-1, "5 (adelie: 1.5)")


def search(name, text, target, make, with_grid):
    """Register a search of 100 strengths in 5 folds; the gap is that of the final fit."""

    @row(name, f"5-fold CV, 100 alphas, {text}, with intercept", target, 1e-4)
    def build(options):
        problem, theirs = Problem(make(), fit_intercept=True), {"alphas": 100, "cv": 5, "max_iter": 10**6}
        rivals = {"scikit-learn": partial(peers.cross_validated, problem, 5e-5, MultiTaskLassoCV(**theirs))}
        if with_grid:
            rivals["GridSearchCV of skmtl"] = partial(peers.grid_searched, problem, 1e-4)
        model = skmtl.MultiTaskLassoCV(alphas=100, cv=5)
        return problem, {"skmtl": partial(peers.cross_validated, problem, 1e-4, model)} | rivals


search("cv", "n=5000, p=200, T=20", "15", partial(shared_support, 5000, 200, 20), False)
search("cv/b", thin_text, "10 (GridSearchCV: 20)", thin, True)
search("cv/a", wide_text, "3", wide, False)


@row("trace", "trace norm, n=2000, p=200, T=100, rank 10, alpha_max/10", "20")
def trace_norm(options):
    """One X for all tasks."""
    problem = Problem(low_rank(2000, 200, 100), ((1.0, TRACE),)).at(10)
    return problem, against_gradients(problem, skmtl.TraceNormRegressor(problem.alpha))


@row("logistic", "logistic group-sparse, stacked T=50, n_t=200, p=500, with intercept, alpha_max/5", "5")
def logistic(options):
    """Rows of its own for each task."""
    problem = Problem(stacked(50, 200, 500, 25, classes=True), fit_intercept=True, logistic=True).at(5)
    return problem, against_gradients(problem, skmtl.GroupSparseClassifier(problem.alpha))


def against_gradients(problem, model, parts=("coef_",), centred=False):
    """A class of skmtl, and FISTA with both choices of the step."""
    gradients = partial(peers.accelerated, problem, 1e-6, centred=centred)
    return {
        "skmtl": partial(ours, problem, 1e-6, model, parts),
        "FISTA, line search": gradients,
        "FISTA, 1/L": partial(gradients, constant=True),
    }


def decomposed(name, text, penalty, model, divisor=10):
    """Register a model with two parts on School."""

    @row(name, f"{text} on School, with intercepts, alpha_max/{divisor}", "5")
    def build(options):
        if options.school is None:
            raise ValueError("needs --school path/to/school.npz")
        problem = Problem(school(options.school), penalty, fit_intercept=True).at(divisor)
        parts = "shared_coef_", "private_coef_"
        return problem, against_gradients(problem, model.set_params(alpha=problem.alpha), parts, centred=True)


decomposed(
    "dirty", "dirty model", ((0.97, LARGEST), (0.03, ENTRIES)), skmtl.DirtyRegressor(shared_ratio=0.97)
)
decomposed("rmtfl", "rMTFL", ((0.7, FEATURES), (0.3, TASKS)), skmtl.RobustRegressor(shared_ratio=0.7))
subspace = skmtl.RobustRegressor(shared="subspace", shared_ratio=0.7)
decomposed("rmtl", "RMTL", ((0.7, TRACE), (0.3, TASKS)), subspace)


@row("mean", "MeanRegularized, T=10000, n_t=100, p=50, with intercepts (gradient for gap)", "20")
def mean_regularized(options):
    """One Ridge for each task has an easier problem: it shares nothing."""
    problem = Tied(stacked(10_000, 100, 50, 50), alpha=1.0, fit_intercept=True)
    return problem, {
        "skmtl": partial(ours, problem, 1e-6, skmtl.MeanRegularizedRegressor(problem.alpha)),
        "Ridge per task": partial(peers.ridge_per_task, problem, True),
        "Ridge per task, unchecked": partial(peers.ridge_per_task, problem, False),
    }


# --- the table ---

HEADER = [
    "| row | problem; gap | aim | skmtl | best peer | ratio | gaps | all peers (ratios) | peak memory |",
    "|---|---|---|---|---|---|---|---|---|",
]


def contest(problem, makers, goal, options):
    """`Found` or words by program, with the medians of the interleaved runs, and who took part in them."""
    entries, found, guess = {}, {}, {}
    for name, make in makers.items():
        best = min((guess[peer] for peer in guess if peer != "skmtl"), default=np.inf)
        limit = min(options.limit, max(HOPELESS * best, 5.0))
        try:
            entries[name] = make()
        except (ImportError, NotImplementedError) as error:
            print(f"  {name} left out: {error}")
            continue
        found[name] = calibrate(problem, entries[name], goal, options.clock, limit)
        if name == "skmtl":
            if not isinstance(found[name], Found):
                raise ValueError(f"skmtl: {found[name]}")
            entries[name].run(goal)  # loads what the child compiled
            found[name] = calibrate(problem, entries[name], goal, options.clock, limit)
        if isinstance(found[name], Found):
            guess[name] = found[name].seconds
    best = min((guess[peer] for peer in guess if peer != "skmtl"), default=0.0)
    running = [name for name in guess if name == "skmtl" or guess[name] <= CONTENDERS * best]
    runs = {name: partial(entries[name].run, found[name].setting) for name in running}
    for name, seconds in interleaved(runs, options, guess).items():
        found[name] = found[name]._replace(seconds=seconds)
    return found, running


def times(one, own):
    """How many times longer it takes."""
    ratio = one.seconds / own.seconds
    return f"{ratio:.2g}" if ratio < 100 else f"{ratio:.0f}"


def power(gap):
    """A gap in one digit."""
    return f"{gap:.0e}".replace("e-0", "e-")


def line(name, options):
    """The row of the table."""
    text, target, goal, _, build = ROWS[name]
    problem, makers = build(options)
    found, running = contest(problem, makers, goal, options)
    own = found.pop("skmtl")
    gap = own.gap * problem.scale()
    if own.reported < 0.999 * gap - 1e-12 * problem.scale():
        print(f"  dual_gap_ = {own.reported:.3e}, below the gap of {gap:.3e} found here")
    others = []
    for peer, one in sorted(found.items(), key=lambda item: getattr(item[1], "seconds", np.inf)):
        if isinstance(one, Found):
            star = "" if peer in running else "*"
            others.append(f"{peer} {shown(one.seconds)}{star} ({times(one, own)})")
        else:
            others.append(f"{peer}: {one}")
    best = min(
        (peer for peer in running if peer in found), key=lambda peer: found[peer].seconds, default=None
    )
    ratio, gaps = "", power(own.gap)
    if best is not None:
        ratio, gaps = f"**{times(found[best], own)}**", f"{gaps}, {power(found[best].gap)}"
    memory = f"{own.memory:.0f} MB (X: {megabytes(problem.data.X):.0f})"
    problem = f"{text}; {power(goal)}"
    cells = name, problem, target, shown(own.seconds), best or "none", ratio, gaps, "; ".join(others), memory
    return f"| {' | '.join(cells)} |"


# --- beyond the table ---

FIRST_FITS = {
    "MultiTaskLasso": "MultiTaskLasso(0.1).fit(X, Y)",
    "GroupSparseRegressor, stacked": "GroupSparseRegressor(0.1).fit(X, y, tasks=tasks)",
    "GroupSparseClassifier, stacked": "GroupSparseClassifier(0.01).fit(X, y > 0, tasks=tasks)",
    "MeanRegularizedRegressor": "MeanRegularizedRegressor().fit(X, y, tasks=tasks)",
    "TraceNormRegressor": "TraceNormRegressor(0.1).fit(X, Y)",
    "DirtyRegressor": "DirtyRegressor(0.1, shared_ratio=0.7).fit(X, Y)",
    "TemporalRegressor": "TemporalRegressor(0.1).fit(X, Y)",
    "HierarchicalRegressor": "HierarchicalRegressor(0.1, tree='auto').fit(X, Y)",
}
FIRST_FIT = """
import time
import numpy as np
import skmtl
rng = np.random.default_rng(0)
X = rng.standard_normal((100, 50))
Y = X[:, :5] @ rng.standard_normal((5, 5)) + rng.standard_normal((100, 5))
y, tasks = Y[:, 0], np.arange(100) % 5
for _ in range(2):
    start = time.process_time()
    skmtl.{fit}
    print(time.process_time() - start)
"""


def cold(options):
    """Imports, and first fits with an empty and a warm cache of compiled kernels, each in a fresh process."""
    imports = {"sklearn.base": [], "skmtl": []}
    for name in list(imports) * (2 * options.rounds + 1):
        imports[name].append(python(f"import {name}")[0])
    base, own = (float(np.median(samples)) for samples in imports.values())
    lines = [
        f"`import sklearn.base` {shown(base)}, `import skmtl` {shown(own)}: {shown(own - base)} more.",
        "",
    ]
    lines += [
        "| n=100, p=50, T=5 | first fit, empty cache | first fit, warm cache | second fit |",
        "|---|---|---|---|",
    ]
    for name, fit in FIRST_FITS.items():
        samples = []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as cache:
                (empty, _), (warm, second) = (
                    python(FIRST_FIT.format(fit=fit), NUMBA_CACHE_DIR=cache)[1] for _ in range(2)
                )
            samples.append((empty, warm, second))
        lines.append(f"| {name} | {' | '.join(map(shown, np.median(samples, axis=0)))} |")
    return lines


def limit(options):
    """Whole fits beside the one product that gives the second moments of X."""
    problem = Problem(thin())
    X, Y = problem.data.X, problem.data.y
    runs = {"`X.T @ X`": lambda: X.T @ X}
    for divisor in (10, 100):
        for b in (False, True):
            model = skmtl.MultiTaskLasso(problem.at(divisor).alpha, fit_intercept=b, tol=1e-6)
            text = f"fit, alpha_max/{divisor}, {'with' if b else 'without'} intercept"
            runs[text] = partial(model.fit, X, Y)
    medians = interleaved(runs, options)
    product = medians["`X.T @ X`"]
    lines = [f"| {thin_text}, gap 1e-6 | time | over the product |", "|---|---|---|"]
    return lines + [f"| {name} | {shown(value)} | {value / product:.2f} |" for name, value in medians.items()]


def curve(sizes, make, model):
    """A fit of the model to the problem of each size, at alpha_max / 10 where there is one."""
    fits = {}
    for size in sizes:
        problem = make(size)
        strength = 1.0 if isinstance(problem, Tied) else problem.at(10).alpha
        fit = clone(model).set_params(alpha=strength).fit
        fits[size] = partial(fit, problem.data.X, problem.data.y, **problem.data.arguments)
    return fits


def scaling(options):
    """Time against the number of rows or tasks, with the exponent fitted to all and to the upper decade."""

    def shared(n=1000, T=20):
        return Problem(shared_support(n, 200, T), fit_intercept=True)

    def rows(T, kind=Problem, **kinds):
        data = stacked(T, 100, 50, 10, classes=kinds.get("logistic", False))
        return kind(data, fit_intercept=True, **kinds)

    tens, hundreds = (np.geomspace(start, 100 * start, 5).astype(int) for start in (10, 100))
    curves = {
        "MultiTaskLasso, n": (5 * hundreds, shared, skmtl.MultiTaskLasso()),
        "MultiTaskLasso, T": (tens, lambda T: shared(T=T), skmtl.MultiTaskLasso()),
        "GroupSparseRegressor, stacked, T": (tens, rows, skmtl.GroupSparseRegressor()),
        "GroupSparseClassifier, stacked, T": (
            tens,
            partial(rows, logistic=True),
            skmtl.GroupSparseClassifier(),
        ),
        "MeanRegularizedRegressor, T": (hundreds, partial(rows, kind=Tied), skmtl.MeanRegularizedRegressor()),
    }
    lines = ["| grows | from, to | time | exponent | in the upper decade |", "|---|---|---|---|---|"]
    found = {name: interleaved(curve(*what), options) for name, what in curves.items()}
    for name, medians in found.items():
        points = np.log(list(medians.items()))
        exponents = [f"{np.polyfit(*points[first:].T, 1)[0]:.2f}" for first in (0, -3)]
        ends = [f"{e[0]}, {e[-1]}" for e in (list(medians), [shown(value) for value in medians.values()])]
        lines.append(f"| {name} | {' | '.join(ends + exponents)} |")
    if options.markdown is not None and draw(found, options.markdown.with_name("scaling.png")):
        lines += ["", "![Time against the number of rows or tasks](scaling.png)"]
    return lines


def mixed(options):
    """A random intercept and slope of 125,066 tasks; the other program has their correlation as well."""
    T, n, rng = 125_066, 500_362, np.random.default_rng(0)
    tasks = np.concatenate([np.arange(T), np.arange(T), rng.integers(0, T, n - 2 * T)])
    x, own = rng.standard_normal(n), rng.standard_normal((2, T))
    y = 0.7 * own[0, tasks] + (1 + 0.5 * own[1, tasks]) * x + rng.standard_normal(n)
    model = skmtl.MeanRegularizedRegressor("auto", intercept_alpha="auto")
    runs = {"skmtl": lambda: model.fit(x[:, None], y, tasks=tasks).log_marginal_likelihood_}
    try:
        from mixedlm_rs import MixedLM

        Z = np.column_stack([np.ones(n), x])
        runs["mixedlm-rs"] = lambda: MixedLM(y, Z, tasks, exog_re=Z).fit(reml=True).llf
    except ImportError:
        print("  mixedlm-rs left out: not installed")
    medians = interleaved(runs, options)
    lines = [f"| {n:,} rows of {T:,} tasks | time | REML log-likelihood |", "|---|---|---|"]
    return lines + [f"| {name} | {shown(medians[name])} | {run():.1f} |" for name, run in runs.items()]


def draw(found, file):
    """Whether there is matplotlib to draw the curves of `scaling`, which it does."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("  no picture: matplotlib is not installed")
        return False
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    for name, medians in found.items():
        sizes, times = np.array(list(medians.items())).T
        ax.loglog(sizes / sizes[0], times / times[0], "o-", label=name)
    ax.loglog([1, 100], [1, 100], "k:", label="linear")
    ax.set(xlabel="size over the smallest", ylabel="time over that of the smallest")
    ax.legend(frameon=False, fontsize="small")
    figure.savefig(file, dpi=150)
    return True


EXTRAS = {"cold": cold, "limit": limit, "scaling": scaling, "mixed": mixed}


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", help="names or patterns of rows")
    parser.add_argument("--list", action="store_true", help="print the names of all rows")
    parser.add_argument("--quick", action="store_true", help="the rows that are done in a minute")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", dest="clock_name", choices=["cpu", "wall"], default="cpu")
    parser.add_argument(
        "--limit", type=float, default=100.0, help="CPU seconds for the trials of one program"
    )
    parser.add_argument("--markdown", type=Path, help="page whose blocks take the results")
    parser.add_argument("--school", type=Path, help="School data as .npz")
    options = parser.parse_args()
    options.clock = time.process_time if options.clock_name == "cpu" else time.perf_counter
    return options


def main():
    """Run what was asked for."""
    options = arguments()
    if options.list:
        return print("\n".join([*ROWS, *EXTRAS]))
    asked = options.rows or [name for name, row in ROWS.items() if row.quick or not options.quick]
    warnings.simplefilter("ignore")  # a peer that did not converge shows in its gap
    threadpoolctl.threadpool_limits(int(os.environ["OMP_NUM_THREADS"]))
    where = machine(options)
    print(where, *HEADER, sep="\n", flush=True)
    for name in [name for name in [*ROWS, *EXTRAS] if any(fnmatchcase(name, one) for one in asked)]:
        try:
            lines = [line(name, options)] if name in ROWS else EXTRAS[name](options)
        except Exception as error:
            print(f"  {name} left out: {type(error).__name__}: {error}", flush=True)
            continue
        print(*lines, sep="\n", flush=True)
        if options.markdown is not None and name in ROWS:
            write(options.markdown, "table", [*HEADER, *lines], order=ROWS)
            write(options.markdown, "machine", [where])
        elif options.markdown is not None:
            write(options.markdown, name, lines)


if __name__ == "__main__":
    main()
