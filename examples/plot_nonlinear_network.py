"""
Nonlinear features that tasks share: a network
==============================================

Sixteen tasks are mixtures of four common functions of all columns. No linear model can say that,
and a network for each task has too few rows to learn them. A shared hidden layer with a head for
each task can.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score

from skmtl import MultiTaskMLPRegressor, SingleTask

rng = np.random.default_rng(0)
n_tasks, p = 16, 8
inner, heads = 1.5 * rng.normal(size=(4, p)) / np.sqrt(p), rng.normal(size=(n_tasks, 4))


def rows(n):
    task = np.repeat(np.arange(n_tasks), n)
    X = rng.normal(size=(len(task), p))
    return X, (np.tanh(2 * X @ inner.T) * heads[task]).sum(axis=1), task


X_test, y_test, task_test = rows(50)
models = {
    "ridge per task": SingleTask(RidgeCV(np.logspace(-2, 3, 11))),
    "network per task": SingleTask(
        MultiTaskMLPRegressor(hidden_layer_sizes=(4,), activation="tanh", random_state=0)
    ),
    "shared network": MultiTaskMLPRegressor(hidden_layer_sizes=(4,), activation="tanh", random_state=0),
}
sizes = [10, 20, 40, 80]
scores = {name: [] for name in models}
for n in sizes:
    X, y, task = rows(n)
    y = y + 0.3 * rng.normal(size=len(y))
    for name, model in models.items():
        predicted = model.fit(X, y, tasks=task).predict(X_test, tasks=task_test)
        scores[name].append(r2_score(y_test, predicted))

# %%
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
for (name, values), marker in zip(scores.items(), "s^o", strict=True):
    ax.plot(sizes, values, marker=marker, label=name)
ax.set(xscale="log", xlabel="rows of each task", ylabel="R² on new rows", ylim=(-0.2, 1))
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
ax.legend()
plt.show()
