"""
Which features do the tasks share?
==================================

Ten tasks on one design: is this image a 0, a 1, ..., a 9? A Lasso for each digit picks pixels of
its own; a group-sparse model picks pixels that serve all digits.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skmtl import GroupSparseClassifier, MultiTaskClassifier
from skmtl.penalties import L1, Entries

X, digit = load_digits(return_X_y=True)
Y = (digit[:, None] == np.arange(10)).astype(int)  # one column per task
X_train, X_test, Y_train, Y_test, _, digit_test = train_test_split(
    X / 16, Y, digit, train_size=300, stratify=digit, random_state=0
)

# %%
# Strengths at which both models rank the right digit first equally often.
models = {
    "a Lasso for each digit": MultiTaskClassifier(0.012, penalty=Entries(L1())),
    "group-sparse": GroupSparseClassifier(0.04),
}
figure, axes = plt.subplots(1, 2, figsize=(7, 3.4), layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    model.fit(X_train, Y_train)
    accuracy = np.mean(model.decision_function(X_test).argmax(axis=1) == digit_test)
    used = np.count_nonzero(model.coef_, axis=0)  # by how many digits each pixel is used
    image = ax.imshow(used.reshape(8, 8), cmap="viridis", vmin=0, vmax=10)
    ax.set_title(f"{name}\n{np.count_nonzero(used)} pixels, accuracy {accuracy:.3f}")
    ax.set(xticks=[], yticks=[])
    print(f"{name}: {np.count_nonzero(used)} of 64 pixels, accuracy {accuracy:.3f}")
figure.colorbar(image, ax=axes, label="digits that use the pixel")
plt.show()
