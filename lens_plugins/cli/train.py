"""`lens-plugins train`: align a lens to a frozen ViT."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..catalog import find_modality
from ..errors import ConfigError
from .options import values_of

__all__ = ["train"]


def train(
    manifest: Annotated[Path, typer.Argument(help="Pairs, one JSON object a line.", metavar="MANIFEST")],
    modality: Annotated[str, typer.Option(help="Lines of this modality are used.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the lens, made where absent.")],
    host: Annotated[
        str, typer.Option(help="Whose ViT: a host's id or folder, or timm:eva_giant_patch14_224:eva_vit_g.pth.")
    ] = "pocket-instructblip",
    init: Annotated[str | None, typer.Option(help="Lens to go on from; a new one without it.")] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(help="A field of the run (views=mean) or of a new lens (lens.num_groups=64).", metavar="K=V"),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pairs a step, over all devices together.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the lens or unfinished run in the output folder.")
    ] = False,
    log_with: Annotated[
        list[str] | None,
        typer.Option(metavar="TRACKER", help="tensorboard, wandb or another that accelerate knows; repeatable."),
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Save and stop after this long.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.")] = None,
    text_tower: Annotated[str | None, typer.Option(help="Folder of a sentence encoder; texts are used then.")] = None,
    text_head: Annotated[Path | None, typer.Option(help="The host's own map from CLS to the text space.")] = None,
    val_manifest: Annotated[Path | None, typer.Option(help="Pairs to measure retrieval on.")] = None,
    score_on: Annotated[
        Path | None,
        typer.Option("--eval", metavar="PAIRS", help="Labels and texts to score while training, as `eval pairs` does."),
    ] = None,
    ln_vision: Annotated[Path | None, typer.Option(help="With a timm ViT: the host's file with ln_vision.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of picture anchors, to share between runs.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw losses and accuracies into this picture.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the new weights, the order and the variation.")] = None,
) -> None:
    """Align a lens to the frozen ViT of a host; the host stays as it is, to the bit.

    Each line of MANIFEST is {"modality", "path", "image" and/or "text", "split": "train" or "val", "id"}; paths are
    relative to it, and image and text may be lists. The lens is saved in OUTPUT, with metrics.jsonl beside it.
    Ctrl-C saves the state and ends with exit code 130; --resume goes on from there, also with more --steps.

    \b
    Example:
      lens-plugins train pairs.jsonl --modality point_cloud --output my-lens --steps 2000 --plot curves.png
      lens-plugins caption chair.ply --lens point_cloud=my-lens
    """
    from .. import load_lens
    from ..evaluate.training import score_pairs
    from ..train import RunFolder, TrainConfig, lens_config_for, load_text_tower, load_vit, plot_metrics, train_lens
    from ..train.interrupts import Interrupts

    run, parts = _settings(config)
    named = {
        "steps": steps,
        "batch_size": batch_size,
        "lr": lr,
        "max_minutes": max_minutes,
        "precision": precision,
        "seed": seed,
    }
    settings = TrainConfig.from_dict({**run, **{name: value for name, value in named.items() if value is not None}})
    # What can be refused at once is refused before a host is loaded.
    find_modality(modality)
    if score_on and not text_tower:
        raise ConfigError(f"--eval {score_on} compares inputs with labels and texts; give --text-tower, too.")
    RunFolder(output).check(resume=resume, overwrite=overwrite)
    with Interrupts():  # also while the host is loaded
        vit, image_settings = load_vit(host, norm=ln_vision)
        tower = load_text_tower(text_tower, vit.device) if text_tower else None
        result = train_lens(
            manifest,
            vit=vit,
            lens=load_lens(init, modality=modality, **parts) if init else lens_config_for(modality, vit, parts),
            output=output,
            config=settings,
            val_manifest=val_manifest,
            text_tower=tower,
            text_head=text_head,
            image_settings=image_settings,
            cache=cache,
            resume=resume,
            overwrite=overwrite,
            log_with=log_with,
            progress=True,
            score=score_pairs(score_on, modality, vit, tower) if score_on else None,
        )
    measured = {name: round(value, 4) for name, value in result.metrics.items()}
    typer.echo(json.dumps({"lens": str(result.output), "steps": result.steps, "stopped": result.stopped, **measured}))
    if plot:
        typer.echo(f"plot: {plot_metrics(output, plot)}", err=True)


def _settings(given: Sequence[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """`K=V` words as fields of the run and, behind `lens.`, of the lens."""
    values = values_of(given, "--config")
    run = {name: value for name, value in values.items() if not name.startswith("lens.")}
    return run, {name.removeprefix("lens."): value for name, value in values.items() if name not in run}
