"""A run's folder: what was asked, what came of it, the weights, and what a resumed run needs."""

import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from striate.errors import StriateError, UsageError
from striate.files import flush, make_folder, replace_file
from striate.training.config import TrainConfig, load_config, read_config
from striate.training.records import EpochRecord


class DataRecord(BaseModel):
    """Which images a run was begun with.

    Args:
        fingerprint: of all images and labels in their parts.
        seen: of each file to learn from or to choose by, the beginning of its content's digest; empty where the images
            are no files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fingerprint: str
    seen: tuple[str, ...] = ()


class Summary(BaseModel):
    """What came of a run.

    Args:
        part: the images that it was tested on: ``test``, or ``val`` where there are no others.
        metrics: of these.
        best_epoch: whose weights were tested; 0 for the fit of the last layer alone.
        epochs: that were trained.
        seconds: that the epochs took.
        parameters: of the network.
        peaks: bytes that each phase took, where they were measured.
        device: where it ran.
        threads: that torch computed with.
        processes: that trained.
        versions: of the libraries, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    part: str
    metrics: dict[str, float]
    best_epoch: int
    epochs: int
    seconds: float
    parameters: int
    peaks: dict[str, int]
    device: str
    threads: int
    processes: int
    versions: dict[str, str]


class RunFolder:
    """The paths of one run, ``runs/<task>/<name>``, and what is written there.

    - ``args.yaml``: the config, every default filled in
    - ``data.json``: which images it was begun with (see `striate.training.folder.DataRecord`)
    - ``plan.json``: how a step is taken within the memory granted, if it was
    - ``results.csv``: a row for each finished epoch
    - ``report.html``: the run on one page
    - ``README.md``: its card, what was trained on what and how to do it again
    - ``summary.json``: what came of it (see `striate.training.folder.Summary`)
    - ``weights/best``, ``weights/last``: trained weights with their config
    - ``resume``: the current generation (see ``striate.training.checkpoint``)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.args = path / "args.yaml"
        self.data = path / "data.json"
        self.plan = path / "plan.json"
        self.results = path / "results.csv"
        self.report = path / "report.html"
        self.card = path / "README.md"
        self.summary = path / "summary.json"
        self.best = path / "weights" / "best"
        self.last = path / "weights" / "last"
        self.resume = path / "resume"
        self.probe = self.resume / "probe"
        self.features, self.stages = self.resume / "features", path / "stages.json"

    @classmethod
    def create(cls, output: str | None, task: str, name: str) -> "RunFolder":
        """Make a new run's folder.

        Without an ``output`` it is ``runs/<task>/<name>``, with -2, -3 and so on behind it where that is taken.
        Making the folder is what takes it, so two runs never share one.

        Raises:
            UsageError: where the output asked for holds something already.
        """
        if output is not None:
            cls.expect_free(output)
            make_folder(Path(output))
            return cls(Path(output))
        root = Path("runs") / task
        make_folder(root)
        for number in count(1):
            path = root / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            flush(root)
            return cls(path)
        raise AssertionError("unreachable: numbers do not end")

    @staticmethod
    def expect_free(output: str) -> None:
        """Refuse an output that is taken.

        Raises:
            UsageError: where there is a file, or a folder with something in it that is not hidden.
        """
        path = Path(output)
        taken = path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir())
        if taken or (path.exists() and not path.is_dir()):
            raise UsageError(
                expected="a new or empty folder for the run",
                received=f"{path}, which holds something already" if taken else f"{path}, which is a file",
                remedy=f"Choose another --output{f', or go on with that run: --resume {path}' if taken else ''}.",
            )

    def begin(self, config: TrainConfig, data: DataRecord) -> None:
        """Write ``args.yaml`` and ``data.json`` for the first time; see `keep`.

        Raises:
            UsageError: where another run has begun here in the meantime.
        """
        if self.args.exists():
            self.expect_free(str(self.path))
        self.keep(config, data)

    def keep(self, config: TrainConfig, data: DataRecord) -> None:
        """Write what the run is asked to do, wherever it lies, and with which images, wherever these have moved to."""
        # With the first of them a run has begun, so that whatever cuts this short, it can be resumed.
        replace_file(self.args, lambda beside: beside.write_text(config.to_yaml(), encoding="utf-8"))
        replace_file(self.data, lambda beside: beside.write_text(data.model_dump_json(), encoding="utf-8"))

    def data_record(self) -> DataRecord:
        """Return which images the run was begun with.

        Raises:
            StriateError: where that file is missing or damaged.
        """
        try:
            return DataRecord.model_validate_json(self.data.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            remedy = "Restore it, or train again: without it nobody can tell which images the run has seen."
            raise _damaged(self.data, error, remedy) from error

    @classmethod
    def find(cls, path: str | Path) -> "RunFolder":
        """Return an existing run's folder.

        Raises:
            UsageError: where there is no run.
        """
        folder = cls(Path(path))
        if not folder.args.is_file():
            raise UsageError(
                expected="the folder of a run, with its args.yaml",
                received=str(path),
                remedy="Give the folder that `striate train` named when it began.",
            )
        return folder

    def config(self) -> TrainConfig:
        """Return what the run was asked to do."""
        return load_config(read_config(self.args))

    def write_summary(self, summary: Summary) -> None:
        """Write what came of the run."""
        text = summary.model_dump_json(indent=2) + "\n"
        replace_file(self.summary, lambda beside: beside.write_text(text, encoding="utf-8"))

    def read_summary(self) -> Summary | None:
        """Return what came of the run; None before its end.

        Raises:
            StriateError: where that file is damaged.
        """
        try:
            return Summary.model_validate_json(self.summary.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _damaged(self.summary, error, "Go on with the run, and it is written anew.") from error

    def forget_probe(self) -> None:
        """Remove the features that the last layer was fitted to."""
        shutil.rmtree(self.probe, ignore_errors=True)

    def forget_features(self) -> None:
        """Remove what the last stages learned from."""
        self.features.unlink(missing_ok=True)

    def write_results(self, records: Sequence[EpochRecord]) -> None:
        """Write ``results.csv`` anew, a row for each record: rows of an epoch that did not last are gone with it."""

        def write(beside: Path) -> None:
            rows: list[Mapping[str, Any]] = [record.row() for record in records]
            with beside.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["epoch"])
                writer.writeheader()
                writer.writerows(rows)

        replace_file(self.results, write)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder; the lock goes with the process, however it ends.

        Raises:
            UsageError: where another process holds it.
        """
        lock = FileLock(self.path / ".lock", blocking=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise UsageError(
                expected=f"{self.path} to itself",
                received="a run that another process is training there now",
                remedy="Wait for it, or stop it with Ctrl-C; it saves its state first.",
            ) from error
        try:
            yield
        finally:
            lock.release()


def _damaged(path: Path, error: Exception, remedy: str) -> StriateError:
    return StriateError(
        expected=f"what a run writes to {path}", received=" ".join(str(error).split())[:200], remedy=remedy
    )
