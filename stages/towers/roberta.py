"""LAION-CLAP's text tower: RoBERTa (Liu et al. 2019), and its tokenizer from local files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stages.towers.clap import TEXT_TOKENS, Tokenizer

PADDING = 1
TOKENIZER_FOLDER = "roberta-base"
TOKENIZER_FILES = ("vocab.json", "merges.txt")
ROBERTA = {"layer_norm_eps": 1e-5, "pad_token_id": PADDING, "bos_token_id": 0, "eos_token_id": 2}


class RobertaTower(nn.Module):
    """RoBERTa's hidden states of all 77 tokens, padding masked as LAION-CLAP masks it: `[B, 77]` to `[B, 77, D]`."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        from transformers import RobertaConfig, RobertaModel

        self.base = RobertaModel(RobertaConfig(**config, **ROBERTA))

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids to hidden states."""
        hidden: Tensor = self.base(input_ids=tokens, attention_mask=(tokens != PADDING).long()).last_hidden_state
        return hidden

    token_features = forward  # as `Clap` has it


class RobertaTokenizer(Tokenizer):
    """RoBERTa's byte-pair tokenizer from a folder with `vocab.json` and `merges.txt`, always 77 tokens."""

    padding = PADDING

    def __init__(self, folder: str | Path) -> None:
        from transformers import RobertaTokenizer as Published

        for name in TOKENIZER_FILES:
            if not (Path(folder) / name).is_file():
                raise ValueError(f"{folder}/{name}: no such file; `bind-an-audio weights` says where it comes from")
        try:
            self._read = Published.from_pretrained(str(folder), local_files_only=True)
        except Exception as error:  # the tokenizers library raises no narrower one
            reason = str(error).splitlines()[0][:120]
            raise ValueError(f"{folder}: no tokenizer of RoBERTa's kind ({reason}); get its files again") from None
        self.vocabulary, self.tokens = len(self._read), TEXT_TOKENS


def copy_roberta_tokenizer(source: Path, folder: Path, words: int) -> None:
    """Copy the tokenizer's files. Raises ValueError where one is missing or broken, or knows other than `words`."""
    known = RobertaTokenizer(source).vocabulary
    if known != words:
        raise ValueError(f"{source}: {known} words where the checkpoint has {words}; take roberta-base's")
    for name in TOKENIZER_FILES:
        shutil.copyfile(source / name, folder / name)
