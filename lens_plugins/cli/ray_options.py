"""Options of a run on Ray, as a group."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..batches.ray import Cluster

__all__ = ["RayOptions"]


@dataclass(frozen=True)
class RayOptions:
    """Whether a run goes on Ray, where, and with how much."""

    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on Ray (extra: ray): local starts one here, auto is this machine's cluster, or HOST:PORT. OUT is "
            "then a folder or an address, as s3://bucket/out.",
        ),
    ] = None
    ray_actors: Annotated[
        int | None, typer.Option(metavar="N", help="Hosts at once; as many as there is room for where not given.")
    ] = None
    ray_cpus: Annotated[float | None, typer.Option(metavar="N", help="CPUs of each host; 1 where not given.")] = None
    ray_gpus: Annotated[
        float | None, typer.Option(metavar="N", help="GPUs of each host, 0.5 to share one; 1 with --device cuda.")
    ] = None
    ray_readers: Annotated[
        int | None, typer.Option(metavar="N", help="Actors that read; a quarter of the CPUs where not given.")
    ] = None

    def cluster(self, readers: int | None) -> Cluster | None:
        """Where to run; None: on this machine, without Ray.

        Args:
            readers: processes that were asked for on this machine.

        Raises:
            ConfigError: an option of Ray without Ray, or the other way round.
        """
        if self.ray is None:
            given = [field.name for field in fields(self) if getattr(self, field.name) is not None]
            if given:
                raise ConfigError(
                    f"--{given[0].replace('_', '-')} is for a run on Ray; give --ray local or an address."
                )
            return None
        if readers is not None:
            raise ConfigError("--readers is for a run without Ray; give --ray-readers.")
        from ..batches.ray import Cluster

        cpus = 1.0 if self.ray_cpus is None else self.ray_cpus
        return Cluster(self.ray, self.ray_actors, cpus, self.ray_gpus, self.ray_readers)
