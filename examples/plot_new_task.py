"""
A new school with five pupils
=============================

The model was fitted on 120 schools; another one opens. Without rows it is predicted as the average
school. Each pupil whose result arrives moves it, by ``fit_task``, without touching the others.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from skmtl import MeanRegularizedRegressor
from skmtl.datasets import load_hsb82

data = load_hsb82()
X, y, school = StandardScaler().fit_transform(data.data[:, :3]), data.target, data.tasks
names = np.random.default_rng(0).permutation(np.unique(school))
old, new = np.isin(school, names[:120]), names[120:]
model = MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto", handle_unknown="average")
model.fit(X[old], y[old], tasks=school[old])

# %%
rows = [1, 2, 3, 5, 8, 12, 18]
known = np.zeros((len(new), len(rows)))  # squared errors on the rest of each school
alone, nothing = known.copy(), np.zeros(len(new))
for i, name in enumerate(new):
    own = np.random.default_rng(i).permutation(np.flatnonzero(school == name))
    rest = own[max(rows) :]
    nothing[i] = np.mean((model.predict(X[rest], tasks=np.full(len(rest), name)) - y[rest]) ** 2)
    for j, n in enumerate(rows):
        label = f"{name} with {n}"
        model.fit_task(X[own[:n]], y[own[:n]], task=label)
        known[i, j] = np.mean((model.predict(X[rest], tasks=np.full(len(rest), label)) - y[rest]) ** 2)
        ridge = RidgeCV(np.logspace(-1, 4, 11)) if n > 1 else RidgeCV([1.0], cv=None)
        guess = ridge.fit(X[own[:n]], y[own[:n]]).predict(X[rest]) if n > 1 else y[own[0]]
        alone[i, j] = np.mean((guess - y[rest]) ** 2)

# %%
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.axhline(nothing.mean(), color="gray", linestyle="--", label="the average school")
ax.plot(rows, known.mean(axis=0), "o-", label="fit_task")
ax.plot(rows, alone.mean(axis=0), "s-", label="a model of its own")
ax.set(
    xscale="log", xlabel="rows of the new school", ylabel="squared error on its other pupils", ylim=(30, 70)
)
ax.set_xticks(rows, rows)
ax.minorticks_off()
ax.legend()
plt.show()
