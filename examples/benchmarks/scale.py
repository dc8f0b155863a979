"""How far does it go? Many tasks with few rows: time, processor time and memory against tasks and threads.

    python examples/benchmarks/scale.py [numbers of tasks, 1000,10000,100000 by default [numbers of threads
        [names of models]]]

Each figure is of a process of its own, on compiled loops. Memory is what the process takes at most beyond the
rows (Linux only).
"""

import json
import os
import subprocess
import sys
import time

N_ROWS, N_FEATURES = 20, 50  # of a task
NORMS = "GroupSparseRegressor", "TraceNormRegressor", "RobustRegressor"  # at alpha_max/10, others at 0.1
MODELS = (
    "MeanRegularizedRegressor", "MeanRegularizedClassifier", *NORMS, "TaskRelationshipRegressor",
    "ClusteredRegressor(relaxation='kmeans')", "GraphRegularizedRegressor of a chain",
)  # fmt: skip


def rows(n_tasks):
    """Rows sorted by task, whose coefficients vary around a common model."""
    import numpy as np

    rng = np.random.default_rng(0)
    X, tasks = rng.standard_normal((n_tasks * N_ROWS, N_FEATURES)), np.repeat(np.arange(n_tasks), N_ROWS)
    common, y = rng.standard_normal(N_FEATURES), np.empty(len(X))
    for start in range(0, n_tasks, 1000):
        W = common + 0.3 * rng.standard_normal((min(1000, n_tasks - start), N_FEATURES))
        block = slice(start * N_ROWS, start * N_ROWS + len(W) * N_ROWS)
        y[block] = (X[block].reshape(len(W), N_ROWS, -1) @ W[:, :, None]).ravel()
    return X, y + 0.3 * rng.standard_normal(len(y)), tasks


def model(name, X, y, tasks):
    """The estimator of that name, as it is compared."""
    from scipy import sparse
    from sklearn.linear_model import Ridge

    import skmtl

    T = len(set(tasks.tolist()))
    if name == "SingleTask(Ridge())":
        return skmtl.SingleTask(Ridge())
    if name.startswith("GraphRegularized"):
        neighbours = [1.0, 1.0] if T > 1 else [1.0]
        chain = sparse.diags_array(neighbours, offsets=[-1, 1], shape=(T, T)).tocsr()
        return skmtl.GraphRegularizedRegressor(0.1, graph=chain)
    if name.startswith("Clustered"):
        return skmtl.ClusteredRegressor(0.1, relaxation="kmeans", random_state=0)
    form = getattr(skmtl, name)
    return form(alpha_max(name, X, y, tasks) / 10) if name in NORMS else form(0.1)


def alpha_max(name, X, y, tasks):
    """The strength from which on the model is one without coefficients."""
    from skmtl.losses import SquaredError
    from skmtl.penalties import L1, L2, Features, InfConv, Spectrum, Tasks
    from skmtl.solvers import alpha_max, make_task_data

    penalty = {
        "GroupSparseRegressor": Features(L2()), "TraceNormRegressor": Spectrum(L1()),
        "RobustRegressor": InfConv([Features(L2(0.5)), Tasks(L2(0.5))]),
    }[name]  # fmt: skip
    return alpha_max(make_task_data(X, y, tasks), SquaredError(), penalty)


def memory(field):
    """A field of the status of the process, in MB."""
    with open("/proc/self/status") as status:
        found = dict(line.split(":", 1) for line in status)
    return int(found[field].split()[0]) / 1024


def measure(name, n_tasks):
    """Figures of one fit and one prediction, after a small one for what is loaded or compiled once."""
    X, y, tasks = rows(n_tasks)
    y = y > 0 if name.endswith("Classifier") else y
    few = slice(min(600, n_tasks) * N_ROWS)
    model(name, X[few], y[few], tasks[few]).fit(X[few], y[few], tasks=tasks[few]).predict(
        X[few], tasks=tasks[few]
    )
    asked = model(name, X, y, tasks)
    if os.path.exists("/proc/self/clear_refs"):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = memory("VmRSS")
    start, busy = time.perf_counter(), time.process_time()
    fitted = asked.fit(X, y, tasks=tasks)
    found = {"seconds": time.perf_counter() - start, "processor": time.process_time() - busy}
    found["beyond_mb"] = memory("VmHWM") - before if os.path.exists("/proc/self/clear_refs") else float("nan")
    start = time.perf_counter()
    fitted.predict(X, tasks=tasks)
    found["predict"] = time.perf_counter() - start
    start = time.perf_counter()
    X.sum()
    return found | {"one_pass": time.perf_counter() - start}


def main(sizes, threads=(1, 2), names=MODELS):
    """Print the table."""
    print(f"{N_ROWS} rows a task, {N_FEATURES} features")
    print(
        "| model | tasks | threads | fit, s | processor, s | us a task | beyond X, MB | predict, s | "
        "X.sum(), s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    jobs = [(name, T, k) for name in names for T in sizes for k in threads]
    jobs += [("SingleTask(Ridge())", T, 1) for T in sizes if T <= 10_000]
    for name, n_tasks, n_threads in jobs:
        environment = os.environ | {"OMP_NUM_THREADS": str(n_threads)}
        command = [sys.executable, __file__, "--one", name, str(n_tasks)]
        shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        f = json.loads(shown.splitlines()[-1])
        print(
            f"| {name} | {n_tasks:,} | {n_threads} | {f['seconds']:.3f} | {f['processor']:.3f} | "
            f"{1e6 * f['processor'] / n_tasks:.1f} | {f['beyond_mb']:.0f} | {f['predict']:.3f} | "
            f"{f['one_pass']:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
    else:
        given = [[int(number) for number in numbers.split(",")] for numbers in sys.argv[1:3]]
        main(*(given or [[1000, 10_000, 100_000]]), *([sys.argv[3].split(",")] if len(sys.argv) > 3 else []))
