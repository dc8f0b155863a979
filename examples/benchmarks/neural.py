"""The shared MLP: how fast is it beside MLPRegressor and PyTorch, and what does sharing a representation buy?

Usage::

    python examples/benchmarks/neural.py [rows] [--rounds 3] [--markdown docs/neural.md]

Rows are names or patterns (`speed/shared`, `"truth/*"`); `--list` shows all. Those on IMDb and School need
`--imdb path/to/imdb_reviews.csv.gz` (columns text, label, rating) and `--school path/to/school.npz` (X, y,
task, train_argyriou); `speed/torch` and `speed/mixed` need PyTorch (`pip install torch`). A row without what
it needs is left out. Times are CPU seconds of one thread (OMP_NUM_THREADS, 1 unless set), medians of
interleaved rounds; accuracies are means over seeds of the data, on rows that no fit has seen. All models
choose their strengths on the training rows. What was set after a look at such data: the features of the
IMDb row (on other splits of the same reviews), and in the library the way all strengths are searched (on
other splits of HSB82 and School, and on the synthetic problems).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", os.environ["OMP_NUM_THREADS"])

import argparse
import subprocess
import sys
import time
import warnings
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skmtl import (
    MeanRegularizedRegressor,
    MultiTaskMLP,
    MultiTaskMLPClassifier,
    MultiTaskMLPRegressor,
    SingleTask,
    TaskKFold,
    TaskShuffleSplit,
    TraceNormRegressor,
)
from skmtl.datasets import load_hsb82
from skmtl.metrics import explained_variance_within, normalized_mse

ROWS = {}


def row(name, text, needs=None):
    """Register a function of the options that returns (result, reference, target) as texts.

    `needs`: what must be there or given for the row; without it the function returns None.
    """

    def register(run):
        ROWS[name] = text, run, needs
        return run

    return register


# --- speed ---


def epoch_seconds(make, rounds):
    """Median CPU seconds of an epoch by name: long fits minus short ones, which take turns."""
    samples = {name: [] for name in make}
    for _ in range(rounds):
        for name, fit in make.items():
            spent = []
            for epochs in (2, 8):
                start = time.process_time()
                fit(epochs)
                spent.append(time.process_time() - start)
            samples[name].append((spent[1] - spent[0]) / 6)
    return {name: float(np.median(values)) for name, values in samples.items()}


def ours(X, y, tasks=None, losses=None):
    """Epochs of Adam."""
    options = {"solver": "adam", "early_stopping": False, "n_iter_no_change": np.inf, "tol": 0.0}
    options |= {"alpha": 1e-6, "batch_size": 200, "hidden_layer_sizes": (64, 32), "activation": "relu"}

    def fit(epochs, seed=0):
        model = MultiTaskMLP(losses=losses) if losses else MultiTaskMLPRegressor()
        return model.set_params(max_iter=epochs, random_state=seed, **options).fit(X, y, tasks=tasks)

    return fit


def theirs(X, y):
    """Epochs of scikit-learn's network of the same size."""

    def fit(epochs, seed=0):
        return MLPRegressor(
            hidden_layer_sizes=(64, 32), batch_size=200, max_iter=epochs, tol=0.0, n_iter_no_change=10_000,
            random_state=seed,
        ).fit(X, y)  # fmt: skip

    return fit


def compared(options, own, X, other, target):
    """Cells of a row of speed: `own(X)` and `other` are fits of some epochs."""
    fits = {"float64": own(X), "float32": own(X.astype(np.float32)), "other": other}
    seconds = epoch_seconds(fits, options.rounds)
    own = [f"{name} {1000 * seconds[name]:.0f} ms ({seconds['other'] / seconds[name]:.1f} times faster)"
           for name in ("float32", "float64")]  # fmt: skip
    return ", ".join(own), f"{1000 * seconds['other']:.0f} ms", target


