"""SyncLLM of people's recordings: from two-channel files, units and any text model to a model that can be talked with.

    python recipes/sync_llm_recordings.py fisher fisher/audio --transcripts fisher/trans --folder runs/fisher \\
        --base Qwen/Qwen2-0.5B --hubert facebook/hubert-base-ls960 --clusters km500.npy --layer 9 --voice vocoder
    python recipes/sync_llm_recordings.py moshi data.jsonl --folder runs/mine --row-tokens 4096 \\
        --base runs/omni_flatten/text/model
    python recipes/sync_llm_recordings.py stereo recordings --base TEXT_MODEL --stages two_channels --folder runs/bare

Layouts: `fisher` (a folder, and one of transcripts), `moshi` (moshi-finetune's lines), `lhotse` (cuts), `stereo` (any
folder of two-channel files, without transcripts: for the last stage alone), `manifest` (one that
`data.two_channels.write` wrote). Units are HuBERT's, heard as they will be live (a look at each chunk, with what was
before it and half a chunk behind it), or those of a nano codec (`--codec`). Then the paper's stages, at its rates and
batches where no others are given. Run it again to go on where it was stopped. It leaves `model` in the folder, which
says which units it has:

    duologue talk --system sync_llm --model runs/fisher/model question.wav answer.wav
    duologue eval --suite two_agents --system sync_llm --model runs/fisher/model
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from zlib import crc32

import torch

from duologue.data import manifest, two_channels
from duologue.data.encode import Encoded
from duologue.data.manifest import Clip
from duologue.data.tensors import Example
from duologue.data.two_channels import Recording, encoded, fisher, lhotse_cuts, moshi_finetune, stereo
from duologue.model.backbone import backbone, tokenizer_of
from duologue.model.one_vocabulary import Codes
from duologue.systems.omni_flatten import SHIPPED
from duologue.systems.sync_llm import STAGES, STREAMS, Config, SyncLLM
from duologue.systems.sync_llm_examples import EXAMPLES, excerpts, two_channel_examples
from duologue.train import Causal, NextToken, Run, Stage, train
from duologue.units import clusters, hifigan, hubert, hubert_codec, nano_codec
from duologue.units.codec import UnitEncoder
from duologue.units.hubert import HubertUnitsConfig
from duologue.units.hubert_codec import HubertCodec, HubertCodecConfig
from duologue.units.hubert_live import HubertLive, Window
from omni_flatten_data import in_blocks

LAYOUTS: Mapping[str, Callable[[Path], Iterator[Recording]]] = {
    "moshi": moshi_finetune,
    "lhotse": lhotse_cuts,
    "stereo": stereo,
}
Units = HubertCodecConfig | Path
"""HuBERT's, or the file of a nano codec."""
REAL = "two_channels"  # The stage that needs no transcripts.
HELD_OUT = 50
"""Of so many conversations one is kept for validation, as in the paper."""
WARM_SHARE = 0.05
"""Of a stage's steps, at most, the learning rate rises."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    torch.set_num_threads(options.threads)
    units, given = chosen(options), options.layout == "manifest"
    encoder = encoder_of(units, options.device)
    config = sizes(encoder, options.chunk_ms)
    if isinstance(encoder, HubertLive) and options.voice is not None:
        HubertCodec(encoder, hifigan.of_folder(options.voice))
    model = SyncLLM.grown(backbone(options.base), tokenizer_of(options.base), codes(units), config, options.seed)
    refuse_long_rows(model, options.row_tokens)
    manifest_file: Path = options.recordings if given else options.folder / "manifest.jsonl"
    if not given:
        two_channels.write(manifest_file, recordings(options))
    rows = conversations(manifest_file, options.folder, units, options.device, options.workers)
    refuse_without_turns(rows, options.stages)
    teach(model, rows, encoder.silence[0], options)
    keep(model, units, encoder.silence, options.folder / "model")
    print(f"{options.folder / 'model'}: talk with it by duologue talk --system sync_llm --model PATH")


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layout", choices=("fisher", *LAYOUTS, "manifest"))
    parser.add_argument("recordings", type=Path, help="folder, or the file that names the recordings")
    parser.add_argument("--transcripts", type=Path, help="fisher: folder of its transcripts")
    parser.add_argument("--folder", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--base", required=True, help="causal language model: a folder or a hub id; or a SyncLLM")
    parser.add_argument("--codec", type=Path, help="file of a nano codec (default: the one that comes along)")
    parser.add_argument("--hubert", help="instead: HuBERT in transformers' format, a folder or a hub id")
    parser.add_argument("--clusters", type=Path, help="of HuBERT: file of the clusters' centres")
    parser.add_argument("--layer", type=int, default=11, help="of HuBERT: whose features are clustered, from 1")
    parser.add_argument("--normalized", action="store_true", help="HuBERT was trained on sound of unit variance")
    parser.add_argument("--past-s", type=float, default=2.0, help="of HuBERT: what it hears before each chunk")
    parser.add_argument("--voice", type=Path, help="of HuBERT: folder of a unit HiFi-GAN that makes sound of its units")
    parser.add_argument("--chunk-ms", type=int, default=160)
    parser.add_argument("--stages", nargs="+", choices=list(EXAMPLES), default=list(EXAMPLES), help="default: all")
    parser.add_argument("--epochs", type=float, default=1.0, help="of each stage (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, help="peak; default: the paper's, of each stage")
    parser.add_argument("--batch-tokens", type=int, help="default: the paper's, of each stage")
    parser.add_argument("--row-tokens", type=int, default=8192, help="of a row, computed at once (default: 8192)")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    parser.add_argument("--device", default="cpu", help="that HuBERT hears on (default: cpu)")
    parser.add_argument("--workers", type=int, default=1, help="processes that encode")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args(arguments)


def recordings(options: argparse.Namespace) -> Iterator[Recording]:
    """Of the layout. Raises ValueError for Fisher's without a folder of transcripts."""
    if (options.layout == "fisher") != (options.transcripts is not None):
        raise ValueError("--transcripts is a folder that goes with the layout fisher: files without any are stereo")
    if options.layout == "fisher":
        return fisher(options.recordings, options.transcripts)
    return LAYOUTS[options.layout](options.recordings)


