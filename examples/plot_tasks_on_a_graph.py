"""
Neighbours help: tasks on a map
===============================

Each cell of a map is a task with eight rows, and the effect of a feature changes slowly from cell
to cell. The graph says who is next to whom; how much neighbours share is estimated in the fit.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.image import grid_to_graph
from sklearn.linear_model import Ridge

from skmtl import GraphRegularizedRegressor, SingleTask

side, n_rows = 14, 8
rng = np.random.default_rng(0)
a, b = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
effect = np.sin(3 * a) * np.cos(4 * b) + (a > 0.6)  # smooth, but for one border
cell = np.repeat(np.arange(side**2), n_rows)
X = rng.normal(size=(len(cell), 1))
y = effect.ravel()[cell] * X[:, 0] + rng.normal(size=len(cell))
graph = grid_to_graph(side, side).toarray() * (1 - np.eye(side**2))

# %%
models = {
    "each cell alone": SingleTask(Ridge(1e-3)),
    "with its neighbours": GraphRegularizedRegressor(alpha="auto", graph=graph),
}
maps = {"truth": effect}
for name, model in models.items():
    model.fit(X, y, tasks=cell)
    slope = model.predict(np.ones((side**2, 1)), tasks=np.arange(side**2))
    maps[name] = (slope - model.predict(np.zeros((side**2, 1)), tasks=np.arange(side**2))).reshape(side, side)
    print(f"{name}: mean squared error of the effect {np.mean((maps[name] - effect) ** 2):.3f}")

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for ax, (name, values) in zip(axes, maps.items(), strict=True):
    image = ax.imshow(values, cmap="cividis", vmin=-1.5, vmax=2.5)
    ax.set(title=name, xticks=[], yticks=[])
figure.colorbar(image, ax=axes, label="effect")
plt.show()
