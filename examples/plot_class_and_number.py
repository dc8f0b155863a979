"""
A class and a number from the same columns
==========================================

Is this wine a Barolo, and how deep is its colour? One output is a class, the other a number.
`MixedTaskModel` gives each its own loss, and one penalty decides which of the measurements serve
both.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

from skmtl import MixedTaskModel

wine = load_wine()
names = [name for name in wine.feature_names if name != "color_intensity"]
X = StandardScaler().fit_transform(np.delete(wine.data, 9, axis=1))
colour = StandardScaler().fit_transform(wine.data[:, [9]])[:, 0]
y = np.empty((len(X), 2), dtype=object)
y[:, 0], y[:, 1] = np.where(wine.target == 0, "Barolo", "other"), colour

# %%
model = MixedTaskModel(0.12, losses={0: "log_loss", 1: "squared_error"}).fit(X, y)
used = np.flatnonzero(model.coef_.any(axis=0))
print("in use:", [names[j] for j in used])

# %%
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
where = np.arange(len(names))
for shift, coef, label in [(-0.2, -model.coef_[0], "Barolo (log-odds)"), (0.2, model.coef_[1], "colour")]:
    ax.barh(where + shift, coef, 0.4, label=label)
ax.set(yticks=where, yticklabels=names, xlabel="effect of a standard deviation")
ax.axvline(0, color="gray", linewidth=0.8)
ax.invert_yaxis()
ax.legend()
plt.show()