def shared_targets(rng, X, T):
    Y = np.tanh(0.3 * X @ rng.normal(size=(X.shape[1], 5))) @ rng.normal(size=(5, T))
    Y += 0.1 * rng.normal(size=Y.shape)
    return (Y - Y.mean(axis=0)) / Y.std(axis=0)


@row("speed/shared", "an epoch, n = 20000, p = 50, 10 tasks, shared X")
def _(options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 50))
    Y = shared_targets(rng, X, 10)
    return compared(options, lambda X: ours(X, Y), X, theirs(X, Y), "2.5 (float32), 1.8 (float64)")


@row("speed/loss", "mean squared error after 10 of these epochs, 4 seeds")
def _(options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 50))
    Y = shared_targets(rng, X, 10)
    found = []
    for seed in range(4):
        models = [fit(10, seed) for fit in (ours(X, Y), theirs(X, Y))]
        found.append([np.mean((model.predict(X) - Y) ** 2) for model in models])
    own, other = np.mean(found, axis=0)
    return f"{own:.4f}", f"{other:.4f}", "within 3 % or better"


@row("speed/stacked", "an epoch, 200 tasks x 100 rows, against one-hot tasks")
def _(options):
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(20_000, 50)), np.repeat(np.arange(200), 100)
    y = shared_targets(rng, X, 200)[np.arange(20_000), tasks]
    both = np.hstack([X, OneHotEncoder(sparse_output=False).fit_transform(tasks[:, None])])
    return compared(options, lambda X: ours(X, y, tasks), X, theirs(both, y), "3.5")


@row("speed/sparse", "an epoch, CSR with p = 20000, n = 5000, 5 tasks")
def _(options):
    X = sparse.random(5000, 20_000, density=0.003, format="csr", random_state=0)
    Y = np.random.default_rng(0).normal(size=(5000, 5))
    return compared(options, lambda X: ours(X, Y), X, theirs(X, Y), "2.5")


