"""Configuration of the reward stage: graders, and the sandbox of programs."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from components.contract.credentials import credentials_in
from components.contract.section import Count, Fraction, Positive, Section, affects


class GraderSpec(Section):
    """One grader and its weight in the reward."""

    shorthand = "name"
    name: str = Field(min_length=1, description="built-in grader, or package.module:function")
    label: str | None = Field(
        default=None, min_length=1, description="name of its reward component; null: the grader's name"
    )
    weight: float = 1.0
    options: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the grader")

    @property
    def component(self) -> str:
        """Name among a reward's components."""
        return self.label or self.name

    @field_validator("options")
    @classmethod
    def _no_credentials(cls, value: dict[str, Any]) -> dict[str, Any]:
        if found := credentials_in(value):
            raise PydanticCustomError(
                "credentials",
                "must not contain a credential ({names}); set an environment variable and give its name (key_env)",
                {"names": ", ".join(found)},
            )
        return value


class SandboxSection(Section):
    """Isolation and limits of programs written by a model."""

    shorthand = "mode"
    mode: Annotated[Literal["auto", "namespaces", "landlock"], affects()] = Field(
        default="auto", description="auto: namespaces (bubblewrap) if allowed, else Landlock"
    )
    unsafe: Annotated[bool, affects()] = Field(
        default=False, description="without either, run programs with the stage's own rights"
    )
    seconds: Annotated[Positive, affects("reward")] = Field(
        default=8.0, description="wall-clock limit of a program and its tests"
    )
    cpu_seconds: Annotated[Count, affects("reward")] = Field(default=8, description="CPU time limit of a process")
    memory_mib: Annotated[int, affects("reward")] = Field(
        default=512, ge=64, description="address space limit of a process"
    )
    processes: Annotated[int, affects("reward")] = Field(
        default=1, ge=1, le=64, description="limit of processes and threads; 1: threads only"
    )
    file_mib: Annotated[Count, affects("reward")] = Field(
        default=16, description="size limit of a file, and of all files together"
    )
    output_kib: Annotated[Count, affects("reward")] = Field(
        default=1024, description="size limit of a program's output"
    )


class RewardSection(Section):
    """Grading of completions: a reward is the weighted sum of its graders."""

    shorthand = "graders"
    graders: Annotated[tuple[GraderSpec, ...], affects("reward")] = Field(
        default=(GraderSpec(name="math"),), min_length=1
    )
    time_limit: Annotated[Positive, affects("reward")] = Field(
        default=10.0, description="time limit of grading one completion, seconds"
    )
    workers: Annotated[int, affects()] = Field(default=0, ge=0, description="grading processes; 0: one per core")
    batch_size: Annotated[Count, affects()] = Field(
        default=16, description="completions per call of a grader that takes several"
    )
    max_failed_share: Annotated[Fraction, affects()] = Field(
        default=0.5, description="stop the run if a greater share of completions cannot be graded"
    )
    sandbox: SandboxSection = SandboxSection()

    @field_validator("graders", mode="before")
    @classmethod
    def _one_grader(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | dict) else value

    @field_validator("graders")
    @classmethod
    def _distinct(cls, value: tuple[GraderSpec, ...]) -> tuple[GraderSpec, ...]:
        names = [grader.component for grader in value]
        if len(set(names)) < len(names):
            raise ValueError(f"two graders have the same name ({', '.join(names)}); give one of them a label")
        return value
