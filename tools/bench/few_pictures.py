"""What fine-tuning makes of 10, 30 and 150 pictures of a style, at several rates, judged against true stylised twins.

    python -m facestylist.tools.bench.few_pictures [--look cartoon] [--counts 10,30,150] [--rates 0.0002,0.001]
        [--steps 200] [--work .work/bench] [--renders .work/renders-128]

The settings are `FinetuneConfig`'s defaults but for steps and rate; people, judge and columns are those of `stages`.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import torch

from ...models import checkpoints
from ...training.finetune.run import finetune
from ...training.finetune.settings import FinetuneConfig
from ...training.inversion.search import invert_with_encoder
from .judges import train_judge
from .renders import renders
from .stages import PER_FACE, PER_STYLE, judged

logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Trains and judges every pair of count and rate, keeps the styles, and says a table's row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--look", default="cartoon")
    parser.add_argument("--counts", default="10,30,150", help="style pictures, spread evenly over the look's")
    parser.add_argument("--rates", default="0.0002,0.001", help="of the generator")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--work", type=Path, default=Path(".work/bench"))
    parser.add_argument("--renders", type=Path, default=Path(".work/renders-128"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.work.mkdir(parents=True, exist_ok=True)
    source = checkpoints.load_generator("rendered")
    photos, look = (renders(name, source.resolution, options.renders) for name in ("photo", options.look))
    codes = invert_with_encoder(photos.held, checkpoints.load_encoder("rendered"), source)
    judge = train_judge(options.work / f"judge-{source.resolution}.pt", source.resolution)
    logger.info("| pictures | rate | %s |", " | ".join((*PER_FACE, *PER_STYLE)))
    for count in map(int, options.counts.split(",")):
        pictures = look.style[torch.arange(count) * (len(look.style) // count)]
        for rate in map(float, options.rates.split(",")):
            config = FinetuneConfig(steps=options.steps, learning_rate=rate, preview_interval=0)
            style = finetune(source, pictures, config).generator
            kept = options.work / f"few-{options.look}-{count}-rate{rate:g}-{options.steps}.safetensors"
            checkpoints.save_generator(replace(style, discriminator=None), kept)
            found = judged(style, codes, look, judge)
            means = [f"{sum(found[name]) / len(found[name]):.4f}" for name in PER_FACE]
            logger.info("| %d | %g | %s |", count, rate, " | ".join([*means, *(f"{found[n]:.4f}" for n in PER_STYLE)]))


if __name__ == "__main__":
    main()
