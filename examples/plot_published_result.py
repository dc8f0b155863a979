"""
Does it give the published result?
==================================

The classical example of mixed models is in Raudenbush & Bryk, *Hierarchical Linear Models* (2nd
edition, 2002, chapter 4): mathematics on social status, measured from the mean of the pupil's
school; level and slope vary between the 160 schools of the survey High School and Beyond. One fit
finds the figures of their table.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmtl import MeanRegularizedRegressor
from skmtl.datasets import load_hsb82

data = load_hsb82()
status, school = data.data[:, data.feature_names.index("ses")], np.unique(data.tasks, return_inverse=True)[1]
X = (status - (np.bincount(school, status) / np.bincount(school))[school])[:, None]
model = MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto")
model.fit(X, data.target, tasks=data.tasks)

# %%
# Beside the published figures. Bars are what the printed digits leave open; the program of the book
# lets level and slope of a school be correlated, which moves the variance of the slopes a little.
published_and_found = {
    "mean level": (12.64, model.mean_intercept_),
    "its standard error": (0.24, model.mean_intercept_std_),
    "mean slope": (2.19, model.mean_coef_[0]),
    "its standard error ": (0.13, model.mean_coef_std_[0]),
    "variance of levels": (8.68, model.intercept_variance_),
    "variance of slopes": (0.68, model.deviation_variance_[0]),
    "variance in a school": (36.70, model.noise_variance_),
}
figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
ax.axvline(1, color="gray", linewidth=0.8)
for at, (published, found) in enumerate(published_and_found.values()):
    half = 0.005 / published
    ax.plot([1 - half, 1 + half], [at, at], color="gray", linewidth=5, alpha=0.5)
    ax.plot(found / published, at, "o", color="#0072B2")
    ax.text(1.065, at, f"{published:5.2f}  {found:7.4f}", va="center", family="monospace")
ax.text(1.065, -1, " book     here", va="center", family="monospace")
ax.set(xlim=(0.94, 1.12), ylim=(6.6, -1.6), xlabel="found / published", xticks=[0.95, 1, 1.05])
ax.set_yticks(range(7), published_and_found)
plt.show()

# %%
# ``examples/benchmarks/schools.py`` does the same for the School data on the ten published splits of
# Argyriou, Evgeniou & Pontil (2008), from a file of your own.
