"""Relations between tasks, read by task label: a graph, an order, a tree."""

from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import scipy
from scipy import sparse
from scipy.spatial.distance import pdist

from .._labels import label_keys, meant, object_array, readable
from ..penalties import Coupling
from ..statistics import ROUNDING, TaskStatistics


def positions(labels, tasks, name):
    """Position of each label among the tasks; ValueError that names the unknown ones."""
    known = {key: t for t, key in enumerate(label_keys(tasks))}
    found = [known.get(key, -1) for key in label_keys(object_array(labels))]
    unknown = [label for label, at in zip(labels, found, strict=True) if at < 0]
    if unknown:
        raise ValueError(
            f"{name} names unknown tasks: {unknown[:5]}; the tasks look like {readable(tasks[:3])}."
            f"{meant(unknown[0], tasks)}"
        )
    return np.array(found, dtype=np.intp)


def _refuse(labels, words, rest=""):
    """ValueError where there are such labels."""
    if labels:
        raise ValueError(f"{words}{labels[:5]}{rest}.")


# --- graph ----------------------------------------------------------------------------------


def laplacian(graph, tasks):
    """Laplacian (n_tasks, n_tasks), a CSR array, of a graph in any of its forms."""
    T = len(tasks)
    if graph is None:
        A = np.full((T, T), 1 / T)
    elif hasattr(graph, "shape") or _is_matrix(graph, T):
        if np.shape(graph) != (T, T):
            raise ValueError(
                f"graph has shape {np.shape(graph)} but the data hold {T} tasks; expected ({T}, {T})."
            )
        A = graph if _is_unnamed(graph) else graph.loc[*_named(graph, tasks)]
    elif isinstance(graph, str):
        raise ValueError(f"graph must be a matrix, or pairs (task, task) of neighbours; got {graph!r}.")
    else:
        A = _edge_matrix(graph, tasks)
    try:
        return sparse.csr_array(Coupling.graph(A).M)
    except ValueError as error:
        raise ValueError(f"graph is not the adjacency of an undirected graph: {error}") from error


def _is_unnamed(graph):
    """Whether a matrix is no data frame, or one whose rows and columns are numbered 0, 1, ..."""
    numbers = list(range(len(graph))) if hasattr(graph, "loc") else None
    return numbers is None or list(graph.index) == list(graph.columns) == numbers


def _named(graph, tasks):
    """Labels of the rows, and of the columns, of a data frame in the order of the tasks."""
    for axis in (graph.index, graph.columns):
        at = positions(axis.tolist(), tasks, "graph")
        _refuse([label for t, label in enumerate(tasks.tolist()) if t not in at], "graph names no tasks ")
        yield axis[np.argsort(at)]


def _is_matrix(graph, n_tasks):
    """Whether nested lists are a matrix: edges are tuples, or not n_tasks rows of that length."""
    if not isinstance(graph, list) or len(graph) != n_tasks:
        return False
    return all(isinstance(row, list) and len(row) == n_tasks for row in graph)


def _edge_matrix(graph, tasks):
    """Adjacency of edges (label, label), (label, label, weight) or {(label, label): weight}."""
    weights = {}
    for edge in _weighted_edges(graph) if isinstance(graph, Mapping) else graph:
        if not isinstance(edge, (tuple, list)) or len(edge) not in (2, 3):
            raise ValueError(f"graph: an edge must be (task, task) or (task, task, weight); got {edge!r}.")
        a, b, weight = (*edge, 1.0)[:3]
        if weights.setdefault((b, a) if (b, a) in weights else (a, b), float(weight)) != weight:
            raise ValueError(f"graph gives the edge between {a!r} and {b!r} two different weights.")
    ends = positions([label for edge in weights for label in edge], tasks, "graph").reshape(-1, 2)
    A = sparse.coo_array((list(weights.values()), tuple(ends.T)), shape=(len(tasks),) * 2, dtype=np.float64)
    return (A + A.T).tocsr()


def _weighted_edges(graph):
    """(label, label, weight) for every edge of a mapping."""
    for edge, weight in graph.items():
        if not (isinstance(edge, tuple) and len(edge) == 2 and isinstance(weight, Real)):
            raise ValueError(
                f"graph as a mapping must be {{(task, task): weight}}; got {edge!r}: {weight!r}. Neighbours "
                "are given as pairs: [(task, other) for task, near in graph.items() for other in near]."
            )
        yield *edge, weight


