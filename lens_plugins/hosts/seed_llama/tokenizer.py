"""The SEED-2 tokenizer: ViT features -> codes, and codes -> the image embedding that unCLIP reads.

ViT → final norm → causal Q-Former → two linear layers → nearest entry of the codebook; back: entry → two linear layers
→ positions → transformer blocks → each token reduced → one embedding of all tokens (SEED-LLaMA, section 3; module
`Blip2QformerQuantizer` of its code). Attention is transformers' own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ...errors import DoesNotFit, InputError, Unsupported
from ...files.folders import CONFIG_FILE, WEIGHTS_FILE, save_folder
from ...files.jsons import read_json_object
from ...files.tensors import read_safetensors
from ...keymap import check_state
from ...splice import FrozenViT, vit_from_timm, vit_from_tower
from .config import SeedConfig

__all__ = ["SeedTokenizer", "read_causally"]

_TOWER = "vision_model."  # what a shared ViT replaces is under it, except the norm
_SAMPLED = ("embeddings.class_embedding", "embeddings.position_embedding", "embeddings.patch_embedding.weight")
_HALF = 2e-3  # what rounding to half precision may change, relative to the largest value


def read_causally(qformer: Any, queries: Tensor, features: Tensor) -> Tensor:
    """transformers' `Blip2QFormerModel`, in which query i attends to queries ≤ i only.

    Args:
        queries: (B, Q, C).
        features: (B, T, D), all of which every query reads.

    Returns:
        (B, Q, C)
    """
    dtype = qformer.layernorm.weight.dtype
    count = queries.shape[1]
    # Additive and four-dimensional: of the masks that the Q-Former takes, eager attention obeys only this one.
    mask = torch.full((count, count), torch.finfo(dtype).min, device=features.device, dtype=dtype).triu(1)
    return qformer(
        query_embeds=queries.to(features.device, dtype),
        attention_mask=mask[None, None],  # (1, 1, Q, Q)
        encoder_hidden_states=features.to(dtype),
    ).last_hidden_state


def _read_with_bert(bert: Any, queries: Tensor, features: Tensor) -> Tensor:  # -> (B, Q, C)
    """The research repository's BERT, causal by itself, called as its `get_codebook_indices` calls it."""
    return bert(
        query_embeds=queries,
        encoder_hidden_states=features.to(queries.dtype),
        encoder_attention_mask=features.new_ones(features.shape[:2], dtype=torch.long),
        return_dict=True,
    ).last_hidden_state


class Quantizer(Protocol):
    """The parts of the research repository's `Blip2QformerQuantizer`."""

    visual_encoder: Any
    ln_vision: nn.LayerNorm
    query_tokens: nn.Parameter
    Qformer: Any
    encode_task_layer: nn.Module
    quantize: Any
    decode_task_layer: nn.Module
    pos_embed_image: nn.Parameter
    blocks_image: nn.ModuleList
    image_down: nn.Module
    distill_image_proj: nn.Linear


