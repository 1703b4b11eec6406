"""A training run in the terminal: its network, a bar with the time left, a line for each epoch, and how it ended."""

import time
from collections.abc import Iterable

from rich.console import Console

from striate.cli.bars import bars, show_counted
from striate.cli.tables import network_lines, say
from striate.costing.layers import total_parameters
from striate.counted import Counted
from striate.jobs.judged_page import metrics_in_words
from striate.jobs.train import Finished, Started, TrainRecord
from striate.training.records import HEADLINES, EpochRecord, PeakRecord, StepRecord, name_epoch
from striate.units import format_bytes, format_duration, format_number

SILENCE = 60.0  # Seconds; a file that nobody sees a bar in has a line as often.
WAITS = 0.1  # Of an epoch, above which something is worth changing.


def show_training(records: Iterable[TrainRecord], out: Console, err: Console) -> None:
    """Print records as they come: what the run is and what came of it to ``out``, its course to ``err``."""
    with bars(err) as progress:
        peaks: list[PeakRecord] = []
        reads_files, said = False, time.monotonic()
        working = progress.add_task("", total=None, visible=False, state="")
        bar = progress.add_task("", total=None, visible=False, start=False, state="")
        for record in records:
            match record:
                case Counted():
                    show_counted(progress, working, record)
                case Started():
                    progress.update(working, visible=False)
                    _say_start(out, record)
                    reads_files = record.reads_files
                    progress.start_task(bar)
                    progress.update(bar, total=record.steps, completed=record.step, visible=True)
                case StepRecord():
                    progress.update(working, visible=False)
                    state = f"{record.step}/{record.steps} steps, loss {record.loss:.4f},"
                    progress.update(bar, completed=record.step, description=f"epoch {record.epoch}", state=state)
                    if not err.is_terminal and time.monotonic() - said > SILENCE:
                        said = time.monotonic()
                        say(err, f"epoch {record.epoch}: {state.rstrip(',')}")
                case PeakRecord():
                    peaks.append(record)
                    _warn_of_peak(err, record)
                case EpochRecord():
                    said = time.monotonic()
                    _say_epoch(err, record)
                    if record.waited > WAITS and reads_files:
                        reads_files = False
                        _say_waited(err, record)
                case Finished():
                    progress.stop()
                    _say_end(out, record, peaks)


def _say_start(out: Console, record: Started) -> None:
    total = total_parameters(record.layers)
    begins = f"goes on after step {record.step:,}" if record.step else "begins"
    if record.step == record.steps > 0:
        begins = "all epochs are done, goes on with what follows them"
    for line in (record.model, *network_lines(record.layers)):
        say(out, line)
    say(out, f"{total:,} parameters, {format_bytes(4 * total)} as 32-bit floats")
    learned = f"{len(record.classes)} classes" if record.classes else "numbers"
    say(
        out,
        f"{learned}; {record.train_images:,} images to train on, {record.val_images:,} to validate, "
        f"{f'{record.test_images:,} to test' if record.test_images else 'none to test'}",
    )
    for note in record.notes:
        say(out, f"note: {note}")
    if record.plan is not None:
        is_plain = record.plan.peak_bytes == record.plan.plain_bytes
        without = "it fits as it is" if is_plain else f"without it {format_bytes(record.plan.plain_bytes)}"
        say(out, f"plan: {record.plan.in_words()}; {without}")
    steps, threads = format_number(record.steps, "step"), format_number(record.threads, "thread")
    say(out, f"{begins}: {steps}, {threads}, in {record.folder}")


def _warn_of_peak(err: Console, record: PeakRecord) -> None:
    if record.measured > record.budget:
        over = format_bytes(record.measured - record.budget)
        say(err, f"WARNING: {record.phase} took {over} more than was granted; please report this network")


def _say_epoch(err: Console, record: EpochRecord) -> None:
    epoch = f"epoch {record.epoch:>{len(str(record.epochs))}}/{record.epochs}"
    if record.epoch == 0:
        epoch = name_epoch(0, record.epochs)
    say(
        err,
        f"{epoch}  loss {record.train_loss:.4f}  val {metrics_in_words(record.metrics)}  "
        f"{record.images_per_second:,.0f} img/s{'  best' if record.best else ''}",
    )


def _say_waited(err: Console, record: EpochRecord) -> None:
    """Say once what may make a run faster: it is no news in its every epoch."""
    say(
        err,
        f"  {record.waited:.0%} of that was waiting for images: let --workers (-j) prepare them, or keep decoded "
        "ones with --cache 2GiB",
    )


def _say_end(out: Console, record: Finished, peaks: Iterable[PeakRecord]) -> None:
    shares = {name: record.metrics[name] for name in HEADLINES if name in record.metrics}
    worth = metrics_in_words(shares or record.metrics)
    say(
        out,
        f"{record.part} {worth} (weights of {name_epoch(record.best_epoch, record.epochs)}, the best on validation), "
        f"took {format_duration(record.seconds)}",
    )
    say(out, f"report: {record.report}")
    for peak in peaks:
        predicted, measured = format_bytes(peak.predicted), format_bytes(peak.measured)
        say(
            out,
            f"peak of {peak.phase}: predicted {predicted}, measured {measured}, granted {format_bytes(peak.budget)}",
        )