def pytorch():
    """PyTorch with one thread, or None."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    return torch


def theirs_torch(torch, n_outputs, loss, *data):
    """Epochs of PyTorch's network of the same size, its `loss(outputs, *targets)` at the end.

    `data`: X and the targets, arrays of as many rows. `bounds`: of uniform weights of the layers to start
    from, biases of the trunk alike, offsets of the heads zero; by default as PyTorch has it.
    """
    from torch import nn

    data = [torch.from_numpy(array) for array in data]

    def fit(epochs, seed=0, bounds=()):
        torch.manual_seed(seed)
        layers = nn.Linear(50, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, n_outputs)
        net = nn.Sequential(*layers)
        for layer, bound in zip(layers[::2], bounds, strict=False):
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.uniform_(layer.bias, -bound, bound)
        if len(bounds):
            nn.init.zeros_(net[-1].bias)
        adam = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)  # faster than foreach and the default
        for _ in range(epochs):
            for rows in torch.randperm(len(data[0])).split(200):
                X, *targets = [array.index_select(0, rows) for array in data]
                adam.zero_grad()
                loss(net(X), *targets).backward()
                adam.step()
        with torch.no_grad():
            return float(loss(net(data[0]), *data[1:]))

    return fit


def beside_torch(options, own, X, other, left, n_outputs, target):
    """Cells of a row against PyTorch, with what is left of the loss after 10 epochs, means over 4 seeds.

    `left(seed)` is our loss. That of PyTorch is also given from where we start: weights of the variance of
    Glorot, heads of half their width.
    """
    times, reference, _ = compared(options, own, X, other, target)
    bounds = 0.5 * np.sqrt([6 / 114, 6 / 96, 6 / (32 + n_outputs)])
    ours_left, theirs_left, same = (
        np.mean([loss(seed) for seed in range(4)])
        for loss in (left, lambda seed: other(10, seed), lambda seed: other(10, seed, bounds))
    )
    return f"{times}; {ours_left:.4f}", f"{reference}; {theirs_left:.4f}, from our start {same:.4f}", target


@row(
    "speed/torch", "an epoch as the first, against PyTorch in float32; mean squared error after 10", "PyTorch"
)
def _(options):
    if (torch := pytorch()) is None:
        return None
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 50))
    Y, X_single = shared_targets(rng, X, 10), X.astype(np.float32)
    other = theirs_torch(torch, 10, torch.nn.functional.mse_loss, X_single, Y.astype(np.float32))

    def left(seed):
        return np.mean((ours(X_single, Y)(10, seed).predict(X_single) - Y) ** 2)

    return beside_torch(options, lambda X: ours(X, Y), X, other, left, 1, "3.5")


def mixed_loss(model, X, Y):
    """Sum of the losses of the labels that are there, as in `speed/mixed`, by row."""
    guess, chances = model.predict(X), model.predict_proba(X)
    total = 0.5 * np.nansum((Y[:, :5] - guess[:, :5].astype(float)) ** 2)
    for t in range(5, 10):
        known = np.flatnonzero(~np.isnan(Y[:, t]))
        total -= np.log(chances[t][known, Y[known, t].astype(int)]).sum()
    return total / len(X)


@row(
    "speed/mixed",
    "the same, 5 squared, 3 two-class, 2 three-class losses, 20 % missing; their sum",
    "PyTorch",
)
def _(options):
    if (torch := pytorch()) is None:
        return None
    F, rng = torch.nn.functional, np.random.default_rng(0)
    X = rng.normal(size=(20_000, 50))
    Y, X_single = shared_targets(rng, X, 10), X.astype(np.float32)
    Y[:, 5:8], Y[:, 8:] = Y[:, 5:8] > 0, np.digitize(Y[:, 8:], [-0.43, 0.43])
    Y[rng.random(Y.shape) < 0.2] = np.nan
    known = ~np.isnan(Y[:, :8])

    def loss(out, numbers, known, classes):
        squares = F.mse_loss(out[:, :5], numbers[:, :5], reduction="none") * known[:, :5]
        two = F.binary_cross_entropy_with_logits(
            out[:, 5:8], numbers[:, 5:], weight=known[:, 5:], reduction="sum"
        )
        three = F.cross_entropy(out[:, 8:].reshape(-1, 3), classes.reshape(-1), reduction="sum")
        return (0.5 * squares.sum() + two + three) / len(out)

    numbers, classes = np.where(known, Y[:, :8], 0).astype(np.float32), np.nan_to_num(Y[:, 8:], nan=-100)
    other = theirs_torch(
        torch, 14, loss, X_single, numbers, known.astype(np.float32), classes.astype(np.int64)
    )  # -100 is left out by cross_entropy
    losses = {t: "squared_error" if t < 5 else "log_loss" for t in range(10)}

    def left(seed):
        return mixed_loss(ours(X_single, Y, losses=losses)(10, seed), X_single, Y)

    return beside_torch(options, lambda X: ours(X, Y, losses=losses), X, other, left, 3, "4")


@row("speed/first", "first fit in a fresh process, compiled code cached, imports not counted")
def _(options):
    code = (
        "import time, numpy as np\nfrom skmtl import MultiTaskMLPRegressor\n"
        "X = np.random.default_rng(0).normal(size=(6000, 20))\nstart = time.process_time()\n"
        "MultiTaskMLPRegressor(alpha=0.01, max_iter=1).fit(X, X[:, :3])\nprint(time.process_time() - start)"
    )
    times = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(options.rounds + 1)]
    return f"{np.median(times[1:]):.2f} s", "", "1 s"


# --- synthetic truth ---


def truth(kind, n_rows, seed, n_tasks=20, p=8, n_hidden=4, n_test=200):
    """(X, y, tasks) for training, with noise, and for testing, without: y = tanh(A x) . w_t."""
    rng = np.random.default_rng(seed)
    A, common = rng.normal(size=(p, n_hidden)), rng.normal(size=n_hidden)
    train, test = [], []
    for t in range(n_tasks):
        own = kind == "outliers" and t % 4 == 0
        B = rng.normal(size=(p, n_hidden)) if own else A
        w = common + 0.3 * rng.normal(size=n_hidden) if kind == "similar" else rng.normal(size=n_hidden)
        for n, out in ((n_rows, train), (n_test, test)):
            X = rng.normal(size=(n, p))
            out.append((X, np.tanh(X @ B) @ w, np.full(n, t)))
    (X, y, tasks), test = (tuple(map(np.concatenate, zip(*part, strict=True))) for part in (train, test))
    return (X, y + 0.2 * y.std() * rng.normal(size=len(y)), tasks), test


def mean_error(model, train, test):
    """Mean over tasks of the squared error over the variance."""
    fitted = model.fit(train[0], train[1], tasks=train[2])
    return normalized_mse(test[1], fitted.predict(test[0], tasks=test[2]), test[2])


def own_network():
    """Per-task MLPRegressor with its best alpha."""
    search = GridSearchCV(
        MLPRegressor(hidden_layer_sizes=(64, 32), solver="lbfgs", max_iter=200, random_state=0),
        {"alpha": [0.1, 1.0, 10.0]}, cv=3,
    )  # fmt: skip
    return SingleTask(search)


def linear(cls):
    """Linear model with its best alpha."""
    return GridSearchCV(
        cls(task_column=-1), {"alpha": np.logspace(-2, 1, 7)}, cv=TaskKFold(3, task_column=-1)
    )


class Column:
    """A search over a task column, fitted with tasks."""

    def __init__(self, search):
        self.search = search

    def fit(self, X, y, tasks):
        """Fit."""
        self.search.fit(np.column_stack([X, tasks]), y)
        return self

    def predict(self, X, tasks):
        """Predict."""
        return self.search.predict(np.column_stack([X, tasks]))


def contest(options, kind, n_rows, models):
    """Mean errors over seeds of the data by name."""
    found = {name: [] for name in models}
    for seed in range(options.seeds):
        train, test = truth(kind, n_rows, seed)
        for name, make in models.items():
            found[name].append(mean_error(make(), train, test))
    return {name: float(np.mean(values)) for name, values in found.items()}


def net(**parameters):
    """Constructor of the network with other parameters."""
    return lambda: MultiTaskMLPRegressor(random_state=0, **parameters)


def reported(result, first, target):
    """Cells: the first model and its share of each other one."""
    others = ", ".join(
        f"{name} {value:.3f} ({result[first] / value:.2f})" for name, value in result.items() if name != first
    )
    return f"{first} {result[first]:.3f}", others, target


@row("truth/50", "nMSE, shared features, 20 tasks x 50 rows")
def _(options):
    models = {
        "hard": net(), "per-task MLPRegressor": own_network,
        "mean-regularised": lambda: Column(linear(MeanRegularizedRegressor)),
        "trace norm": lambda: Column(linear(TraceNormRegressor)),
    }  # fmt: skip
    return reported(contest(options, "shared", 50, models), "hard", "0.22; 0.55 of per-task, 0.65 of linear")


@row("truth/200", "nMSE, shared features, 20 tasks x 200 rows")
def _(options):
    models = {"hard": net(), "per-task MLPRegressor": own_network}
    return reported(contest(options, "shared", 200, models), "hard", "0.2 of per-task")


@row("truth/outliers", "nMSE, every fourth of 20 tasks has features of its own, 50 rows each")
def _(options):
    models = {"attention": net(sharing="attention"), "hard": net()}
    return reported(contest(options, "outliers", 50, models), "attention", "0.8 of hard")


@row("truth/similar", "nMSE, similar functions, 20 tasks x 50 rows")
def _(options):
    models = {"soft": net(sharing="soft"), "own": net(sharing="soft", coupling=0.0), "hard": net()}
    return reported(contest(options, "similar", 50, models), "soft", "0.8 of own networks")


def features(kind, seed, n_tasks=20, p=20):
    """(X, y, tasks) for training, with noise, and for testing, without: y = f(A x) . w_t."""
    f, n_hidden, size = FEATURES[kind]
    rng = np.random.default_rng(seed)
    A, W = rng.normal(size=(p, n_hidden)), rng.normal(size=(n_tasks, n_hidden))
    A *= size / np.linalg.norm(A, axis=0)
    train, test = [], []
    for noise, n, out in ((0.3, 50, train), (0.0, 200, test)):
        X, tasks = rng.normal(size=(n_tasks * n, p)), np.repeat(np.arange(n_tasks), n)
        y = (f(X @ A) * W[tasks]).sum(axis=1)
        out += X, y + noise * y.std() * rng.normal(size=len(y)), tasks
    return train, test


FEATURES = {  # function, how many, length of their weights
    "tanh": (np.tanh, 8, 2.0),
    "relu": (lambda z: np.maximum(z, 0.0), 8, 2.0),
    "sine": (np.sin, 8, 1.0),
}
FIXED = {
    f"{activation} {layers}": {"activation": activation, "hidden_layer_sizes": layers}
    for activation, layers in [
        *(("tanh", layers) for layers in (4, 8, 16, 32, (8, 8), (16, 16))),
        *(("relu", layers) for layers in (8, 16, (16, 16), (64, 32))),
    ]
}


def chosen_layers(options, make):
    """Cells: layers that are chosen, the best fixed ones, and (64, 32)."""
    found = {name: [] for name in ("chosen", *FIXED)}
    for seed in range(options.seeds):
        train, test = make(seed)
        for name, errors in found.items():
            errors.append(mean_error(net(**FIXED.get(name, {}))(), train, test))
    means = {name: float(np.mean(errors)) for name, errors in found.items()}
    name = min(FIXED, key=means.get)
    said = {"chosen": means["chosen"], name: means[name], "relu (64, 32)": means["relu (64, 32)"]}
    return reported(said, "chosen", "1.5 of the best")


for kind in FEATURES:
    text = f"nMSE, eight {kind} features of 20 columns, 20 tasks x 50 rows, layers chosen or fixed"
    row(f"layers/{kind}", text)(
        lambda options, kind=kind: chosen_layers(options, lambda s: features(kind, s))
    )
row("layers/ours", "the same with the features of the rows above and below")(
    lambda options: chosen_layers(options, partial(truth, "shared", 50))
)


# --- real data ---


@row("digits", "accuracy of 50 fine labels with 1000 coarse ones (pairs of digits), 5 seeds")
def _(options):
    X, digit = load_digits(return_X_y=True)
    X, found = X / 16, []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(X))
        train, test = order[:1000], order[1000:]
        fine = np.concatenate([np.flatnonzero(digit[train] == k)[:5] for k in range(10)])
        Y = np.column_stack([np.full(1000, np.nan), digit[train] // 2])
        Y[fine, 0] = digit[train][fine]
        both = MultiTaskMLPClassifier(random_state=seed).fit(X[train], Y)
        alone = MultiTaskMLPClassifier(random_state=seed).fit(X[train][fine], digit[train][fine])
        found.append([np.mean(both.predict(X[test])[:, 0] == digit[test]), alone.score(X[test], digit[test])])
    both, alone = np.mean(found, axis=0)
    return f"{both:.3f}", f"the 50 alone {alone:.3f}", "0.89"


@row(
    "imdb", "accuracy of 100 sentiment labels with 1000 ratings, TF-IDF of words and pairs, 5 seeds", "--imdb"
)
def _(options):
    import pandas as pd

    if options.imdb is None:
        return None
    frame, found = pd.read_csv(options.imdb), []
    for seed in range(5):
        order = np.random.RandomState(seed).permutation(len(frame))
        train, test = frame.iloc[order[:1000]], frame.iloc[order[1000:]]
        words = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), dtype=np.float32)
        X, X_test = words.fit_transform(train["text"]), words.transform(test["text"])
        Y = train[["label", "rating"]].astype(float).to_numpy()
        known, label = Y[:, 0].copy(), test["label"].to_numpy()
        Y[100:, 0] = np.nan
        kinds = {0: "log_loss", 1: "squared_error"}
        both = MultiTaskMLP(losses=kinds, random_state=seed).fit(X, Y)
        own = MultiTaskMLPClassifier(random_state=seed).fit(X[:100], known[:100])
        every = GridSearchCV(LogisticRegression(max_iter=1000), {"C": np.logspace(-1, 3, 5)})
        every.fit(X, known)
        guess = both.predict(X_test)[:, 0]
        found.append([np.mean(guess == label), own.score(X_test, label), every.score(X_test, label)])
    both, own, every = np.mean(found, axis=0)
    return f"{both:.3f}", f"the 100 alone {own:.3f}, logistic regression with all 1000 {every:.3f}", "0.85"


def schools(X, y, tasks, splits, strengths):
    """EV_within in per cent of the network and of `MeanRegularizedRegressor`."""
    found = []
    for train, test in splits:
        Z = StandardScaler().fit(X[train]).transform(X)
        search = GridSearchCV(
            MeanRegularizedRegressor(task_column=-1), strengths, scoring="neg_mean_squared_error",
            cv=TaskShuffleSplit(3, train_size=0.75, task_column=-1, random_state=0),
        )  # fmt: skip
        models = net()(), Column(search)
        found.append([
            100 * explained_variance_within(
                y[test], m.fit(Z[train], y[train], tasks=tasks[train]).predict(Z[test], tasks=tasks[test]),
                tasks[test],
            ) for m in models
        ])  # fmt: skip
    network, mean = np.mean(found, axis=0)
    return f"{network:.1f}", f"MeanRegularizedRegressor {mean:.1f}", "at most 0.5 below"


@row("hsb82", "EV_within in %, HSB82, 160 schools, 25 % of each for training, 3 splits")
def _(options):
    data = load_hsb82()
    tasks = np.unique(data.tasks, return_inverse=True)[1]
    splits = TaskShuffleSplit(3, train_size=0.25, random_state=0).split(data.data, data.target, tasks=tasks)
    strengths = {"alpha": [3, 10, 30], "intercept_alpha": [0.3, 1, 2]}
    return schools(data.data, data.target, tasks, splits, strengths)


@row("school", "EV_within in %, School, 139 schools, 75 % for training, 3 published splits", "--school")
def _(options):
    if options.school is None:
        return None
    data = np.load(options.school)
    splits = [(np.flatnonzero(rows), np.flatnonzero(~rows)) for rows in data["train_argyriou"][:3]]
    strengths = {"alpha": [10, 20], "intercept_alpha": [0.1, 0.3]}
    return schools(data["X"].astype(float), data["y"].astype(float), data["task"], splits, strengths)


# --- the table ---


def write(page, lines):
    """Replace what stands between the marks of the page; lines of rows that were not run stay."""
    before, rest = page.read_text().split("<!-- table -->\n")
    old, after = rest.split("<!-- end of table -->\n")
    kept = {line.split("|")[1]: line for line in [*old.splitlines(), *lines] if line.startswith("|")}
    order = [line.split("|")[1] for line in lines[:2]] + [f" {text} " for text, *_ in ROWS.values()]
    body = "\n".join(kept[name] for name in order if name in kept)
    page.write_text(f"{before}<!-- table -->\n{body}\n<!-- end of table -->\n{after}")


def main():
    """Run the rows and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", default=["*"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3, help="of the rows truth/*")
    parser.add_argument("--imdb")
    parser.add_argument("--school")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    lines = ["| what | shared MLP | reference | wanted |", "| --- | --- | --- | --- |"]
    print("\n".join(lines))
    for name, (text, run, needs) in ROWS.items():
        if not any(fnmatchcase(name, pattern) for pattern in options.rows):
            continue
        if options.list:
            print(f"{name}: {text}" + (f" (needs {needs})" if needs else ""))
            continue
        cells = run(options)
        if cells is None:
            print(f"{name} is left out: it needs {needs}")
            continue
        lines.append(f"| {text} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if options.markdown:
        write(options.markdown, lines)


if __name__ == "__main__":
    main()