# --- order ----------------------------------------------------------------------------------


def read_order(order, tasks):
    """Positions of the tasks in their order, each exactly once."""
    if order is None:
        return np.arange(len(tasks))
    labels = np.asarray(order).tolist() if hasattr(order, "dtype") else list(order)
    found = positions(labels, tasks, "order")
    count = np.bincount(found, minlength=len(tasks))
    if (count != 1).any():
        raise ValueError(
            "order must name every task exactly once; missing tasks: "
            f"{tasks[count == 0].tolist()[:5]}, repeated tasks: {tasks[count > 1].tolist()[:5]}."
        )
    return found


def chain(order):
    """Adjacency (n_tasks, n_tasks) that joins each task to the next."""
    T = len(order)
    A = sparse.coo_array((np.ones(T - 1), (order[:-1], order[1:])), shape=(T, T))
    return (A + A.T).tocsr()


# --- tree -----------------------------------------------------------------------------------


class TreeNode(NamedTuple):
    """A node of a tree of tasks: its name, the labels of the tasks below it, its weight."""

    name: Any
    tasks: list
    weight: float


def read_tree(tree, tasks, node_weight=None):
    """Nodes of a mapping child -> parent, every node after those below it."""
    parent = {child: above for child, above in tree.items() if above is not None}
    below = {node: [] for node in [*tree, *parent.values()]}
    labels = tasks.tolist()
    _refuse([label for label in labels if label not in below], "tree has no place for the tasks ")
    for label in labels:
        path = [label]
        while (node := parent.get(path[-1])) is not None:
            if node in path:
                raise ValueError(f"tree has a cycle through {node!r}.")
            path.append(node)
        for node in path:
            below[node].append(label)
    empty = [node for node, found in below.items() if not found]
    _refuse(empty, "tree has nodes without a task below them: ")
    inner = [label for label in labels if below[label] != [label]]
    _refuse(inner, "tasks must be leaves of the tree; ", " have nodes below them")
    node_weight = node_weight or {}
    unknown = [node for node in node_weight if node not in below]
    _refuse(unknown, "node_weight names nodes that are not in the tree: ")
    nodes = [TreeNode(node, found, float(node_weight.get(node, 1.0))) for node, found in below.items()]
    return sorted(nodes, key=lambda node: len(node.tasks))


def linkage_tree(W, tasks):
    """Average linkage of the directions of the rows of W, with the weights of Kim & Xing.

    A node of height h, relative to the root, selects its tasks jointly with weight 1 - h and hands h
    down: the weights on the way from the root to any task add up to one.
    """
    labels, T = tasks.tolist(), len(W)
    if T == 1:
        return [TreeNode(labels[0], labels, 1.0)]
    length = np.linalg.norm(W, axis=1, keepdims=True)
    faint = length <= 1e-12 * length.max()  # rounding has no direction
    directions = np.where(faint, 0.0, W / np.where(faint, 1.0, length))
    distances = pdist(directions)
    distances.round(10, out=distances)  # rounding does not choose between equals; there may be many
    merges = scipy.cluster.hierarchy.linkage(distances, "average")
    heights = merges[:, 2] / (merges[-1, 2] or 1.0)
    below, handed_down = [[label] for label in labels], np.ones(2 * T - 1)
    for a, b in merges[:, :2].astype(int):
        below.append(below[a] + below[b])
    for i in reversed(range(T - 1)):
        handed_down[merges[i, :2].astype(int)] = handed_down[T + i] * heights[i]
    weight = handed_down * np.concatenate([np.ones(T), 1 - heights])
    names = labels + [f"node {i}" for i in range(T - 1)]
    return [TreeNode(*node) for node in zip(names, below, weight.tolist(), strict=True)]


def feature_variance(data):
    """Variance of a feature within a task, the mean over both; of TaskData or TaskStatistics."""
    if isinstance(data, TaskStatistics):
        weight = data.weight[: len(data.xx)]
        return float((np.einsum("djj->dj", data.xx) / weight[:, None]).mean())
    data = data.near_zero()[1]  # where squares lose no digits
    weight = np.broadcast_to(data.row_weight, data.y.shape)
    mass = data.task_sums(weight)[:, None]
    mean = data.adjoint(weight) / mass
    variance = data.squares / mass - mean**2
    return float(np.where(variance > ROUNDING * mean**2, variance, 0.0).mean())
