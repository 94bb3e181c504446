"""``python -m faults``: break everything, and print what came of it as a table.

    python -m faults                          all of it (make faults)
    python -m faults all --share 0.1          a tenth of it
    python -m faults broken ngrams            all breaks of one stage; --every: of each single write, too
    python -m faults broken ngrams --how kill --at 17
    python -m faults pairs [full ngrams predict]
    python -m faults damage [store --file store/ledger.json --how 'flip 3']
    python -m faults hostile [documents.jsonl --seed 12]

Prints each failure with the command that does it again, and exits with 1 if there was any.
"""

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from faults.broken import BREAKS, Breaker, Case
from faults.commands import Server, Servers, servers
from faults.damage import SUBJECTS, Damage, Examiner, subjects
from faults.hostile import OPTIONS, TARGETS, Input, Tormentor, inputs, torment_options
from faults.pairs import Pair, Rivals, pairs
from faults.shim import why_not
from faults.stages import SEED, STAGES, World, make_world

HOSTILE_INPUTS = 2_000
T = TypeVar("T")


@dataclass
class Count:
    what: str
    done: int = 0
    well: int = 0


@dataclass
class Report:
    """Counts what was broken, and says at once what did not end well."""

    counts: dict[str, Count] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def take(self, what: str, case: object, problems: Iterable[str | None]) -> None:
        count = self.counts.setdefault(what, Count(what))
        count.done += 1
        found = [problem for problem in problems if problem]
        count.well += not found
        for problem in found:
            self.failures.append(f"{case}\n    {problem}")
            print(self.failures[-1], flush=True)

    def say(self, group: str) -> None:
        """How far it is, after a group of cases."""
        done = sum(count.done for count in self.counts.values())
        seconds = time.monotonic() - self.started
        print(
            f"{seconds:6.0f} s  {done:6,} done, {len(self.failures):4,} failures: {group}", file=sys.stderr, flush=True
        )

    def table(self) -> str:
        rows = [f"| {count.what} | {count.done:,} | {count.well:,} |" for count in self.counts.values()]
        return "\n".join(["| what was broken | how many | ended well |", "|---|---:|---:|", *rows])


@dataclass
class Run:
    """What all kinds of faults need: a world, servers, and whether only a share of the cases is wanted."""

    world: World
    folder: Path
    servers: Servers
    executor: ThreadPoolExecutor
    report: Report
    share: float

    def chosen(self, cases: Sequence[T]) -> list[T]:
        """A share of the cases, the same ones each time."""
        if self.share >= 1:
            return list(cases)
        wanted = min(len(cases), max(1, round(self.share * len(cases))))
        picked = sorted(random.Random(SEED).sample(range(len(cases)), wanted))
        return [cases[i] for i in picked]

    def each(self, cases: Iterable[T], judge: Callable[[T, Server], tuple[str, list[str]]]) -> None:
        """Judges the cases side by side: ``judge`` says what was broken, and what is wrong."""
        cases = list(cases)
        mapped = map if len(cases) == 1 else self.executor.map  # one needs no more servers
        for case, (what, problems) in mapped(lambda one: (one, judge(one, self.servers.mine())), cases):
            self.report.take(what, case, problems)


_WORDS = {
    "kill": "killed before an operation",
    "tear": "killed amid a write",
    "EIO": "an operation fails: I/O error",
    "EACCES": "an operation fails: permission denied",
    "ENOSPC": "the disk is full from an operation on",
    "power": "power lost: all that was not synced is gone",
    "data": "power lost: names last, data that was not synced is gone",
}


def run_broken(run: Run, stages: Sequence[str], hows: Sequence[str], at: int | None, every: bool) -> None:
    for name in stages:
        breaker = Breaker(run.world, STAGES[name], run.folder / name)
        breaker.begin(run.servers.mine())
        cases = [case for case in breaker.cases(every or at is not None) if case.how in hows]
        cases = [case for case in cases if case.at == at] if at is not None else run.chosen(cases)

        def judge(case: Case, server: Server, breaker: Breaker = breaker) -> tuple[str, list[str]]:
            judged = breaker.judge(case, server)
            place = judged.operation.path.replace(f"{run.folder}/", "")
            problems = [f"{judged.operation.kind} {place}: {judged.problem}"] if judged.problem else []
            return _WORDS[case.how], problems

        run.each(cases, judge)
        run.report.say(name)
        shutil.rmtree(breaker.folder)


