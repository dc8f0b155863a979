"""
When does sharing pay?
======================

The fewer rows a task has, the more it gains from the others. Of the pupils of 160 schools three to
thirty are in the training set; the rest are predicted.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from skmtl import MeanRegularizedRegressor, Pooled, SingleTask, TaskShuffleSplit
from skmtl.datasets import load_hsb82

data = load_hsb82()
X, y, school = data.data, data.target, data.tasks
names, counts = np.unique(school, return_counts=True)
large = np.isin(school, names[counts >= 40])
X, y, school = X[large], y[large], school[large]

# %%
# One ridge regression for each school, one for all, and a multi-task model that estimates in its fit how much
# slopes and levels of schools differ. All of them see the task the same way: ``tasks=``.
ridge = RidgeCV(np.logspace(-1, 4, 11))
models = {
    "one model per school": SingleTask(ridge),
    "one model for all": Pooled(ridge),
    "multi-task": MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto"),
}
rows = [3, 5, 8, 12, 20, 30]
scores = {name: [] for name in models}
for n in rows:
    folds = TaskShuffleSplit(3, train_size=n, random_state=0)
    found = {name: [] for name in models}
    for train, test in folds.split(X, y, tasks=school):
        scaler = StandardScaler().fit(X[train])
        for name, model in models.items():
            model.fit(scaler.transform(X[train]), y[train], tasks=school[train])
            predicted = model.predict(scaler.transform(X[test]), tasks=school[test])
            found[name].append(r2_score(y[test], predicted))
    for name in models:
        scores[name].append(found[name])

# %%
# Bands are the range over three random splits.
figure, ax = plt.subplots(layout="constrained")
for (name, values), marker in zip(scores.items(), "so^", strict=True):
    values = np.array(values)
    ax.plot(rows, values.mean(axis=1), marker=marker, label=name)
    ax.fill_between(rows, values.min(axis=1), values.max(axis=1), alpha=0.2)
ax.set(
    xscale="log", xlabel="training rows of each school", ylabel="R² on the other pupils", ylim=(-0.1, None)
)
ax.set_xticks(rows, rows)
ax.minorticks_off()
ax.axhline(0, color="gray", linewidth=0.8)
ax.set_title("Few rows: close to one model for all. More: ahead of both")
ax.legend()
plt.show()
