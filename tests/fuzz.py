"""The fuzzer: random data, forms and models against properties of the right answer.

``python -m pytest tests/fuzz.py`` runs some dozens of cases, ``python tests/fuzz.py --cases 20000
--jobs 16`` many, in parallel, with counts by kind and a reproducer for every fault;
``python tests/fuzz.py --case '{...}'`` runs one of these again.
"""

import argparse
import ast
import collections
import json
import multiprocessing
import os
import pathlib
import re
import signal
import sys
import time
import traceback
import warnings
from dataclasses import replace

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from fuzz_cases import SPACE, described, draw, plain
from fuzz_fits import Wrong, is_raw
from fuzz_oracles import ORACLES, applies
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines
LIMIT = 20.0  # seconds of processor time
FAULTS = ("wrong", "nan", "raw", "hang", "dead")


class Hang(BaseException):
    """A case took more than its time."""


def verdict(case, limit=LIMIT):
    """(kind, detail) of a case: "ok", "warned" (some fit did not converge), "refused", or a fault."""

    def stop(*_):
        raise Hang

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = ORACLES[case.oracle](case)
        if found:
            return "wrong", found
        return ("warned" if any(w.category is ConvergenceWarning for w in said) else "ok"), ""
    except Wrong as error:
        return ("nan" if str(error).startswith("NaN") else "wrong"), str(error)
    except Hang:
        return "hang", f"more than {limit:g} s"
    except Exception as error:
        if not is_raw(error):
            return "refused", str(error)
        where = traceback.extract_tb(error.__traceback__)
        ours = [f"{pathlib.Path(f.filename).name}:{f.name}" for f in where if "skmtl/" in f.filename]
        return "raw", f"{type(error).__name__}: {error} in {ours[-1] if ours else where[-1].name}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def case_of(seed):
    """The case of a number."""
    rng = np.random.default_rng([20, seed])
    names = sorted(ORACLES)
    while True:
        case = draw(rng, names[rng.integers(len(names))])
        if applies(case):
            return case


def smallest(case, kind, tries=60):
    """A plainer case with the same kind of fault."""
    moved = True
    while moved and tries > 0:
        moved = False
        for key, choices in SPACE.items():
            if getattr(case, key) == choices[0] or tries <= 0:
                continue
            tries -= 1
            simpler = replace(case, **{key: choices[0]})
            if applies(simpler) and verdict(simpler)[0] == kind:
                case, moved = simpler, True
    return case


def signature(case, kind, detail):
    """What faults of one cause have in common, about."""
    return case.oracle if kind in FAULTS else "any", kind, re.sub(r"-?\d[\d.e+-]*|inf|nan", "#", detail)[:120]


# --- many cases ---


def work(first, last, limit, pipe):
    """Sends (seed, kind, detail, seconds) of every case."""
    for number in range(first, last):
        pipe.send((number, None, None, 0.0))
        start = time.process_time()
        found = verdict(case_of(number), limit)
        pipe.send((number, *found, time.process_time() - start))
    pipe.close()


class Worker:
    """A process on a range of seeds, started again behind a case that killed it or never ended."""

    def __init__(self, first, last, limit):
        self.last, self.limit = last, limit
        self.start(first)

    def start(self, first):
        self.pipe, end = multiprocessing.Pipe(duplex=False)
        self.seed, self.since = first, time.monotonic()
        self.process = multiprocessing.Process(
            target=work, args=(first, self.last, self.limit, end), daemon=True
        )
        self.process.start()
        end.close()

    def results(self):
        """What has come since; None at the end."""
        found = []
        try:
            while self.pipe.poll():
                seed, kind, *rest = self.pipe.recv()
                self.seed, self.since = seed, time.monotonic()
                found += [] if kind is None else [(seed, kind, *rest)]
                if seed == self.last - 1 and kind is not None:
                    return found, True
        except EOFError:
            found.append((self.seed, "dead", "the process died", 0.0))
        if time.monotonic() - self.since > 10 * self.limit:
            found.append((self.seed, "hang", "no end and no way to interrupt it", 10 * self.limit))
            self.process.kill()
            self.process.join()
        if found and found[-1][1] in ("dead", "hang") and not self.process.is_alive():
            if self.seed + 1 >= self.last:
                return found, True
            self.start(self.seed + 1)
        return found, False


