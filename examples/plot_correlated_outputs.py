"""
Outputs that move together: the second half of an El Niño year
==============================================================

The temperature of the sea from January to June predicts that from July to December: six outputs of
61 years on one design. The model estimates how the effects of the six months are correlated, and in
the same fit how strongly to share.
"""

import matplotlib.pyplot as plt
import numpy as np
import statsmodels.api as sm
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import ShuffleSplit
from sklearn.preprocessing import StandardScaler

from skmtl import SingleTask, TaskRelationshipRegressor

years = sm.datasets.elnino.load_pandas().data
months = years.columns[1:]
first, second = years[months[:6]].to_numpy(), years[months[6:]].to_numpy()
models = {
    "a ridge for each month": SingleTask(RidgeCV(np.logspace(-2, 3, 16))),
    "with a learned covariance": TaskRelationshipRegressor(alpha="auto"),
}

# %%
# Twenty random splits; errors are shares of the error of the mean of each month.
sizes = [12, 20, 30, 45]
errors = {name: [] for name in models}
for n in sizes:
    found = {name: [] for name in models}
    for train, test in ShuffleSplit(20, train_size=n, random_state=0).split(first):
        inputs, outputs = StandardScaler().fit(first[train]), StandardScaler().fit(second[train])
        X, Y = inputs.transform(first[train]), outputs.transform(second[train])
        X_test, Y_test = inputs.transform(first[test]), outputs.transform(second[test])
        for name, model in models.items():
            predicted = model.fit(X, Y).predict(X_test)
            found[name].append(np.sum((predicted - Y_test) ** 2) / np.sum(Y_test**2))
    for name in models:
        errors[name].append(np.mean(found[name]))

# %%
model = TaskRelationshipRegressor(alpha="auto")
model.fit(StandardScaler().fit_transform(first), StandardScaler().fit_transform(second))
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for (name, values), marker in zip(errors.items(), "so", strict=True):
    axes[0].plot(sizes, values, marker=marker, label=name)
axes[0].set(xlabel="years in the training set", ylabel="squared error, share of the variance", ylim=(0, None))
axes[0].legend()
limit = np.abs(model.coef_).max()
image = axes[1].imshow(model.coef_, cmap="RdBu_r", vmin=-limit, vmax=limit)
axes[1].set(xticks=range(6), yticks=range(6), xticklabels=months[:6], yticklabels=months[6:])
axes[1].set(title="one pattern for all six months", xlabel="from", ylabel="to")
figure.colorbar(image, ax=axes[1], label="effect, standardised")
plt.show()
