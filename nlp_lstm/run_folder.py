"""The folder of a training run: its settings, metrics, checkpoints and weights."""

import dataclasses
import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path, told_if_unwritable
from nlp_lstm.notices import tell

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SettingsKind = TypeVar("SettingsKind", bound="DataclassInstance")

TRAINING = "training"
"""Names the stage, and its lines of `metrics.jsonl`, in which an app's model is trained for what it is used for."""

DATA_FINGERPRINT = "data_sha256"
"""Of a run's settings that which settles what it was trained on (`nlp_lstm.datasets.known_sets`). Runs of before have
none."""


class RunFolder:
    """Where a training run keeps what it needs to go on, to be judged and to be used.

    >>> from tempfile import mkdtemp
    >>> run = RunFolder(Path(mkdtemp(), "imdb"))
    >>> run.start({"task": "sentiment", "seed": 7})
    >>> run.write_metrics([{"stage": "training", "epoch": 1, "val_loss": 0.5}])
    >>> run.config()["seed"], run.metrics()[-1]["val_loss"]
    (7, 0.5)
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.config_path = self.path / "config.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.model_weights = self.path / "model.weights.h5"  # written last: a run that holds it is finished

    def best_weights(self, stage: str) -> Path:
        return self.checkpoints / f"{stage}-best.weights.h5"

    def start(self, config: dict[str, Any], defaults: Any = None) -> None:
        """Make the folder and keep the settings; refuse a folder that holds a run with others, or on other data.

        Args:
            config: the settings, and what else tells runs apart.
            defaults: the app's settings, a dataclass instance: what a run had that was started before a setting came.
        """
        try:
            if not self.config_path.exists():
                # Hidden names are what a kill left of a start before this one.
                if self.path.exists() and not (
                    self.path.is_dir() and all(path.name.startswith(".") for path in self.path.iterdir())
                ):
                    raise UserError(f"'{self.path}' is there already and is no run: name a new folder with --run")
                with atomic_path(self.config_path) as path:
                    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"cannot write the run folder '{self.path}' ({error.strerror}): name another with --run"
            ) from None
        found = with_defaults(self.config(), defaults) if defaults is not None else self.config()
        changed = sorted(key for key in {*found, *config} if found.get(key) != config.get(key))
        if DATA_FINGERPRINT in changed:
            changed.remove(DATA_FINGERPRINT)
            if not changed and found.get(DATA_FINGERPRINT):
                raise UserError(
                    f"the data of the run in '{self.path}' has changed since it was started: put back what it was "
                    "trained on, or name a new folder with --run"
                )
        if changed:
            raise UserError(
                f"the run in '{self.path}' was started with other settings ({', '.join(changed)}): "
                "repeat its settings, or name a new folder with --run"
            )

    @contextmanager
    def being_written(self) -> Iterator["RunFolder"]:
        """Tell as the user's mistake that the folder could not be written while the block ran.

        >>> from tempfile import mkdtemp
        >>> with RunFolder(Path("/dev/null/run")).being_written() as run:
        ...     run.write_metrics([])
        Traceback (most recent call last):
        nlp_lstm.errors.UserError: cannot write the run folder '/dev/null/run' (Not a directory): make room or ...

        What was whole before stays, so that the same command goes on from there.
        """
        try:
            yield self
        except (OSError, RuntimeError) as error:  # h5py raises the latter where a full disk is met as a file is closed
            told = _why_unwritten(error)
            if told is None:
                raise
        except Exception as error:  # TensorFlow has errors of its own, and is not imported here
            told = _why_unwritten(error) if type(error).__module__.startswith("tensorflow") else None
            if told is None:
                raise
        else:
            return
        raise UserError(
            f"cannot write the run folder '{self.path}' ({told}): make room or open it, and start the same command "
            "again to go on after the last whole epoch"
        ) from None

    def config(self) -> dict[str, Any]:
        """The settings the run was started with."""
        try:
            found = json.loads(self.config_path.read_text(encoding="utf-8"))
            if not isinstance(found, dict):
                raise ValueError("no JSON object")
            return found
        except (OSError, ValueError):
            raise UserError(f"'{self.path}' is no training run: it holds no readable config.json") from None

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a line that a kill cut short is left out."""
        if not self.metrics_path.exists():
            return []
        lines = self.metrics_path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        with atomic_path(self.metrics_path) as path:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    @contextmanager
    def timed_stage(self, stage: str) -> Iterator[dict[str, Any]]:
        """Record as one epoch what is fitted at one go: its time, and what is put into the row.

        >>> from tempfile import mkdtemp
        >>> run = RunFolder(Path(mkdtemp()))
        >>> with run.timed_stage("blend") as row:
        ...     row["accuracy"] = 0.9
        >>> [(row["stage"], row["epoch"], row["accuracy"], row.keys() >= {"seconds", "cpu_seconds"})
        ...  for row in run.metrics()]
        [('blend', 1, 0.9, True)]

        Of a stage that is recorded already, the new row takes the old one's place; where an error ends it, none does.
        """
        started, cpu_started = time.perf_counter(), time.process_time()
        row: dict[str, Any] = {"stage": stage, "epoch": 1}
        yield row
        row["seconds"] = round(time.perf_counter() - started, 2)
        row["cpu_seconds"] = round(time.process_time() - cpu_started, 2)
        self.write_metrics([*(other for other in self.metrics() if other["stage"] != stage), row])

    def keep_earlier(self, other: "RunFolder", stage: str, name: str) -> None:
        """Keep of a run that this one builds on how it was started, and a stage's metrics by another name.

        So that a model card tells all that it took.
        """
        configs = [*self.earlier_configs(), *other.earlier_configs(), other.config()]
        with atomic_path(self.path / "earlier.json") as path:
            # Each once, in their order, as a run that goes on keeps them anew.
            once = list({json.dumps(config): config for config in configs}.values())
            path.write_text(json.dumps(once, indent=2) + "\n", encoding="utf-8")
        taken = [{**row, "stage": name} for row in other.metrics() if row["stage"] == stage]
        self.write_metrics([*taken, *(row for row in self.metrics() if row["stage"] != name)])

    def keep_all_earlier(self, other: "RunFolder") -> None:
        """The same of all stages of a run that this one goes on from, each as an earlier one."""
        self._keep_all(other, lambda stage: f"earlier {stage}")

    def keep_run_gone_on_from(self, other: "RunFolder", config: dict[str, Any]) -> None:
        """The same, and tell what it may have seen.

        Args:
            other: the run that this one goes on from.
            config: this run's.
        """
        other.tell_if_cut_otherwise(config)
        self.keep_all_earlier(other)

    def keep_teachers(self, runs: Sequence[Path], config: dict[str, Any]) -> None:
        """Keep of the runs that this one learns from what `keep_earlier` keeps, and tell what they may have seen.

        Args:
            runs: their folders.
            config: this run's.
        """
        for number, path in enumerate(runs, start=1):
            self.keep_teacher(path, config, f"teacher {number}")

    def keep_teacher(self, path: Path, config: dict[str, Any], name: str) -> None:
        """The same of one run, whose metrics of training get this name."""
        teacher = RunFolder(path)
        teacher.tell_if_cut_otherwise(config)
        self.keep_all_of_teacher(teacher, name)

    def keep_all_of_teacher(self, teacher: "RunFolder", name: str) -> None:
        """The same without a word; what a teacher's training built on keeps its names behind that of the teacher."""
        self._keep_all(teacher, lambda stage: name if stage == TRAINING else f"before {name}: {stage}")

    def _keep_all(self, other: "RunFolder", renamed: Callable[[str], str]) -> None:
        for stage in dict.fromkeys(row["stage"] for row in other.metrics()):
            self.keep_earlier(other, stage, renamed(stage))

    def tell_if_cut_otherwise(self, config: dict[str, Any], names: Sequence[str] = ()) -> None:
        """Tell on standard error where this run, a teacher, may have seen the validation texts of its student.

        Args:
            config: the student's.
            names: of settings that cut validation texts off.
        """
        own = self.config()
        changed = [name for name in (DATA_FINGERPRINT, *names) if name in own and own[name] != config.get(name)]
        if changed:
            tell(
                f"the run in '{self.path}' was trained on other data than this one, or with another part of it cut off "
                f"for validation ({', '.join(changed)}): what it has seen of this one's validation data flatters the "
                "figures on them"
            )

    def earlier_configs(self) -> list[dict[str, Any]]:
        """How the runs were started that this one builds on, those first on which others build."""
        path = self.path / "earlier.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def keep_evaluation(self, result: dict[str, Any]) -> None:
        """Keep figures of a split, where the model card of an export finds them.

        Those of other data than the run's do not take the place of those of its own.
        """
        name = result["split"]
        data = Path(result.get("data", "")).name
        if data and data != Path(self._own_data()).name:
            name += "-" + re.sub(r"[^\w.-]", "_", data)
        path = self.path / f"evaluation-{name}.json"
        with told_if_unwritable("--run", self.path), atomic_path(path) as scratch:
            scratch.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")

    def _own_data(self) -> str:
        return str(self.config().get("data", "")) if self.config_path.exists() else ""

    def evaluations(self) -> list[dict[str, Any]]:
        """The figures that were kept, by the name of their split."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.path.glob("evaluation-*.json"))]

    def keep_pairs(self, result: dict[str, Any]) -> None:
        """Keep what came of minimal pairs, likewise."""
        with told_if_unwritable("--run", self.path), atomic_path(self.path / "pairs.json") as scratch:
            scratch.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")

    def pairs(self) -> dict[str, Any] | None:
        """What came of minimal pairs, if it was kept."""
        path = self.path / "pairs.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


_UNWRITABLE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR),
)


def _why_unwritten(error: Exception) -> str | None:
    """What the system said when something could not be written; None for an error that is another one."""
    if isinstance(error, OSError) and error.errno is not None:  # of h5py `strerror` is several lines
        return os.strerror(error.errno) if error.errno in _UNWRITABLE else None
    return next((os.strerror(code) for code in _UNWRITABLE if os.strerror(code) in str(error)), None)


def load_finished(run: RunFolder, task: str, model_name: str, load: Callable[[dict[str, Any]], Any]) -> Any:
    """What `load` makes of a finished run's settings and files.

    >>> from tempfile import mkdtemp
    >>> run = RunFolder(Path(mkdtemp(), "imdb"))
    >>> run.start({"task": "sentiment", "units": 128})
    >>> run.model_weights.touch()  # as if it were finished
    >>> load_finished(run, "sentiment", "a sentiment classifier", lambda config: config["units"])
    128

    Raises:
        UserError: if the folder holds no run, one of another task or not finished, or what `load` cannot read.
    """
    config = run.config()
    if config.get("task") != task:
        raise UserError(f"'{run.path}' is no run of {model_name}: name one with --run")
    if not run.model_weights.exists():
        raise UserError(f"the run in '{run.path}' is not finished: start its train command again to go on with it")
    try:
        return load(config)
    except Exception as error:  # Keras and h5py raise half a dozen kinds for a damaged file
        reason = (str(error).strip().splitlines() or [""])[0]
        raise UserError(
            f"the run in '{run.path}' is damaged or from another version ({type(error).__name__}: {reason}): "
            "train again in a new folder"
        ) from None


def with_defaults(config: dict[str, Any], defaults: Any) -> dict[str, Any]:
    """The settings of a run, with what stood for those that came after it was started.

    >>> from nlp_lstm.char_lm.settings import Settings
    >>> found = with_defaults({"task": "char_lm", "seed": 7}, Settings())
    >>> found["encoding"], found["weight_decay"], Settings().weight_decay
    ('', 0.0, 0.2)

    Args:
        config: the settings the run was started with.
        defaults: the app's settings, a dataclass instance. A field whose default is not what runs did before there was
            such a field tells that as `before` in its metadata.
    """
    before = {
        field.name: field.metadata["before"] for field in dataclasses.fields(defaults) if "before" in field.metadata
    }
    return {**dataclasses.asdict(defaults), **before, **config}


def settings_of(config: dict[str, Any], kind: type[SettingsKind]) -> SettingsKind:
    """The settings of a run, as the app's dataclass.

    >>> from nlp_lstm.char_lm.settings import Settings
    >>> settings_of({"task": "char_lm", "seed": 7}, Settings).seed
    7
    """
    known = with_defaults(config, kind())
    return kind(**{field.name: known[field.name] for field in dataclasses.fields(kind)})


def as_started(run: Path | None, defaults: Any, **given: Any) -> dict[str, Any]:
    """Settings of a verb that looks at a run: as given, else as the run was started with, else the defaults.

    >>> from tempfile import mkdtemp
    >>> from nlp_lstm.sentiment.settings import Settings
    >>> run = RunFolder(Path(mkdtemp(), "imdb"))
    >>> run.start({"task": "sentiment", "seed": 7, "validation_fraction": 0.1})
    >>> as_started(run.path, Settings(), seed=None, validation_fraction=0.2)
    {'seed': 7, 'validation_fraction': 0.2}

    So a run whose validation data was cut off in a way of its own is judged on what it was not trained on.

    Args:
        run: the run's folder; None for none, such as where an exported model is looked at.
        defaults: the app's settings, a dataclass instance.
        given: settings by name, None for what was not given.

    Raises:
        UserError: if the folder holds no run.
    """
    config = with_defaults(RunFolder(run).config(), defaults) if run else dataclasses.asdict(defaults)
    return {name: config[name] if value is None else value for name, value in given.items()}
