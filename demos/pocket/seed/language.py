"""The language model of the pocket SEED: a small LLaMA of ours and its vocabulary of words and codes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lens_plugins.hosts.seed_llama.host import SeedLlama, SeedLlamaHost
from lens_plugins.hosts.seed_llama.prompt import DESCRIBE, IMAGINE
from lens_plugins.hosts.seed_llama.tokenizer import SeedTokenizer
from lens_plugins.hosts.seed_llama.vocabulary import BEGIN, CODE, END

from ..heldout import names_class
from ..loop import Stage, run
from .dialogue import Said, Talk
from .sizes import Sizes

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

__all__ = ["LanguagePupil", "new_language_model", "new_words", "place_codes", "train_language"]

LATE = 0.35  # of the steps; then there is more to change
_POSITIONS = 1024
_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")


def new_words(texts: Sequence[str], sizes: Sizes) -> Any:
    """A byte-level vocabulary of lower-case words, and a token for every code and for the borders of pictures."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=sizes.vocabulary,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), _SPECIAL))
    words = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=_POSITIONS, clean_up_tokenization_spaces=False, **names
    )
    pictures = [BEGIN, END, *(CODE.format(code) for code in range(sizes.codes))]
    words.add_tokens([AddedToken(token, normalized=False) for token in pictures])
    return words


def new_language_model(words: Any, sizes: Sizes) -> LlamaForCausalLM:
    """A LLaMA of random weights, whose outputs share the matrix of its inputs."""
    from transformers import LlamaConfig, LlamaForCausalLM

    width = sizes.language_width
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 32 * 32,
        num_hidden_layers=sizes.language_layers,
        num_attention_heads=sizes.language_heads,
        max_position_embeddings=_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    torch.manual_seed(23)
    return LlamaForCausalLM(config)


@torch.no_grad()
def place_codes(model: LlamaForCausalLM, words: Any, entries: Tensor) -> None:
    """Let the rows of codes begin as the codebook's entries (K, c) turned to the model's width: like codes are near."""
    rows = model.get_input_embeddings().weight
    ids = words.convert_tokens_to_ids([CODE.format(code) for code in range(len(entries))])
    turn = torch.randn(entries.shape[1], rows.shape[1], generator=torch.Generator().manual_seed(29))
    even = (entries - entries.mean(0)) / entries.std(0)
    rows[ids] = model.config.initializer_range * even @ turn * entries.shape[1] ** -0.5


class LanguagePupil(nn.Module):
    """The language model, and how it learns from dialogues."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model

    def losses(self, words: Any, said: Sequence[Said]) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each token of the replies, and its id: (T,), (T,)."""
        ids, mask, goals = _batch(words, said)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.model.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
            chosen = goals[:, 1:] >= 0
            logits = self.model.lm_head(hidden[chosen])
        wanted = goals[:, 1:][chosen]
        return F.cross_entropy(logits.float(), wanted, reduction="none"), wanted


def _batch(words: Any, said: Sequence[Said]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and goals (B, T), padded on the right; goals are -1 where nothing is to be said."""
    asked = words([words.bos_token + one.prompt for one in said], add_special_tokens=False)["input_ids"]
    replied = words([one.reply for one in said], add_special_tokens=False)["input_ids"]
    shape = len(said), max(len(a) + len(r) for a, r in zip(asked, replied))
    ids, goals = torch.full(shape, words.pad_token_id), torch.full(shape, -1)
    mask = torch.zeros(shape, dtype=torch.long)
    for row, (a, r) in enumerate(zip(asked, replied)):
        ids[row, : len(a) + len(r)] = torch.tensor(a + r)
        mask[row, : len(a) + len(r)] = 1
        goals[row, len(a) : len(a) + len(r)] = torch.tensor(r)
    return ids, mask, goals


def train_language(
    pupil: LanguagePupil,
    words: Any,
    talk: Talk,
    tokenizer: SeedTokenizer,
    held: tuple[Tensor, Sequence[str]],
    sizes: Sizes,
    folder: Path,
) -> None:
    """Train, or go on; leaves the model rounded to float16. Every other step is of descriptions alone, twice as many.

    `held` are codes (B, Q) of held-out pictures, and their classes.
    """
    first_code = words.convert_tokens_to_ids(CODE.format(0))

    def loss(step: int, g: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([67, step])
        late = step >= LATE * sizes.language_steps
        if step % 2:
            said = [talk.draw(rng, late) for _ in range(sizes.language_batch)]
        else:
            said = [talk.draw_told(rng) for _ in range(2 * sizes.language_batch)]
        losses, ids = pupil.losses(words, said)
        code = ids >= first_code
        parts = {"code": losses[code], "text": losses[~code]}
        numbers = {name: part.mean().item() for name, part in parts.items() if len(part)}
        return losses.mean(), numbers

    stage = Stage(
        steps=sizes.language_steps,
        lr=1e-3,
        muon_lr=2e-3,
        blocks=".layers.",
        warmup=50,
        average=0.985,
        check_every=sizes.check_every,
        seed=19,
    )
    host = SeedLlamaHost(SeedLlama(tokenizer, pupil.model), words, name="the pocket SEED in training")
    run(pupil, loss, _check(host, held), stage, folder)
    pupil.half().float().eval()


def _check(host: SeedLlamaHost, held: tuple[Tensor, Sequence[str]]):
    """Held-out pictures: how many descriptions name the class, and codes that come back when they are drawn again."""
    codes, labels = held
    shown = [host.vocabulary.text(row) for row in codes]

    def check(_: nn.Module) -> dict[str, float]:
        told = host.write([host.style.render(p + DESCRIBE) for p in shown], do_sample=False, max_new_tokens=12)
        named = [names_class(one.text, label) for one, label in zip(told, labels)]
        asked = [host.style.render(p + IMAGINE) for p in shown]
        room = host.vocabulary.queries + 1
        drawn = host.write(asked, do_sample=False, force_image=True, max_new_tokens=room)
        again = torch.stack([one.parts[0] for one in drawn])
        return {"test_named": float(np.mean(named)), "test_again": float((again == codes).float().mean())}

    return check
