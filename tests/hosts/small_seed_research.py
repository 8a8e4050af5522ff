"""A stand-in for the research repository's `Blip2QformerQuantizer`: its attributes and state names, plain torch."""

import math
from types import SimpleNamespace

import torch
from torch import Tensor, nn

VIT, WIDTH, CODE, QUERIES, CODES, DOWN, EMBEDDING = 16, 12, 4, 5, 19, (10, 8, 3), 9


class Attention(nn.Module):
    """timm's: one projection to query, key and value; EVA's has biases for query and value only."""

    def __init__(self, width: int, heads: int, *, eva: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=not eva)
        if eva:
            self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x)
        if hasattr(self, "q_bias"):
            qkv = qkv + torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return self.proj(attend(*qkv.chunk(3, dim=-1), heads=self.heads))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, *, eva: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, eva=eva)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 2 * width), "fc2": nn.Linear(2 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](nn.functional.gelu(self.mlp["fc1"](self.norm2(x))))


class PatchEmbed(nn.Module):
    img_size = (28, 28)

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, VIT, 14, 14)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, VIT))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, VIT))
        self.blocks = nn.ModuleList([Block(VIT, 2, eva=True) for _ in range(3)])


class BertAttention(nn.Module):
    def __init__(self, context: int) -> None:
        super().__init__()
        sources = {"query": WIDTH, "key": context, "value": context}
        self.add_module("self", nn.ModuleDict({name: nn.Linear(size, WIDTH) for name, size in sources.items()}))
        self.output = Output(WIDTH)

    def forward(self, x: Tensor, context: Tensor, *, causal: bool) -> Tensor:
        own = self.self
        mixed = attend(own["query"](x), own["key"](context), own["value"](context), heads=2, causal=causal)
        return self.output(mixed, x)


class Output(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(width, WIDTH), nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class BertLayer(nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.attention = BertAttention(WIDTH)
        if number % 2 == 0:
            self.crossattention = BertAttention(VIT)
        self.intermediate_query = nn.ModuleDict({"dense": nn.Linear(WIDTH, 20)})
        self.output_query = Output(20)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        x = self.attention(x, x, causal=True)
        if hasattr(self, "crossattention"):
            x = self.crossattention(x, features, causal=False)
        return self.output_query(nn.functional.gelu(self.intermediate_query["dense"](x)), x)


class Bert(nn.Module):
    """Causal by itself, as the research repository's own file makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict({"LayerNorm": nn.LayerNorm(WIDTH, eps=1e-12)})
        self.embeddings.register_buffer("position_ids", torch.arange(64)[None])
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList([BertLayer(i) for i in range(4)])})

    def forward(self, *, query_embeds, encoder_hidden_states, encoder_attention_mask, return_dict):
        if not (return_dict and encoder_attention_mask.shape == encoder_hidden_states.shape[:2]):
            raise ValueError("called otherwise than the research code calls it")
        x = self.embeddings["LayerNorm"](query_embeds)
        for layer in self.encoder["layer"]:
            x = layer(x, encoder_hidden_states)
        return SimpleNamespace(last_hidden_state=x)


class Quantizer(nn.Module):
    """`Blip2QformerQuantizer`, as far as inference goes; `blocks` and `pos_embed` are the training run's."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.visual_encoder, self.ln_vision = VisionTransformer(), nn.LayerNorm(VIT)
        self.query_tokens = nn.Parameter(torch.zeros(1, QUERIES, WIDTH))
        self.Qformer = nn.ModuleDict({"bert": Bert()})
        self.Qformer.bert = self.Qformer["bert"]
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(CODES, CODE)})
        self.quantize.embedding = self.quantize["embedding"]
        self.encode_task_layer = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, CODE))
        self.decode_task_layer = nn.Sequential(nn.Linear(CODE, CODE), nn.Tanh(), nn.Linear(CODE, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, QUERIES, WIDTH))
        self.pos_embed_image = nn.Parameter(torch.zeros(1, QUERIES, WIDTH))
        self.blocks = nn.ModuleList([Block(WIDTH, 3)])
        self.blocks_image = nn.ModuleList([Block(WIDTH, 3) for _ in range(2)])
        first, second, last = DOWN
        self.image_down = nn.Sequential(
            nn.Linear(WIDTH, first, bias=False), nn.ReLU(), nn.Linear(first, second, bias=False), nn.ReLU(),
            nn.Linear(second, last, bias=False),
        )  # fmt: skip
        self.distill_image_proj = nn.Linear(QUERIES * last, EMBEDDING)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                norm = weight.ndim == 1 and not name.endswith("bias")
                weight.normal_(float(norm), 0.1 if weight.ndim == 1 else 0.4, generator=generator)
            for name, weight in self.Qformer.named_parameters():
                weight.mul_(0.3 if name.endswith("dense.weight") else 1)  # or all queries become one
            self.quantize.embedding.weight.mul_(4)  # as far apart as what is looked up, so that many codes occur
        self.requires_grad_(False).eval()


def attend(query: Tensor, key: Tensor, value: Tensor, *, heads: int, causal: bool = False) -> Tensor:
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if causal:
        scores = scores + torch.full_like(scores, -torch.inf).triu(1)
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
