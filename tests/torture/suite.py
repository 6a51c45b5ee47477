"""A whole suite: one big trial under faults, then a small one for each planted bug."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from kafkahub.devstack.processes import Processes
from kafkahub.devstack.terminal import say
from kafkahub.devstack.testrun import room
from tests.torture import checker, faults, harvest, nemesis
from tests.torture.checker import Verdict
from tests.torture.history import History
from tests.torture.parts import Parts
from tests.torture.run import Run, Size, Track, drive, wait
from tests.torture.watch import Watch

WORKERS = 2


@dataclass(frozen=True, slots=True)
class Profile:
    """What a profile adds to its size.

    end_s   longest wait for everything to be settled, once all is healed
    repeat  how often the list of faults is played
    """

    size: Size
    end_s: float
    repeat: int


PROFILES: Final[Mapping[str, Profile]] = {
    "quick": Profile(Size(tenants=3, records=40_000, per_s=200, keys=40), 120, 1),
    "long": Profile(Size(3, records=720_000, per_s=200, keys=100, stretch=1), 600, 100),
}
PLANTED: Final = Size(tenants=1, records=2_000, per_s=100, keys=8)
"""Size of a trial with a bug in it: enough for each of the bugs to show."""
PLANTED_END_S = 20.0
BUGS: Final = ("floor", "parked", "key")
NOT_RUN: Final = (
    "F07",
    "F08",
    "F12",
    "R03",
    "PG03",
    "PG04",
    "PG05",
    "PG06",
    "K02",
    "K03",
    "K04",
    "K05",
    "K06",
    "K07",
    "K08",
    "E20",
    "N01",
    "C01",
    "M01",
    "M02",
    "B01",
    "S01",
    "S02",
)
"""Rows of the catalogue that no profile injects; docs/promises.md says which tests of others show
some of them."""
LONG_ONLY: Final = ("F13", "R02")


def torture(
    profile: str,
    seed: int,
    *,
    minutes: float | None = None,
    per_s: float | None = None,
    keep: Path | None = None,
) -> dict[str, object]:
    """Run a profile and return its result.

    minutes  how long records are produced; None: as long as the profile says
    per_s    records a second; None: as many as the profile says
    keep     folder for the logs; None: a temporary one that goes with the run
    """
    begun = time.monotonic()
    chosen = PROFILES[profile]
    chosen = replace(chosen, size=_size(chosen.size, minutes, per_s))
    with _folder(keep) as folder, Processes() as processes:
        parts = Parts(processes, folder)
        parts.start()
        run = Run(parts, processes, folder / "main", chosen.size, seed, f"s{seed}")
        result = _main_trial(run, chosen)
        planted = _planted_trials(run)
    result["planted"] = planted
    if set(planted.values()) != {"fail"}:
        result["verdict"] = "fail"
    elif not parts.is_real_kafka and result["verdict"] == "pass":
        result["verdict"] = "partial"
    head = {"suite": "torture", "profile": profile, "seed": seed}
    return {**head, **result, "duration_s": round(time.monotonic() - begun)}


def _size(usual: Size, minutes: float | None, per_s: float | None) -> Size:
    """Return the size of a profile, or one of another length or pace."""
    pace = per_s or usual.per_s
    seconds = usual.records / usual.per_s if minutes is None else minutes * 60
    return replace(usual, per_s=pace, records=int(seconds * pace))


def _main_trial(run: Run, profile: Profile) -> dict[str, object]:
    """Produce, deliver and fail; heal; judge."""
    run.prepare()
    for _ in range(WORKERS):
        run.product.start_worker()
    run.product.start_web()
    run.product.start_control()
    _until_claimed(run)
    watch = Watch(run)
    watch.start()
    run.produce()
    steps = nemesis.processes_and_stores(run.seed, profile.repeat)
    is_over = [False]

    def first() -> Track:
        yield from nemesis.play(run, steps)
        is_over[0] = True

    tracks = [
        first(),
        nemesis.endpoints(run, lambda: is_over[0]),
        nemesis.keeper(run, lambda: is_over[0]),
    ]
    drive(tracks, lambda: True)
    say(f"  faults are over: {checker.fault_counts(run.faults)}")
    run.end_production()
    drive([nemesis.last_outage(run)], lambda: run.is_produced)
    settled = _settle(run, profile.end_s)
    watch.stop()
    run.save()
    return _report(run, harvest.history(run, settled=settled), watch)


def _planted_trials(main: Run) -> dict[str, str]:
    """Return the verdict on a small run for each bug in the engine: ``fail``, if we are any good.

    They run side by side, each on a database, topics and engines of its own.
    """
    for running in main.product.everything():
        running.kill()
    ordered = "keyed" in main.made[0].subscriptions
    runs = [_planted(main, bug) for bug in BUGS if ordered or bug != "key"]
    for run in runs:
        run.prepare()
        run.product.start_worker()
    for run in runs:
        _until_claimed(run)
        run.produce()
        run.end_production()
    drive([_kills(run) for run in runs], lambda: all(run.is_produced for run in runs))
    return {run.planted: _judged(run) for run in runs}


def _planted(main: Run, bug: str) -> Run:
    folder = main.folder.with_name(f"planted-{bug}")
    mark = f"{main.mark}{bug}"
    return Run(main.parts, main.processes, folder, PLANTED, main.seed, mark, planted=bug)


def _judged(run: Run) -> str:
    settled = _settle(run, PLANTED_END_S)
    verdict = checker.judge(harvest.history(run, settled=settled))
    say(f"  planted {run.planted}: missing {verdict.missing}, order {verdict.order_violations}")
    if verdict.distinct < run.size.records:
        return "did not run"  # most of it was delivered, or it proves nothing
    return "fail" if verdict.missing or verdict.order_violations else "pass"


def _kills(run: Run) -> Track:
    """Kill the engine twice, each time with records in hand: that is what the bugs get wrong."""
    for _ in range(2):
        yield from faults.engine_killed_at_work(run, run.made[0].tenant.name)


def _until_claimed(run: Run) -> None:
    def claimed() -> Track:
        yield from wait(run.is_claimed, 60.0)

    drive([claimed()], lambda: True)


def _settle(run: Run, limit_s: float) -> bool:
    """Wait until nothing is owed; return whether that came in time."""
    ends = harvest.ends(run)
    found: list[bool] = []

    def track() -> Track:
        found.append((yield from wait(lambda: harvest.is_settled(run, ends), limit_s)))

    drive([track()], lambda: True)
    return found[0]


def _report(run: Run, history: History, watch: Watch) -> dict[str, object]:
    """Return the members of the result that the checker and the watch know."""
    verdict = checker.judge(history, float(os.environ.get("KAFKAHUB_TORTURE_SLACK", "1")))
    for kind, names in verdict.examples.items():
        say(f"  {kind}: {names}")
    for fault in (*verdict.overdrawn, *verdict.late, *run.deaths):
        say(f"  {fault}")
    return {
        "faults": checker.fault_counts(run.faults),
        "skipped": sorted({*NOT_RUN, *LONG_ONLY} - {fault.id for fault in run.faults}),
        "produced": run.size.records,
        "acked": len(history.acked),
        "unknown": history.unknown,
        **_counts(verdict),
        "fenced_writes": harvest.fenced_writes(run),
        "unasked_deaths": len(run.deaths),
        "recovery_s": dict(verdict.recovery_s),
        "rss_max_mib": watch.rss_max_mib,
        "verdict": "pass" if verdict.is_pass and not run.deaths else "fail",
    }


def _counts(verdict: Verdict) -> dict[str, object]:
    return {
        "deliveries": verdict.deliveries,
        "distinct": verdict.distinct,
        "parked": verdict.parked,
        "gap_records": verdict.gap_records,
        "missing": verdict.missing,
        "phantom": verdict.phantom,
        "duplicates": verdict.duplicates,
        "duplicate_bound": verdict.duplicate_bound,
        "overdrawn": list(verdict.overdrawn),
        "order_violations": verdict.order_violations,
        "id_violations": verdict.id_violations,
        "bad_signatures": verdict.bad_signatures,
        "foreign_canaries": verdict.foreign_canaries,
        "acked_lost": verdict.acked_lost,
        "late": list(verdict.late),
        "is_settled": verdict.is_settled,
    }


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Yield where the run lives; PostgreSQL's account must be able to pass through."""
    if keep is not None:
        keep.mkdir(mode=0o711, parents=True, exist_ok=True)
        yield keep.absolute()
        return
    with TemporaryDirectory(prefix="kafkahub-torture-", dir=room()) as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
