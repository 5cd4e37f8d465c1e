"""Random weights in the published formats and at the published sizes, in `weights/` of the working folder.

Command: `python -m stages.full_size.weights`; `bind-an-audio rehearse` runs it as a process of its own, so that
its memory is free again before the first stage.
"""

from __future__ import annotations

from pathlib import Path

import torch

from stages.full_size import stand_ins
from stages.params.models import GeneratorOptions
from stages.params.schema import load_params
from stages.plumbing.running import run
from stages.synthesis.bigvgan import BigVGAN
from stages.towers import imagebind as ib
from stages.towers.clap import SPECIAL_TOKENS, TextTower, word_pieces
from stages.towers.laion_clap import CHECKPOINT_FOLDER, CHECKPOINTS, build_laion_clap
from stages.towers.roberta import TOKENIZER_FOLDER

CONTEXT_DIM = 1024
BERT_BASE = {
    "vocab_size": stand_ins.BERT_WORDS,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
}
ROBERTA_BASE = {
    **BERT_BASE,
    "vocab_size": stand_ins.ROBERTA_WORDS,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
}
HTSAT_TINY = 96
BIGVGAN = GeneratorOptions(
    num_mels=80,
    upsample_initial_channel=1536,
    upsample_rates=[4, 4, 2, 2, 2, 2],
    upsample_kernel_sizes=[8, 8, 4, 4, 4, 4],
    resblock="1",
    resblock_kernel_sizes=[3, 7, 11],
    resblock_dilation_sizes=[[1, 3, 5]] * 3,
    activation="snakebeta",
    snake_logscale=True,
    use_bias_at_final=True,
    use_tanh_at_final=True,
)


def main() -> None:
    """Write every file that the full preset reads; ImageBind's sizes are those of params.yaml."""
    torch.manual_seed(0)
    folder = Path("weights")
    encoders = load_params().encoders
    assert encoders.source == "pretrained"
    with torch.device("meta"):
        text, vocoder = TextTower(BERT_BASE, CONTEXT_DIM).state_dict(), BigVGAN(BIGVGAN).state_dict()
    with ib.WithoutMemory():
        towers = dict(ib.build_imagebind(encoders.imagebind, ("text", "vision")).state_dict())
        published = (ib.PUBLISHED_AUDIO_STRIDE, ib.PUBLISHED_AUDIO_FRAMES)
        towers |= ib.build_imagebind(encoders.imagebind, ("audio",), *published).state_dict()
    (folder / "bert-base-uncased").mkdir(parents=True)
    stand_ins.write_make_an_audio(folder / "maa1_full.ckpt", text)
    stand_ins.write_bigvgan(folder / "bigvgan", BIGVGAN.model_dump(), vocoder)
    stand_ins.write_imagebind(folder / "imagebind_huge.pth", towers)
    checkpoint = folder / CHECKPOINT_FOLDER / CHECKPOINTS[0]
    stand_ins.write_laion_clap(checkpoint, build_laion_clap(HTSAT_TINY, ROBERTA_BASE).state_dict())
    stand_ins.write_roberta_tokenizer(folder / TOKENIZER_FOLDER)
    words = [word for word in word_pieces(["a dog barks three times"]) if word not in SPECIAL_TOKENS]
    stand_ins.write_vocabulary(folder / "bert-base-uncased/vocab.txt", [*SPECIAL_TOKENS, *words])


if __name__ == "__main__":
    run(main)