# ---------------------------------------------------------------- units


def chosen(options: argparse.Namespace) -> Units:
    """Raises ValueError for a part of HuBERT's units alone, or together with a nano codec."""
    if (options.hubert is None) != (options.clusters is None):
        raise ValueError("HuBERT's units are --hubert and --clusters: give both, or a nano codec by --codec")
    if options.hubert is None:
        if options.voice is not None:
            raise ValueError("a nano codec speaks in its own voice: leave --voice out, or give --hubert")
        return Path(options.codec or SHIPPED / nano_codec.CODEC)
    if options.codec is not None:
        raise ValueError("--hubert and --codec are two kinds of units: give one")
    config = HubertUnitsConfig(options.hubert, str(options.clusters), options.layer, normalized=options.normalized)
    whole = hubert.load(config)
    slots = sizes(whole, options.chunk_ms).slots
    window = Window(round(options.past_s * whole.unit_hz), slots, slots // 2)
    return HubertCodecConfig(config, window, options.voice and str(options.voice))


def sizes(encoder: UnitEncoder, chunk_ms: int) -> Config:
    """Raises ValueError for units that no chunk is made of."""
    unit_ms = 1000 / encoder.unit_hz
    if not unit_ms.is_integer():
        raise ValueError(f"units that last {unit_ms:g} ms: give an encoder whose units are whole milliseconds")
    return Config(chunk_ms, int(unit_ms))


@lru_cache(maxsize=1)
def encoder_of(units: Units, device: str) -> UnitEncoder:
    return nano_codec.load(units).tokenizer if isinstance(units, Path) else units.encoder(device)


def codes(units: Units) -> Codes:
    """How many they are, and what is known of each."""
    if isinstance(units, HubertCodecConfig):
        centres = clusters.read(units.hubert.clusters).centres
        return Codes(len(centres), centres)
    return nano_codec.codes_of(units)


def keep(model: SyncLLM, units: Units, silence: tuple[int, ...], folder: Path) -> None:
    """The model, and which units it has."""
    model.save(folder)
    if isinstance(units, HubertCodecConfig):
        hubert_codec.keep(folder, units, silence)
    else:
        shutil.copyfile(units, folder / nano_codec.CODEC)


# ---------------------------------------------------------------- conversations


def conversations(path: Path, folder: Path, units: Units, device: str, workers: int) -> list[Encoded]:
    """Of a manifest, in units; blocks that are there are not made again."""
    clips = manifest.read(path)
    marks = {"units": _mark(units), "items": crc32(path.read_bytes())}
    return in_blocks(folder / "units", clips, partial(_encoded, units, device), workers, marks)


def _encoded(units: Units, device: str, clip: Clip) -> Encoded:
    return encoded(clip, encoder_of(units, device))


def _mark(units: Units) -> int:
    if isinstance(units, Path):
        return crc32(units.read_bytes())
    described: dict[str, Any] = {**asdict(units), "voice": None}
    return crc32(json.dumps(described).encode() + Path(units.hubert.clusters).read_bytes())


def refuse_without_turns(rows: Sequence[Encoded], stages: Iterable[str]) -> None:
    """Raises ValueError for stages that learn from turns where there are no transcripts."""
    known = any(stretch.text and stretch.turn is not None for row in rows for stretch in row.stretches)
    if not known and (unfit := [stage for stage in stages if stage != REAL]):
        raise ValueError(f"{unfit[0]} learns from turns: give transcripts, or leave it out: --stages {REAL}")


# ---------------------------------------------------------------- stages


def refuse_long_rows(model: SyncLLM, row_tokens: int) -> None:
    """Raises ValueError for rows that the model has no places for."""
    places = getattr(model.lm.config.get_text_config(), "max_position_embeddings", row_tokens)
    if row_tokens > places:
        raise ValueError(f"rows of {row_tokens} tokens, the model has {places} places: --row-tokens {places}")


def teach(model: SyncLLM, rows: Sequence[Encoded], silence: int, options: argparse.Namespace) -> None:
    """The stages, from where the folder was left. Raises ValueError for one that nothing is learnt in."""
    held_out = rows[HELD_OUT - 1 :: HELD_OUT]
    learnt = [row for number, row in enumerate(rows, 1) if number % HELD_OUT]
    for stage in (stage for stage in STAGES if stage.name in options.stages):
        made = list(examples(model, stage.name, learnt, silence, options.row_tokens))
        if not made:
            raise ValueError(f"{stage.name}: nothing fits into rows of {options.row_tokens} tokens: raise --row-tokens")
        run = Run(options.folder / stage.name, options.row_tokens, options.bf16)
        validation = list(examples(model, stage.name, held_out, silence, options.row_tokens))
        train(Causal(model.lm), staged(stage, made, options), run, made, validation, NextToken(STREAMS))


def examples(model: SyncLLM, stage: str, rows: Sequence[Encoded], silence: int, row_tokens: int) -> Iterator[Example]:
    """Long conversations are cut: between turns, or, with two channels, after so many chunks."""
    if stage == REAL:
        made = two_channel_examples(model, rows, silence, row_tokens // model.config.chunk_tokens)
    else:
        made = EXAMPLES[stage](model, [piece for row in rows for piece in excerpts(row, row_tokens // 2)], silence)
    return (one for one in made if len(one["said"]) <= row_tokens)


def staged(stage: Stage, made: Sequence[Example], options: argparse.Namespace) -> Stage:
    """The paper's stage, over what there is."""
    batch_tokens = max(options.row_tokens, options.batch_tokens or stage.batch_tokens)
    steps = max(1, round(options.epochs * sum(len(one["said"]) for one in made) / batch_tokens))
    return replace(
        stage,
        steps=steps,
        batch_tokens=batch_tokens,
        row_tokens=options.row_tokens,
        learning_rate=options.learning_rate or stage.learning_rate,
        warmup_steps=min(stage.warmup_steps, int(WARM_SHARE * steps)),
        seed=options.seed,
    )


if __name__ == "__main__":
    main()
