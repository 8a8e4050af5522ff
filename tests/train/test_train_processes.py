"""Two processes with half a batch each learn what one learns from the whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lens_plugins.lens.lens import Lens
from lens_plugins.train import TrainConfig, train_lens

CONFIG = {"steps": 3, "batch_size": 12, "lr": 1e-3, "views": "mean", "augment": True}
WORKER = """
import json, sys
import torch
torch.set_num_threads(1)
from transformers import InstructBlipVisionConfig, InstructBlipVisionModel
from lens_plugins.lens.config import LensConfig
from lens_plugins.splice.vit import vit_from_tower
from lens_plugins.train import TrainConfig, train_lens

request = json.loads(sys.argv[1])
tower = InstructBlipVisionModel(InstructBlipVisionConfig(**request["tower"]))
tower.load_state_dict(torch.load(request["weights"]))
lens = LensConfig.from_dict(request["lens"])
config = TrainConfig.from_dict(request["config"])
train_lens(request["manifest"], vit=vit_from_tower(tower), lens=lens, output=request["output"], config=config)
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_does(world, vit, lens_config, tmp_path):
    from transformers import InstructBlipVisionConfig, InstructBlipVisionModel

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"image_size": 28, "patch_size": 14}
    tower = InstructBlipVisionModel(InstructBlipVisionConfig(**sizes))
    owned = {"embeddings": vit.positions.owner, "encoder": vit.blocks, "post_layernorm": vit.norm}
    for name, part in owned.items():
        getattr(tower, name).load_state_dict(part.state_dict())
    torch.save(tower.state_dict(), tmp_path / "tower.pt")
    request = {
        "tower": sizes,
        "weights": str(tmp_path / "tower.pt"),
        "lens": lens_config.to_dict(),
        "config": CONFIG,
        "manifest": str(world),
        "output": str(tmp_path / "two"),
    }
    (tmp_path / "worker.py").write_text(WORKER)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*launch, str(tmp_path / "worker.py"), json.dumps(request)],
        check=True,
        timeout=300,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    one = train_lens(world, vit=vit, lens=lens_config, output=tmp_path / "one", config=TrainConfig.from_dict(CONFIG))
    two = Lens.from_pretrained(Path(request["output"]))
    start = train_lens(
        world, vit=vit, lens=lens_config, output=tmp_path / "start", config=TrainConfig(steps=1, lr=1e-12)
    )
    moved = max((a - b).abs().max() for a, b in zip(one.lens.parameters(), start.lens.parameters()))
    apart = max((a - b).abs().max() for a, b in zip(one.lens.parameters(), two.parameters()))
    assert moved > 5e-4
    assert apart < 0.1 * moved
