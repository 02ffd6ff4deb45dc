"""The nano units from nothing, on one core: speech, a tokenizer that recognises, a decoder with the assistant's voice.

    python recipes/nano_units.py --folder runs/nano_units

Run it again to go on where it was stopped. It ends with what was reached, on voices and people that were not trained
on, and leaves `nano_units.safetensors` in the folder. Since the units do not know who speaks, the decoder may have any
voice there is speech of: `--voice person:ljspeech-LJ`, which leaves `nano_units_ljspeech-LJ.safetensors`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from duologue.units.nano_codec import NanoCodec, save
from duologue.units.nano_decoder import DecoderConfig, NanoDecoder
from duologue.units.nano_tokenizer import PER_UNIT, NanoTokenizer, letters_of
from nano_units_batches import Drawn, Heard, Pieces, noises
from nano_units_learning import Losses, Plan, learn
from nano_units_reached import codec_table, tokenizer_table
from nano_units_speech import ASSISTANT, Speech, prepare

SHAPE_WEIGHT = 0.5
BATCH_S = 24.0
PIECES, PIECE_UNITS = 8, 36
TOKENIZER = Plan("tokenizer", steps=9000, learning_rate=1.5e-3)
DECODER = Plan("decoder", steps=5000, learning_rate=1e-3)
WINDOWS_SAMPLES = (256, 640, 1536)
"""Of the spectra in which made and wanted sound are compared."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    speech = prepare(options.folder / "speech", options.recordings, options.share)
    steps = (options.tokenizer_steps, options.decoder_steps)
    codec = make(speech, options.folder, options.recordings, *steps, options.voice)
    print(*codec_table(codec, options.clips), sep="\n", flush=True)


def make(
    speech: Speech,
    folder: Path,
    recordings: Path,
    tokenizer_steps: int = TOKENIZER.steps,
    decoder_steps: int = DECODER.steps,
    voice: str = ASSISTANT,
) -> NanoCodec:
    """Train both parts, from where `folder` was left, and write them to its `nano_units.safetensors`; with another
    voice than the assistant's, beside it. Raises ValueError where there is no speech of that voice."""
    if not speech.numbers("train", voice):
        raise ValueError(f"no speech of {voice!r} to learn from; there is {', '.join(sorted(speech.voices))}")
    beside = "" if voice == ASSISTANT else f"_{voice.partition(':')[2]}"
    tokenizer = trained_tokenizer(speech, folder, recordings, tokenizer_steps)
    print(*tokenizer_table(tokenizer, speech), sep="\n", flush=True)
    learning = replace(DECODER, steps=decoder_steps, name=f"{DECODER.name}{beside}")
    codec = NanoCodec(tokenizer, trained_decoder(speech, voice, tokenizer, learning, folder))
    save(codec, folder / f"nano_units{beside}.safetensors")
    return codec


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/nano_units"), help="where everything is kept")
    parser.add_argument("--recordings", type=Path, default=Path("../shared/data"), help="recordings of people")
    parser.add_argument("--share", type=float, default=1.0, help="share of the speech to make")
    parser.add_argument("--tokenizer-steps", type=int, default=TOKENIZER.steps)
    parser.add_argument("--decoder-steps", type=int, default=DECODER.steps)
    parser.add_argument("--voice", default=ASSISTANT, help="that the decoder speaks with (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=30, help="questions to ask at the end, of each voice")
    return parser.parse_args()


# ---------------------------------------------------------------- tokenizer


def trained_tokenizer(speech: Speech, folder: Path, recordings: Path, steps: int) -> NanoTokenizer:
    torch.manual_seed(TOKENIZER.seed)
    model = NanoTokenizer()
    drawn = Drawn(speech, speech.numbers("train"), noises(recordings), BATCH_S, TOKENIZER.seed)
    learn(
        replace(TOKENIZER, steps=steps),
        model,
        lambda step: tokenizer_losses(model, drawn.batch(step)),
        folder,
    )
    return model


def tokenizer_losses(model: NanoTokenizer, batch: Heard) -> Losses:
    with torch.autocast("cpu", torch.bfloat16):
        read = model(batch.noisy, batch.units)
    with torch.no_grad():
        wanted = model.shape_of(batch.clean, batch.units)
    real = torch.arange(wanted.shape[-1]) < PER_UNIT * batch.units[:, None]
    apart = (read.shapes - wanted).square().mean(1)[real].mean()
    return {"letters": ctc(read.letters, batch), "shapes": SHAPE_WEIGHT * apart}


def ctc(letters: Tensor, batch: Heard) -> Tensor:
    """Nats per letter."""
    wanted = [letters_of(text) for text in batch.texts]
    lengths = torch.tensor([len(text) for text in wanted])
    nats = functional.ctc_loss(
        letters,
        torch.tensor([letter for text in wanted for letter in text]),
        PER_UNIT * batch.units,
        lengths,
        reduction="none",
    )
    return nats.sum() / lengths.sum()


# ---------------------------------------------------------------- decoder


def trained_decoder(speech: Speech, voice: str, tokenizer: NanoTokenizer, plan: Plan, folder: Path) -> NanoDecoder:
    torch.manual_seed(plan.seed)
    model = NanoDecoder(DecoderConfig(tokenizer.config.levels), tokenizer.silence)
    pieces = Pieces(speech, speech.numbers("train", voice), tokenizer, PIECES, PIECE_UNITS, model.ahead_units)
    learn(plan, model, lambda step: decoder_losses(model, pieces, step), folder)
    return model


def decoder_losses(model: NanoDecoder, pieces: Pieces, step: int) -> Losses:
    batch = pieces.batch(step)
    with torch.autocast("cpu", torch.bfloat16):
        made = model(batch.codes)
    apart = [spectra_apart(made, batch.audio, window) for window in WINDOWS_SAMPLES]
    return {"spectra": torch.stack(apart).mean()}


def spectra_apart(made: Tensor, wanted: Tensor, window_samples: int) -> Tensor:
    """Spectral convergence and difference of log magnitudes (Yamamoto et al. 2020, arXiv 1910.11480)."""
    ours, theirs = (magnitudes(audio, window_samples) for audio in (made, wanted))
    convergence = (ours - theirs).square().sum().sqrt() / theirs.square().sum().sqrt()
    return convergence + (ours.log() - theirs.log()).abs().mean()


def magnitudes(audio: Tensor, window_samples: int) -> Tensor:
    window = torch.hann_window(window_samples)
    spectrum = torch.stft(audio, window_samples, window_samples // 4, window=window, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square()).clamp_min(1e-5).sqrt()


if __name__ == "__main__":
    main()