def run_many(seeds, jobs, out, limit):
    """Writes one line per case to a file; seeds that it holds are not run again."""
    known = {json.loads(line)["seed"] for line in out.open()} if out.exists() else set()
    left = [seed for seed in seeds if seed not in known]
    size = max(1, min(50, len(left) // jobs + 1))
    ranges = [(s, s + size) for s in range(seeds.start, seeds.stop, size)]
    ranges = [
        (a, min(b, seeds.stop))
        for a, b in ranges
        if not all(s in known for s in range(a, min(b, seeds.stop)))
    ]
    workers, begin = [], time.monotonic()
    with out.open("a") as file:
        while ranges or workers:
            while ranges and len(workers) < jobs:
                workers.append(Worker(*ranges.pop(0), limit))
            for worker in list(workers):
                found, ended = worker.results()
                for seed, kind, detail, seconds in found:
                    if seed not in known:
                        file.write(
                            json.dumps(
                                {"seed": seed, "kind": kind, "detail": detail, "seconds": round(seconds, 3)}
                            )
                            + "\n"
                        )
                if ended:
                    worker.process.join()
                    workers.remove(worker)
            file.flush()
            time.sleep(0.02)
    print(f"{len(left)} cases in {time.monotonic() - begin:.0f} s")


def report(out, seeds, shrink):
    """Counts by kind and by oracle, and a reproducer for every fault that is not like another."""
    lines = [entry for line in out.open() if (entry := json.loads(line))["seed"] in seeds]
    counts = collections.Counter(entry["kind"] for entry in lines)
    print(dict(counts), f"of {len(lines)}; slowest {max((e['seconds'] for e in lines), default=0):.1f} s")
    groups = collections.defaultdict(list)
    for entry in lines:
        if entry["kind"] in (*FAULTS, "refused"):
            case = case_of(entry["seed"])
            groups[signature(case, entry["kind"], entry["detail"])].append((case, entry))
    for key, found in sorted(groups.items(), key=lambda item: (item[0][1], -len(item[1]))):
        case, entry = found[0]
        if shrink and key[1] in FAULTS and key[1] not in ("dead", "hang"):
            case = smallest(case, key[1])
            entry = {**entry, "detail": verdict(case)[1]}
        print(f"\n{key[1]} x {len(found)} [{key[0]}] {entry['detail'][:300]}\n   {described(case)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds of processor time of a case")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("fuzz.jsonl"))
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--case", help="fields of one case, as printed")
    parser.add_argument("--seed", type=int, help="number of one case")
    args = parser.parse_args()
    if args.case or args.seed is not None:
        case = plain(**ast.literal_eval(args.case)) if args.case else case_of(args.seed)
        print(described(case), *verdict(case, args.limit), sep="\n")
        return
    seeds = range(args.first, args.first + args.cases)
    run_many(seeds, args.jobs, args.out, args.limit)
    report(args.out, seeds, not args.no_shrink)


# --- a few cases, as a test ---


def cases(oracle):
    """Cases of an oracle."""
    some = {key: st.sampled_from(list(choices)) for key, choices in SPACE.items()}
    often = {key: st.one_of(*[st.just(choices[0])] * 3, some[key]) for key, choices in SPACE.items()}
    often["model"], often["seed"] = some["model"], some["seed"]
    return st.builds(plain, oracle=st.just(oracle), **often)


SHORT = {
    "max_examples": 3, "database": None, "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.generate],  # a case that hangs does so at each step of making it plainer
}  # fmt: skip


@pytest.mark.parametrize("oracle", sorted(ORACLES))
def test_no_fault(oracle):
    @seed(sorted(ORACLES).index(oracle))
    @settings(**SHORT)
    @given(case=cases(oracle))
    def check(case):
        assume(applies(case))
        kind, detail = verdict(case)
        assert kind not in FAULTS, f'{kind}: {detail}\npython tests/fuzz.py --case "{described(case)}"'

    check()


if __name__ == "__main__":
    sys.exit(main())
