"""Run all checks of `doctor` in order, and time the sample of a source."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from coordinator.display import terminal
from coordinator.display.remedies import typed
from coordinator.doctor import (
    check_broker,
    check_machine,
    check_model,
    check_workers,
    machine,
    source_sample,
    timing,
    view,
)
from coordinator.doctor.checks import Check, Verdict, ok, problem, warning, within
from coordinator.doctor.source_sample import ListedSource
from coordinator.doctor.timing import TimedSample
from coordinator.local import hidden
from coordinator.local.model_trial import asked_model
from coordinator.sources.choosing import EVERYTHING, Choice
from shared.errors import CorruptFile, JobError, ModelError, SourceError
from shared.images.paths import expanded
from shared.job.directory import JobDir
from shared.job.manifest import Manifest, load_manifest
from shared.job.partition.features.wanted import wanted_features
from shared.models import ModelSpec
from shared.settings import ON, Settings, without_settings
from shared.storage import home

LIST_SECONDS = 120.0
"""How long listing the source may take; two million paths on a local disk take half of it."""

_JOB_SECONDS = 10.0


@dataclass(slots=True)
class Visit:
    """One run of the command: findings are shown at once, and kept."""

    settings: Settings
    say: Callable[[RenderableType], None]
    doing: Callable[[str], None]
    choice: Choice = EVERYTHING
    checks: list[Check] = field(default_factory=list)
    listed: ListedSource | None = None
    sample: TimedSample | None = None

    @property
    def bad(self) -> bool:
        return any(check.verdict == Verdict.PROBLEM for check in self.checks)

    def tell(self, *checks: Check) -> None:
        for check in checks:
            self.checks.append(check)
            self.say(view.check_text(check, terminal.columns()))

    def look(self, source: str | None, job: JobDir | None, seconds: float) -> None:
        """Check everything, cheap things first, memory and disk last: how much they need is known by then."""
        cpu, threads = machine.read_cpu(), timing.threads_of(self.settings)
        wanted = metadata.requires("lookalike") or []
        self.tell(*check_machine.software(check_machine.installed_packages(wanted), wanted))
        self.tell(check_machine.names(hidden.same_names()))
        self.tell(check_machine.processor(cpu), check_machine.cores(cpu, threads))
        self.tell(check_machine.load(cpu, os.getloadavg()[0]))
        if (without_home := home.lent()) is not None:
            self.tell(warning("home", without_home))
        spec, model_dir = self._model(job)
        environment = without_settings(os.environ) | replace(self.settings, broker_url=None).to_environment()
        if check_model.can_embed():
            self.doing("Looking at GPU and model …")
            self.tell(*check_model.look(spec, model_dir, environment))
        self._broker(job)
        if source is not None:
            self._source(source)
        if self.listed is not None and self.listed.count:
            self._sample(spec, model_dir, environment, seconds)
        self._room(job)
        if self.sample is not None and self.listed is not None and self.sample.measured["read"]:
            self.say("")
            self.say(view.sample_view(self.sample, self.listed))
        self.say("")
        self.say(view.verdict_line(self.checks))

    def _model(self, job: JobDir | None) -> tuple[ModelSpec | None, Path]:
        """The model that would embed (None if none can) and the directory of its weights; the job's own model if the
        job exists.
        """
        settings = self.settings
        try:
            manifest = None if job is None else within(_JOB_SECONDS, lambda: _manifest(job))
        except (JobError, ModelError, OSError) as error:
            self.tell(problem("job", f"{job.path if job else ''} can't be read: {typed(error)}"))
            return None, Path()
        if job is not None and manifest is not None:
            self.settings = settings.changed(
                partition_size=manifest.partition_size,
                chunk_size=manifest.chunk_size,
                max_image_pixels=manifest.max_image_pixels,
                max_image_bytes=manifest.max_image_bytes,
            )
            if _stores_features(job):
                self.settings = self.settings.changed(copies=ON)
            self.tell(ok("job", f"{job.path} is made: {manifest.listed:,} images of {manifest.source.location}."))
            if manifest.model.is_imported:
                self.tell(ok("model", f"The job's vectors were imported ({manifest.model.fingerprint}): none is run."))
                return None, job.model_dir
            return manifest.model, job.model_dir
        try:
            spec = asked_model(settings)
            if settings.fusion == ON:
                self.tell(check_model.fusion(spec))
        except ModelError as error:
            self.tell(problem("model", typed(error)))
            return None, Path()
        return spec, expanded(settings.weights or Path(settings.model or "")).absolute().parent

    def _broker(self, job: JobDir | None) -> None:
        self.doing("Asking the broker …")
        root = self.settings.jobs_root if job is None else job.jobs_root
        with ExitStack() as stack:
            settings, checks = check_broker.given(self.settings, root, stack)
            self.tell(*checks)
            if settings is None:
                return
            broker, checks = check_broker.look(settings)
            self.tell(*checks)
            if broker is not None:
                self.doing("Asking the workers …")
                embedded = not self.settings.broker_url
                version = metadata.version("lookalike")
                self.tell(*check_workers.look(settings, broker, version, embedded=embedded))

    def _source(self, source: str) -> None:
        self.doing("Listing images …")
        try:
            self.listed = source_sample.list_source(
                source, LIST_SECONDS, lambda count: self.doing(f"Listing images … {count:,} so far"), self.choice
            )
        except (SourceError, OSError) as error:
            self.tell(problem("source", typed(error)))
        else:
            self.tell(source_sample.check(self.listed, LIST_SECONDS))

    def _sample(self, spec: ModelSpec | None, model_dir: Path, environment: dict[str, str], seconds: float) -> None:
        assert self.listed is not None
        if spec is None:
            return
        if not check_model.can_embed():
            self.tell(warning("sample", "None is timed: a worker's packages are not installed here."))
            return
        self.sample, checks = timing.run(
            self.listed,
            spec,
            model_dir,
            self.settings,
            seconds=seconds,
            environment=environment,
            told=lambda text: self.doing(f"Timing a sample … {text}"),
        )
        self.tell(*checks)

    def _room(self, job: JobDir | None) -> None:
        prediction = None if self.sample is None else self.sample.prediction
        needed = (None, None) if prediction is None else (prediction.memory, prediction.disk)
        self.tell(check_machine.memory(machine.read_memory(), needed[0]))
        path = self.settings.jobs_root if job is None else job.path
        if path is not None:
            present = 0 if job is None else _bytes_in(job)
            self.tell(check_machine.job_disk(path, needed[1], present))

    def to_json(self) -> dict[str, Any]:
        listed = self.listed
        return {
            "ok": not self.bad,
            "checks": [check.to_json() for check in self.checks],
            "source": None
            if listed is None
            else {
                "kind": listed.kind,
                "location": listed.location,
                "listed": listed.count,
                "complete": listed.complete,
                "seconds": round(listed.seconds, 3),
                "left_out": dict(listed.left_out),
            },
            **({"measured": None, "prediction": None} if self.sample is None else timing.to_json(self.sample)),
        }


def _manifest(job: JobDir) -> Manifest | None:
    return load_manifest(job) if job.spec.is_file() else None


def _stores_features(job: JobDir) -> bool:
    """Whether a job wants its features stored; where that can't be read soon, it is not known to."""
    try:
        return within(_JOB_SECONDS, lambda: wanted_features(job)) is not None
    except (CorruptFile, OSError):
        return False


def _bytes_in(job: JobDir) -> int:
    """The bytes of the files that the job has already; 0 if they can't be counted soon."""
    try:
        return within(_JOB_SECONDS, lambda: sum(path.stat().st_size for path, ours in job.files() if ours))
    except OSError:
        return 0
