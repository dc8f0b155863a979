"""
Curves that tasks share: splines in a Pipeline
==============================================

Twenty sensors respond to temperature by the same curve, each with a gain of its own. A spline turns
the temperature into several columns; on these the sensors vary about a common linear model, which
is a common curve.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from skmtl import MeanRegularizedRegressor

rng = np.random.default_rng(0)
gain = 1 + 0.3 * rng.normal(size=20)


def response(X):
    return np.sin(2 * X[:, 0]) + 0.3 * X[:, 0] ** 2 + 0.3 * X[:, 1]


def rows(n):
    sensor = np.repeat(np.arange(20), n)
    X = rng.uniform(-2, 2, size=(len(sensor), 2))  # temperature, humidity
    return X, gain[sensor] * response(X), sensor


X, y, sensor = rows(12)
y = y + 0.5 * rng.normal(size=len(y))
X_test, y_test, sensor_test = rows(100)

# %%
# Without metadata routing a Pipeline takes the tasks under the name of the step, or from a task column.
linear = MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto", covariance="spherical")
models = {
    "straight lines": make_pipeline(StandardScaler(), linear),
    "splines": make_pipeline(SplineTransformer(n_knots=6, include_bias=False), StandardScaler(), linear),
}
for name, model in models.items():
    model.fit(X, y, meanregularizedregressor__tasks=sensor)
    print(f"{name}: R² on new rows {r2_score(y_test, model.predict(X_test, tasks=sensor_test)):.2f}")

# %%
grid = np.column_stack([np.linspace(-1.9, 1.9, 200), np.zeros(200)])
figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
for ax, t in zip(axes, [0, 1, 2], strict=True):
    own = sensor == t
    ax.plot(X[own, 0], y[own], "o", alpha=0.5, label="its 12 rows")
    ax.plot(grid[:, 0], gain[t] * response(grid), color="gray", label="truth")
    ax.plot(grid[:, 0], model.predict(grid, tasks=np.full(200, t)), label="splines")
    ax.set(title=f"sensor {t}", xlabel="temperature")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()
