"""Bricks in parallel: answers in the order of the jobs, and a crash costs its own brick only."""

from __future__ import annotations

import collections
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from legacylens.cutouts.checksums import VerifiedFiles
from legacylens.cutouts.stamps import BrickJob, BrickStamps, CutoutConfig, cut_brick, no_stamps, reject_all
from legacylens.errors import FileProblem, ProcessError
from legacylens.survey.release import Release


def cut_in_order(
    release: Release, jobs: Sequence[BrickJob], config: CutoutConfig, verified: VerifiedFiles, workers: int
) -> Iterator[tuple[BrickJob, BrickStamps]]:
    """Cut bricks and yield each with its stamps, in the order of ``jobs`` whatever the number of workers.

    Parameters
    ----------
    release, config
        As for `cut_brick`.
    jobs
        One for each brick.
    verified
        Files known to be right; the caller adds what the stamps bring.
    workers
        Processes; 0 works in this one.

    Raises
    ------
    ProcessError
        If worker processes cannot start at all.
    """
    if workers == 0:
        for job in jobs:
            yield job, cut_brick(release, job, config, verified)
        return
    done = 0
    while done < len(jobs):
        for job, stamps in _until_crash(release, jobs[done:], config, verified, workers):
            done += 1
            yield job, stamps
        if done < len(jobs):
            # A worker died. Which of the bricks at work killed it is known only when they are cut one at a time.
            for job in jobs[done : done + workers + 1]:
                alone = list(_until_crash(release, [job], config, verified, 1))
                done += 1
                yield job, alone[0][1] if alone else no_stamps(config, rejected=reject_all(job, _crash(release, job)))


def _crash(release: Release, job: BrickJob) -> FileProblem:
    return FileProblem(
        release.brick_folder(job.brickname),
        "the process that read this brick died",
        "A damaged file can crash the decompression library, and so can a lack of memory: fetch the brick again, "
        "leave its checksums on, or use fewer workers.",
        reason="crash",
    )


def _require_that_it_starts(pool: ProcessPoolExecutor) -> None:
    """Tell a worker that cannot start from one that a brick has killed."""
    try:
        pool.submit(int).result()
    except BrokenProcessPool as error:
        raise ProcessError(
            'worker processes cannot start. In a script, put the call below `if __name__ == "__main__":`, '
            "because each worker imports the script; or use workers=0."
        ) from error


def _until_crash(
    release: Release, jobs: Sequence[BrickJob], config: CutoutConfig, verified: VerifiedFiles, workers: int
) -> Iterator[tuple[BrickJob, BrickStamps]]:
    """Yield answers in order; end early, without an error, if a worker process dies."""
    # Fresh processes: a forked one inherits locks of the threads of this one (the progress bar has a thread).
    context = multiprocessing.get_context("spawn")
    waiting = collections.deque(jobs)
    running: collections.deque[tuple[BrickJob, Future[BrickStamps]]] = collections.deque()
    with ProcessPoolExecutor(max_workers=min(workers, len(jobs)), mp_context=context) as pool:
        _require_that_it_starts(pool)
        try:
            while waiting or running:
                # Few answers wait at a time, or a slow disk would fill the memory with stamps.
                while waiting and len(running) < workers + 1:
                    job = waiting.popleft()
                    known = verified.below(release.brick_folder(job.brickname))
                    running.append((job, pool.submit(cut_brick, release, job, config, known)))
                job, future = running[0]
                stamps = future.result()
                running.popleft()
                yield job, stamps
        except BrokenProcessPool:
            return
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
