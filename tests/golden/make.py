"""Writes small files of fitted models, to be loaded by later versions: ``python tests/golden/make.py``."""

import pathlib
import pickle

import numpy as np
import pandas as pd

import skmtl
from skmtl.penalties import L1, Coupling, Entries


def models():
    """(unfitted model, arguments of fit, arguments of predict) by name."""
    rng = np.random.default_rng(0)
    X = np.round(rng.normal(size=(36, 3)), 3)
    tasks = np.repeat(["ash", "birch", "cedar"], 12)
    y = np.round(X @ [1.0, -1.0, 0.5] + np.repeat([0.0, 1.0, 2.0], 12) + 0.1 * rng.normal(size=36), 3)
    three = np.digitize(y, [0.5, 1.5])
    frame = pd.DataFrame(X, columns=["u", "v", "w"]).assign(site=tasks)
    Y = np.where(rng.random((12, 3)) < 0.2, np.nan, y.reshape(3, 12).T)
    stacked, ask = {"X": X, "y": y, "tasks": tasks}, {"X": X[::6], "tasks": tasks[::6]}
    shared, wide = {"X": X[:12], "y": Y}, {"X": X[:3]}
    column = {"X": frame, "y": y}
    mixed = {"X": X[:12], "y": np.column_stack([Y[:, 0] > 0, Y[:, 1]])}
    sm = skmtl
    yield "lasso", sm.MultiTaskLasso(0.1), stacked, ask
    yield (
        "mean",
        sm.MeanRegularizedRegressor(1.0, intercept_alpha=0.5, task_column="site"),
        column,
        {"X": frame[::6]},
    )
    yield "classes", sm.GroupSparseClassifier(0.02), {**stacked, "y": three}, ask
    yield "trace", sm.TraceNormRegressor(0.05, mean_alpha=0.1), shared, wide
    yield "dirty", sm.DirtyRegressor(0.05), stacked, ask
    yield "latent", sm.LatentBasisRegressor(0.05, random_state=0), stacked, ask
    yield "clusters", sm.ClusteredRegressor(0.1, random_state=0), stacked, ask
    yield "temporal", sm.TemporalClassifier(0.02), {**stacked, "y": y > 1}, ask
    yield "any", sm.MultiTaskRegressor(0.1, penalty=Entries(L1(0.5)) + Coupling()), stacked, ask
    yield "mixed", sm.MixedTaskModel(0.05, losses={0: "log_loss", 1: "squared_error"}), mixed, wide
    yield (
        "network",
        sm.MultiTaskMLPRegressor(hidden_layer_sizes=(4,), max_iter=20, random_state=0),
        stacked,
        ask,
    )
    yield "search", sm.PathSearchCV(sm.MultiTaskLasso(), [0.1, 1.0], cv=3), stacked, None


def main():
    folder = pathlib.Path(__file__).parent / skmtl.__version__
    folder.mkdir(exist_ok=True)
    for name, model, fit, ask in models():
        model.fit(**fit)
        known = model.best_estimator_ if ask is None else model
        ask = ask or {"X": fit["X"][::6], "tasks": fit["tasks"][::6]}
        kept = {"model": model, "ask": ask, "predicted": known.predict(**ask)}
        if isinstance(ask["X"], pd.DataFrame):  # of any version of pandas
            kept["ask"] = {"X": ask["X"].to_dict("list")}
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(kept, protocol=5))


if __name__ == "__main__":
    main()