class SeedTokenizer(nn.Module):
    """SEED-2 over its given parts; `from_pretrained`, `from_state` and `wrap` bring them.

    Attributes:
        config: every dimension; None for a wrapped object.
        vit: the `FrozenViT` in front, with SEED's own norm after it.
        queries: Q, codes of one picture.
        codes: entries of the codebook.
        embedding_width: E.
    """

    def __init__(
        self,
        vit: FrozenViT,
        *,
        vision_model: nn.Module,
        query_tokens: nn.Parameter,
        qformer: nn.Module,
        to_code: nn.Module,
        codebook: nn.Embedding,
        from_code: nn.Module,
        positions: nn.Parameter,
        decoder: nn.Module,
        down: nn.Module,
        projection: nn.Linear,
        reader: Callable[[nn.Module, Tensor, Tensor], Tensor] = read_causally,
        config: SeedConfig | None = None,
        shares_vit: bool = False,
    ) -> None:
        super().__init__()
        self.vit = vit
        self.vision_model = vision_model
        self.query_tokens = query_tokens
        self.qformer = qformer
        self.to_code = to_code
        self.codebook = codebook
        self.from_code = from_code
        self.positions = positions
        self.decoder = decoder
        self.down = down
        self.projection = projection
        self.reader = reader
        self.config = config
        self.shares_vit = shares_vit
        self.queries = query_tokens.shape[1]
        self.codes = codebook.num_embeddings
        self.embedding_width = projection.out_features

    def causal_output(self, features: Tensor) -> Tensor:  # (B, T, D) -> (B, Q, C)
        """What the causal Q-Former makes of ViT features.

        Raises:
            DoesNotFit: features of another width than the ViT's.
        """
        if features.ndim != 3 or features.shape[2] != self.vit.width:
            raise DoesNotFit(
                f"The SEED tokenizer reads features of shape (B, T, {self.vit.width}), got {tuple(features.shape)}."
            )
        # the ViT may be another host's, on another device
        features = features.to(self.query_tokens.device)
        return self.reader(self.qformer, self.query_tokens.expand(len(features), -1, -1), features)

    def pre_quantization(self, features: Tensor) -> Tensor:  # (B, T, D) -> (B, Q, code width)
        """The vectors whose nearest entries in the codebook are the codes."""
        return self.to_code(self.causal_output(features))

    def quantize(self, features: Tensor) -> Tensor:  # (B, T, D) -> (B, Q)
        """Codes of ViT features, int64. The same everywhere in float32 only: rounding can move a nearest entry."""
        vectors, entries = self.pre_quantization(features), self.codebook.weight
        # |v - e|² without |v|², which is the same for every entry.
        distance = entries.pow(2).sum(-1) - 2 * vectors @ entries.T  # (B, Q, codes)
        return distance.argmin(-1)

    def image_embeds(self, codes: Tensor) -> Tensor:  # (B, Q) -> (B, E)
        """The CLIP image embedding that codes stand for.

        Raises:
            InputError: not whole numbers, another number of codes per picture, or codes that the codebook lacks.
        """
        codes = self.check_codes(codes).to(self.codebook.weight.device)
        tokens = self.from_code(self.codebook(codes)) + self.positions  # (B, Q, W)
        # transformers' blocks return an output, the research code's a tensor
        out = self.decoder(tokens)
        out = out if isinstance(out, Tensor) else out.last_hidden_state
        return self.projection(self.down(out).flatten(1))  # (B, Q, d) -> (B, Q·d) -> (B, E)

    def check_codes(self, codes: Tensor) -> Tensor:
        """Return codes (B, Q) as int64 if they are codes of this tokenizer.

        Raises:
            InputError: not whole numbers, another number of codes per picture, or codes that the codebook lacks.
        """
        codes = torch.as_tensor(codes)
        if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
            raise InputError(f"Codes are whole numbers from 0 to {self.codes - 1}, got {codes.dtype}.")
        if codes.ndim != 2 or codes.shape[1] != self.queries:
            raise InputError(
                f"A picture has {self.queries} codes, so codes are (B, {self.queries}); got {tuple(codes.shape)}."
            )
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self.codes:
            raise InputError(f"Codes are 0 to {self.codes - 1}; these are {int(codes.min())} to {int(codes.max())}.")
        return codes.long()

    @classmethod
    def from_config(
        cls, config: SeedConfig, *, vit: FrozenViT | None = None, attention: str = "sdpa", device: str = "cpu"
    ) -> Self:
        """A tokenizer with random weights.

        Args:
            vit: the ViT of another host, to be used in place of one of its own.
            attention: "sdpa" or "eager".
            device: "meta" spends no time on the weights.

        Raises:
            DoesNotFit: `vit` has another width, number of patches or picture size.
        """
        with torch.device(device):
            parts = _parts(config, attention)
            if vit is None:
                tower = _tower(config, attention)
                return cls(vit_from_tower(tower, "SEED's ViT"), vision_model=tower, config=config, **parts)
            norm = nn.LayerNorm(config.vit_width, eps=config.norm_eps)
        tower = nn.ModuleDict({"post_layernorm": norm})  # so that the norm has the same name as in a tower
        return cls(_borrow(vit, norm, config), vision_model=tower, config=config, shares_vit=True, **parts)

    @classmethod
    def from_state(
        cls,
        config: SeedConfig,
        tensors: Mapping[str, Tensor],
        source: str,
        *,
        vit: FrozenViT | None = None,
        attention: str = "sdpa",
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> Self:
        """Build a tokenizer around tensors by its own names; they are copied. In eval mode, frozen.

        Args:
            vit: see `from_config`; the ViT in `tensors` is then compared with it and left out.
            dtype: of the ViT. Q-Former, codebook and decoder are small and stay float32, for the sake of the codes.

        Raises:
            CheckpointError: a tensor is missing, unexpected or misshapen.
            DoesNotFit: `vit` is not the ViT of these tensors.
        """
        # compared as a whole, also where the ViT in it is not kept
        whole = cls.from_config(config, attention=attention, device="meta")
        check_state(tensors, whole.state_dict(), source=source)
        tokenizer = whole
        if vit is not None:
            tokenizer = cls.from_config(config, vit=vit, attention=attention, device="meta")
            _check_same(tensors, vit, source)
        own = {
            name: tensors[name].to(device, dtype if name.startswith(_TOWER) else torch.float32, copy=True)
            for name in tokenizer.state_dict()
        }
        tokenizer.load_state_dict(own, strict=True, assign=True)
        return tokenizer.requires_grad_(False).eval()

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        vit: FrozenViT | None = None,
        attention: str = "sdpa",
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> Self:
        """Read a folder that `save_pretrained` wrote; arguments as in `from_state`.

        Raises:
            CheckpointError: a file is absent or damaged; a tensor is missing, unexpected or misshapen.
            ConfigError: the configuration is refused, or was written by a newer version.
            DoesNotFit: `vit` is not the ViT of this tokenizer.
        """
        folder = Path(folder)
        config = SeedConfig.from_dict(read_json_object(folder / CONFIG_FILE))
        tensors = read_safetensors(folder / WEIGHTS_FILE)
        return cls.from_state(config, tensors, str(folder), vit=vit, attention=attention, dtype=dtype, device=device)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json`` and ``model.safetensors``; each file is complete before it takes its name.

        Raises:
            Unsupported: the tokenizer shares another host's ViT or wraps an object, so it is not whole.
            CheckpointError: the folder cannot be written.
        """
        if self.config is None or self.shares_vit:
            why = "shares the ViT of another host" if self.shares_vit else "wraps an object of the research repository"
            raise Unsupported(f"This SEED tokenizer {why} and cannot be saved; load it by itself and save that.")
        save_folder(Path(folder), self, self.config.to_dict(), "The SEED tokenizer")

    @classmethod
    def wrap(cls, model: nn.Module) -> Self:
        """Drive the research repository's loaded `Blip2QformerQuantizer` (or an object with its attributes).

        Its own modules compute; nothing is copied and nothing in it is changed.

        Args:
            model: has the attributes that `Quantizer` names.

        Raises:
            Unsupported: attributes are absent, each named.
        """
        missing = [name for name in Quantizer.__annotations__ if not hasattr(model, name)]
        if missing:
            raise Unsupported(
                f"A {type(model).__name__} is no SEED tokenizer: it has no {', '.join(missing)}. "
                "Give the object that Blip2QformerQuantizer.from_pretrained returns."
            )
        own = cast(Quantizer, model)
        eye = own.visual_encoder
        return cls(
            vit_from_timm(eye, own.ln_vision, depth=len(eye.blocks), name="SEED's ViT"),
            vision_model=nn.ModuleDict({"visual_encoder": eye, "post_layernorm": own.ln_vision}),
            query_tokens=own.query_tokens,
            qformer=own.Qformer.bert,
            reader=_read_with_bert,
            to_code=own.encode_task_layer,
            codebook=own.quantize.embedding,
            from_code=own.decode_task_layer,
            positions=own.pos_embed_image,
            decoder=nn.Sequential(*own.blocks_image),
            down=own.image_down,
            projection=own.distill_image_proj,
        )


def _tower(config: SeedConfig, attention: str) -> nn.Module:
    from transformers import Blip2VisionConfig
    from transformers.models.blip_2.modeling_blip_2 import Blip2VisionModel

    shape = Blip2VisionConfig(
        hidden_size=config.vit_width,
        intermediate_size=config.vit_mlp,
        num_hidden_layers=config.vit_layers,
        num_attention_heads=config.vit_heads,
        image_size=config.image_size,
        patch_size=config.patch_size,
        layer_norm_eps=1e-6,
    )
    tower = Blip2VisionModel._from_config(shape, attn_implementation=attention)
    tower.post_layernorm.eps = config.norm_eps
    return tower


def _parts(config: SeedConfig, attention: str) -> dict[str, Any]:
    """Everything behind the ViT."""
    from transformers import Blip2QFormerConfig, Blip2QFormerModel, Blip2VisionConfig
    from transformers.models.blip_2.modeling_blip_2 import Blip2Encoder

    qformer = Blip2QFormerConfig(
        hidden_size=config.qformer_width,
        num_hidden_layers=config.qformer_layers,
        num_attention_heads=config.qformer_heads,
        intermediate_size=config.qformer_mlp,
        cross_attention_frequency=config.cross_attention_every,
        encoder_hidden_size=config.vit_width,
        layer_norm_eps=1e-12,
    )
    blocks = Blip2VisionConfig(  # the decoder's blocks are a ViT's: pre-norm, qkv with bias, GELU
        hidden_size=config.decoder_width,
        intermediate_size=config.decoder_mlp,
        num_hidden_layers=config.decoder_layers,
        num_attention_heads=config.decoder_heads,
        layer_norm_eps=1e-6,
        attn_implementation=attention,
    )
    width, code = config.qformer_width, config.code_width
    return {
        "query_tokens": nn.Parameter(torch.zeros(1, config.queries, width)),
        "qformer": Blip2QFormerModel._from_config(qformer, attn_implementation=attention),
        "to_code": nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, code)),
        "codebook": nn.Embedding(config.codes, code),
        "from_code": nn.Sequential(nn.Linear(code, code), nn.Tanh(), nn.Linear(code, config.decoder_width)),
        "positions": nn.Parameter(torch.zeros(1, config.queries, config.decoder_width)),
        "decoder": Blip2Encoder(blocks),
        "down": _reduction((config.decoder_width, *config.down)),
        "projection": nn.Linear(config.queries * config.down[-1], config.embedding_width),
    }


def _reduction(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers without bias, with ReLU between."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.ReLU()] if layers else []
        layers.append(nn.Linear(before, after, bias=False))
    return nn.Sequential(*layers)


def _borrow(vit: FrozenViT, norm: nn.Module, config: SeedConfig) -> FrozenViT:
    """Another host's ViT with a norm of one's own: that differs between hosts even where the ViT is the same."""
    own, other = (config.vit_width, config.patches, config.image_size), (vit.width, vit.num_patches, vit.image_size)
    if own != other:
        raise DoesNotFit(f"SEED's ViT has (width, patches, pixels) {own}; {vit.name} has {other} and cannot serve it.")
    return FrozenViT(
        name=vit.name,
        patch_embedding=vit.patch_embedding,
        class_token=vit.class_token,
        positions=vit.positions,
        blocks=vit.blocks,
        norm=norm,
        image_size=vit.image_size,
    )


def _check_same(tensors: Mapping[str, Tensor], vit: FrozenViT, source: str) -> None:
    """Compare class token, positions and patch embedding, which every layout has, up to half precision."""
    # the convolution's weight, whatever its layout calls it
    patch = next(p for p in vit.patch_embedding.parameters() if p.ndim == 4)
    for name, other in zip(_SAMPLED, (vit.class_token.read(), vit.positions.read(), patch)):
        own = tensors[_TOWER + name].float()
        difference = (own - other.detach().cpu().float()).abs().max().item()
        allowed = _HALF * own.abs().max().item()
        if not difference <= allowed:
            raise DoesNotFit(
                f"{vit.name} is not the ViT of {source}: its {name.rpartition('embeddings.')[2]} differs by "
                f"{difference:.3g}, {allowed:.3g} is allowed. Load the host without vit=."
            )
