"""SNAC of the nano size: three levels of codes, 80 ms to a unit, whose encoder and decoder work on spectra.

The released codec builds up waveforms sample by sample, which takes days to learn. Here the encoder hears the energies
of bands, and the decoder tells magnitudes and phases that an inverse Fourier transform makes sound of (after Vocos,
Siuzdak 2023, arXiv 2306.00814): on one core it learns one voice in minutes. Between them are SNAC's levels.

Letters in shapes: B batch, D width, F frames, N samples.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.units.causal import Pointwise
from duologue.units.centred import Chain, Conv, Passage, Signal, UpConv
from duologue.units.released import fill, tensors_of
from duologue.units.snac import Snac, SnacConfig
from duologue.whole import whole_file

CODEC, SIZES = "levels.safetensors", "snac_levels"
"""Its file in the folder of a model that speaks with it, and where the sizes stand in it."""
WINDOW_SAMPLES = 640
TAPS = 7
AHEAD = 1
"""Frames that a layer of the decoder looks ahead."""
BLOCKS = 3
"""Of the decoder, before and behind the doubling of its rate; the encoder has one less of each."""
QUIET = 1e-4
"""Energy of a band that is hardly told from none."""
LOUDEST = 4.0
"""Largest log magnitude of a bin: no code makes a bang."""


def nano() -> SnacConfig:
    """Codes of 80, 40 and 20 ms, for one voice."""
    return SnacConfig(
        sampling_rate=16_000,
        encoder_dim=32,
        encoder_rates=(160, 2),
        decoder_dim=192,
        decoder_rates=(2, 160),
        codebook_size=128,
        noise=False,
    )


def untrained(config: SnacConfig) -> Snac:
    """A codec whose decoder has no noise. Raises ValueError for rates that are not a hop of spectra and a factor."""
    if len(config.encoder_rates) != 2 or config.decoder_rates != config.encoder_rates[::-1]:
        raise ValueError(f"rates {config.encoder_rates} and {config.decoder_rates}: give (hop, factor), (factor, hop)")
    return Snac(config, None, encoder(config), decoder(config))


def encoder(config: SnacConfig) -> Chain:
    (hop, factor), width = config.encoder_rates, config.latent_dim
    centre = (TAPS - 1) // 2
    return Chain(
        Energies(config.sampling_rate, hop),
        Conv(BANDS, width, TAPS, padding=centre),
        *(Near(width, centre) for _ in range(BLOCKS - 1)),
        Conv(width, width, 2 * factor, factor, factor // 2),
        *(Near(width, centre) for _ in range(BLOCKS - 1)),
    )


def decoder(config: SnacConfig) -> Chain:
    (factor, hop), width = config.decoder_rates, config.decoder_dim
    return Chain(
        Conv(config.latent_dim, width, TAPS, padding=TAPS - 1 - AHEAD),
        *(Near(width, AHEAD) for _ in range(BLOCKS)),
        UpConv(width, width, 2 * factor, factor, factor // 2),
        *(Near(width, AHEAD) for _ in range(BLOCKS)),
        Conv(width, 2 * BINS, 1),
        Sounding(hop),
    )


# ---------------------------------------------------------------- layers

BANDS, BINS = 80, WINDOW_SAMPLES // 2 + 1


class Near(nn.Module):
    """A ConvNeXt block that sees so many frames ahead."""

    def __init__(self, width: int, ahead: int) -> None:
        super().__init__()
        self.depthwise = Conv(width, width, TAPS, padding=TAPS - 1 - ahead, groups=width)
        self.pointwise = Pointwise(width)

    def forward(self, signal: Signal, passage: Passage) -> Signal:
        gathered: Signal = self.depthwise(signal, passage)
        return passage.added([signal, passage.within(gathered.map(self.pointwise))])


class Energies(nn.Module):
    """Sound [B, 1, N] → the loudness of bands [B, 80, F], 0 where there is silence."""

    bands: Tensor
    window: Tensor

    def __init__(self, hz: int, hop_samples: int) -> None:
        from transformers.audio_utils import mel_filter_bank

        super().__init__()
        self.hop, self.before = hop_samples, (WINDOW_SAMPLES - hop_samples) // 2
        bands = mel_filter_bank(BINS, BANDS, 0.0, hz / 2, hz)
        self.register_buffer("bands", torch.from_numpy(bands).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)

    def forward(self, signal: Signal, passage: Passage) -> Signal:
        """Frame f is the window around samples f * hop to (f + 1) * hop."""
        late = -(-(WINDOW_SAMPLES - self.hop - self.before) // self.hop)
        seen = passage.seen(signal.x[:, 0][:, None], late * self.hop + self.before)[:, 0]
        spectra = torch.fft.rfft(seen.unfold(-1, WINDOW_SAMPLES, self.hop) * self.window)
        energies = (spectra.real.square() + spectra.imag.square()) @ self.bands
        return Signal(torch.log1p(energies / QUIET).mT, signal.rate // self.hop, late)


class Sounding(nn.Module):
    """Log magnitudes and phases [B, 642, F] → sound [B, 1, N]: windows, each a hop after the one before, added up."""

    window: Tensor

    def __init__(self, hop_samples: int) -> None:
        super().__init__()
        self.hop, self.before = hop_samples, (WINDOW_SAMPLES - hop_samples) // 2
        window = torch.hann_window(WINDOW_SAMPLES) * 2 * hop_samples / WINDOW_SAMPLES
        self.register_buffer("window", window, persistent=False)

    def forward(self, signal: Signal, passage: Passage) -> Signal:
        frames, past = signal.x.shape[-1], -(-WINDOW_SAMPLES // self.hop) - 1
        seen = passage.seen(passage.within(signal.map(self._windows)).x, past)
        samples = (past + frames - 1) * self.hop + WINDOW_SAMPLES
        added = functional.fold(seen, (1, samples), (1, WINDOW_SAMPLES), stride=(1, self.hop))[:, :, 0]
        sound = added[..., past * self.hop : (past + frames) * self.hop]
        return passage.within(Signal(sound, signal.rate * self.hop, signal.late * self.hop + self.before))

    def _windows(self, spectra: Tensor) -> Tensor:
        """[B, 642, F] → [B, 640, F]."""
        size, angle = spectra.float().chunk(2, 1)
        complex_spectra = torch.polar(size.clamp_max(LOUDEST).exp(), angle)
        windows: Tensor = torch.fft.irfft(complex_spectra, n=WINDOW_SAMPLES, dim=1) * self.window[:, None]
        return windows


# ---------------------------------------------------------------- weights


def save(codec: Snac, path: str | Path) -> None:
    """Write sizes and weights (half precision) as safetensors: whole or not at all."""
    from safetensors.torch import save as as_bytes

    tensors = {name: tensor.half().contiguous() for name, tensor in codec.state_dict().items()}
    whole_file(path, lambda file: file.write(as_bytes(tensors, {SIZES: json.dumps(asdict(codec.config))})))


def load(path: str | Path) -> Snac:
    """The codec that `save` wrote, in single precision and evaluation mode. Raises FileNotFoundError; ValueError for
    another file."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file; recipes/nano_levels.py makes one")
    try:
        with safe_open(path, "pt") as file:
            config = SnacConfig.read(json.loads((file.metadata() or {})[SIZES]))
    except (SafetensorError, KeyError) as error:
        raise ValueError(
            f"{path}: not the weights of a nano codec with levels ({error}); make them by recipes/nano_levels.py"
        ) from error
    codec = untrained(config)
    fill(codec, {name: tensor.float() for name, tensor in tensors_of(path).items()}, path)
    return codec.eval()
