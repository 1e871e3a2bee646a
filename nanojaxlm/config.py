"""The root config: it only composes the rooms' configs, and checks what no room can check alone."""

from dataclasses import dataclass, field

from nanojaxlm.checkpoint import CheckpointConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.distributed import DistributedConfig
from nanojaxlm.losses import LossConfig
from nanojaxlm.model.config import ModelConfig
from nanojaxlm.optimizer import Optimizer
from nanojaxlm.sharding import MeshConfig


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    steps: int
    accumulation: int = 1  # micro-batches a step; the batch is data.batch_size all the same
    offload_optimizer: bool = False  # its moments lie in the host's memory between steps
    log_every: int = 10  # steps between lines of metrics.jsonl
    start_from: str | None = None  # a checkpoint whose parameters a fresh run begins with

    def __post_init__(self) -> None:
        for name in ("steps", "accumulation", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    every: int = 500  # steps; always at the end too
    batches: int | None = None  # of the validation split, before the last step; None = all
    sample_prompts: tuple[str, ...] = ()  # continued at each evaluation, into samples.jsonl
    sample_tokens: int = 64
    sample_temperature: float = 0.8

    def __post_init__(self) -> None:
        for name in ("every", "sample_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.batches is not None and self.batches < 1:
            raise ValueError(f"batches must be >= 1 or None, got {self.batches}")
        if self.sample_temperature < 0:
            raise ValueError(f"sample_temperature must be >= 0, got {self.sample_temperature}")


@dataclass(frozen=True, kw_only=True)
class Config:
    model: ModelConfig
    data: DataConfig
    optimizer: Optimizer
    training: TrainingConfig
    loss: LossConfig = field(default_factory=LossConfig)
    mesh: MeshConfig | str = field(default_factory=MeshConfig)  # "auto": planning chooses one
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        accumulation = self.training.accumulation
        for rows in self.data.sizes.each:
            if rows % accumulation:
                name = "data.batch_size" if rows == self.data.batch_size else "data.batch_warmup's"
                raise ValueError(f"training.accumulation={accumulation} must divide {name}={rows}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in [0, 2**32), got {self.seed}")
        if isinstance(self.mesh, str) and self.mesh != "auto":
            raise ValueError(f"mesh must be 'auto' or the sizes of its axes, got {self.mesh!r}")
        self._check_objective()

    def _check_objective(self) -> None:
        """That the model reads and predicts what the objective gives."""
        objective, model = self.data.objective, self.model
        name = type(objective).__name__
        for part, wanted in (("encoder", objective.encodes), ("decoder", objective.decodes)):
            has = getattr(model, part) is not None
            if has != wanted:
                raise ValueError(
                    f"data.objective {name} {'feeds' if wanted else 'feeds no'} {part}, but "
                    f"model.{part} is {'given' if has else 'None'}: choose another objective, or "
                    "give the model the stacks that it feeds"
                )
        if objective.num_future != model.num_future:
            raise ValueError(
                f"data.objective {name} predicts {objective.num_future} tokens beyond the next, "
                f"but model.num_future is {model.num_future}: make them equal"
            )
        lengths = objective.lengths(self.data.sequence_length)
        longest = max(lengths.encoder or 0, lengths.decoder or 0)
        positions = model.embed.num_positions
        if positions is not None and longest > positions - model.embed.first_position:
            raise ValueError(
                f"rows of {longest} tokens are longer than the {positions} positions of "
                "model.embed.num_positions: lower data.sequence_length, or raise num_positions"
            )