def run_pairs(run: Run, chosen: Sequence[Pair]) -> None:
    rivals = Rivals(run.world, run.folder / "pairs")
    with Server(run.folder / "rival-1") as one, Server(run.folder / "rival-2") as other:
        for pair in run.chosen(chosen):
            result = rivals.judge(pair, one, other)
            run.report.take("two commands at once", pair, [result.problem])
    run.report.say("pairs")


def run_damage(run: Run, names: Sequence[str], file: str | None, how: str | None) -> None:
    for name in names:
        examiner = Examiner(run.world, SUBJECTS[name], run.folder / f"damage-{name}")
        examiner.begin(run.servers.mine())
        damages = [
            damage
            for damage in run.chosen(examiner.damages())
            if (file is None or damage.file == file) and (how is None or damage.how == how)
        ]

        def judge(damage: Damage, server: Server, examiner: Examiner = examiner) -> tuple[str, list[str]]:
            return "a file damaged", examiner.examine(damage, server).problems

        run.each(damages, judge)
        run.report.say(f"files of {name}")
        shutil.rmtree(examiner.folder)


def run_hostile(run: Run, chosen: Sequence[Input]) -> None:
    for target, group in itertools.groupby(chosen, lambda given: given.target):
        if target == OPTIONS:
            tormented = lambda given, server: torment_options(run.world, run.folder / OPTIONS, given, server)  # noqa: E731
        else:
            tormentor = Tormentor(run.world, TARGETS[target], run.folder / f"hostile-{target}")
            tormentor.begin(run.servers.mine())
            tormented = tormentor.torment

        def judge(given: Input, server: Server, tormented: Callable = tormented) -> tuple[str, list[str]]:  # type: ignore[type-arg]
            verdict = tormented(given, server)
            what = OPTIONS if given.target == OPTIONS else "files"
            return f"hostile {what}", [verdict.problem] if verdict.problem else []

        run.each(group, judge)
        run.report.say(target)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__.partition("\n")[0])
    parser.add_argument("kind", nargs="?", default="all", choices=["all", "broken", "pairs", "damage", "hostile"])
    parser.add_argument("names", nargs="*", help="stages, subjects or targets; of pairs: state, first, second")
    parser.add_argument("--how", help="of broken and damage: only this way")
    parser.add_argument("--at", type=int, help="of broken: only this operation")
    parser.add_argument("--every", action="store_true", help="of broken: every single write, too")
    parser.add_argument("--file", help="of damage: only this file")
    parser.add_argument("--seed", type=int, help="of hostile: only this input")
    parser.add_argument("--share", type=float, default=1.0, help="do so much of all, as 0.1")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    if (reason := why_not()) is not None and asked.kind in ("all", "broken"):
        print(f"left out, broken operations: {reason}")
    report = Report()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        with servers(folder / "servers") as pool, ThreadPoolExecutor(asked.workers) as executor:
            world = make_world(folder / "world", pool.mine())
            run = Run(world, folder, pool, executor, report, asked.share)
            if asked.kind in ("all", "broken") and reason is None:
                run_broken(
                    run, asked.names or list(STAGES), [asked.how] if asked.how else BREAKS, asked.at, asked.every
                )
            if asked.kind in ("all", "pairs"):
                run_pairs(run, [Pair(*asked.names)] if asked.names else pairs())
            if asked.kind in ("all", "damage"):
                names = asked.names or [subject.name for subject in subjects()]
                run_damage(run, names, asked.file, asked.how if asked.kind == "damage" else None)
            if asked.kind in ("all", "hostile"):
                seeded = [Input(name, asked.seed) for name in asked.names] if asked.seed is not None else None
                many = [given for given in inputs(HOSTILE_INPUTS) if not asked.names or given.target in asked.names]
                run_hostile(run, seeded or run.chosen(many))
    except KeyboardInterrupt:
        print("\nstopped: the table is of what was done so far")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{report.table()}\n\n{len(report.failures)} failures, {time.monotonic() - report.started:.0f} s")
    return int(bool(report.failures))


if __name__ == "__main__":
    sys.exit(main())
