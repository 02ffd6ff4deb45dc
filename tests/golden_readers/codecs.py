"""Codecs as released: fairseq's unit HiFi-GAN as recorded by LLaMA-Omni, SNAC as recorded by Mini-Omni."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from duologue.units import hifigan
from duologue.units.codec import encode_whole
from duologue.units.hifigan import HifiGan, HifiGanConfig
from duologue.units.hifigan_voice import UnitVoice
from duologue.units.lookahead import Aloud
from duologue.units.released import fill, folded, tensors_of
from duologue.units.snac import Snac, SnacConfig
from duologue.units.snac_layers import Noise
from duologue.units.snac_levels import flatten, unflatten

RECORDED_ONLY = ("hop_length", "samples_per_frame", "seed")
"""Fields of the recorded codec that are no setting."""


def close(mine: Tensor, recorded: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(mine.detach(), recorded, atol=tolerance, rtol=0)


# ---------------------------------------------------------------- HiFi-GAN


def vocoder(folder: Path) -> HifiGan:
    return hifigan.load(folder / "vocoder.safetensors", folder / "vocoder_config.json")


def vocoder_sounds(path: Path) -> None:
    recorded, model = load_file(path), vocoder(path.parent)
    voice, codes, wave = UnitVoice(model), recorded["codes"], recorded["wave"]
    close(voice.log_durations(codes), recorded["log_durations"], 1e-5)
    assert torch.equal(voice.durations(codes), recorded["durations"])
    close(voice.whole([codes])[0], wave, 1e-5)
    close(model(recorded["frames.codes"][None, None])[0], recorded["frames.wave"], 1e-5)
    for step in (1, 4, len(codes)):
        close(spoken(voice, codes, step), wave, 1e-5)
    frames = torch.repeat_interleave(codes, recorded["durations"])
    edges = recorded["window_edges"].tolist()
    close(windowed(model, frames, edges, 21, 21), wave, 1e-5)
    close(windowed(model, frames, edges, 21, 0), recorded["left21.wave"], 1e-5)


def spoken(voice: UnitVoice, codes: Tensor, step: int) -> Tensor:
    """Live, `step` units at a time."""
    state = voice.start(1)
    pieces = [sound for units in torch.split(codes, step) for sound in voice.say([units], state)]
    return torch.cat([*pieces, *voice.say([codes[:0]], state, last=True)])


def windowed(model: HifiGan, frames: Tensor, edges: list[int], left: int, right: int) -> Tensor:
    """As the reference streams: each window with some context, of which the sound is cut off."""
    pieces = []
    for start, end in pairwise(edges):
        first, hop = max(0, start - left), model.unit_samples
        sound = model(frames[None, None, first : end + right])[0]
        pieces.append(sound[(start - first) * hop : (end - first) * hop])
    return torch.cat(pieces)


def vocoder_cases(path: Path) -> None:
    case, recorded = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
    voice = UnitVoice(vocoder(path.parent))
    assert voice.vocoder.unit_samples == case["hop"]
    segments = torch.split(recorded["codes"], case["segment_sizes_of_hard_wave"])
    assert torch.equal(torch.cat([voice.durations(segment) for segment in segments]), recorded["hard.durations"])
    close(torch.cat(voice.whole(segments)), recorded["hard.wave"], 1e-5)
    with_invalid, without = voice.whole([torch.tensor(case[f"codes_with_invalid{it}"]) for it in ("", "_equal_to")])
    assert torch.equal(with_invalid, without)
    frames = torch.repeat_interleave(recorded["codes"], recorded["durations"])
    for context, difference in case["max_abs_difference_to_whole"].items():
        left, right = context_of(context)
        mine = windowed(voice.vocoder, frames, case["window_edges_in_frames"], left, right)
        apart = (mine.detach() - recorded["wave"]).abs().max().item()
        assert abs(apart - difference) <= 1e-5 + difference / 100, context


def context_of(name: str) -> tuple[int, int]:
    """both_4: 4 and 4 frames; left_21_right_4: 21 and 4; left_8: 8 and none."""
    sides = dict(zip(name.split("_")[::2], map(int, name.split("_")[1::2]), strict=True))
    both = sides.get("both", 0)
    return sides.get("left", both), sides.get("right", both)


def vocoder_weights(path: Path) -> None:
    """Every tensor finds its place, none is missing, and the sizes of the configuration are those of the weights."""
    vocoder(path.parent)
    assert len(load_file(path)) == 302


def vocoder_config(path: Path) -> None:
    fields = json.loads(path.read_text())
    assert HifiGan(HifiGanConfig.read(fields)).unit_samples == fields["code_hop_size"]


# ---------------------------------------------------------------- SNAC


def snac(folder: Path, noise: Noise | None = None) -> Snac:
    settings = json.loads((folder / "config.json").read_text())["codec"]
    codec = Snac(SnacConfig.read({name: settings[name] for name in settings if name not in RECORDED_ONLY}), noise)
    assert codec.unit_samples == settings["samples_per_frame"]
    fill(codec, folded(tensors_of(folder / "snac_model.safetensors")), "snac_model.safetensors")
    return codec.eval()


def snac_sounds(path: Path) -> None:
    recorded, codec = load_file(path), snac(path.parent)

    def levels(case: str) -> list[Tensor]:
        return [recorded[f"{case}.codes_level{level}"].long() for level in (1, 2, 3)]

    def codes(case: str) -> Tensor:
        return flatten(levels(case))

    whole = codes("whole12")
    assert all(map(torch.equal, unflatten(whole), levels("whole12")))
    close(codec(whole)[0], recorded["whole12.audio"], 3e-5)
    close(codec(codes("one_frame"))[0], recorded["one_frame.audio"], 3e-5)
    close(codec.quantizer.decode(codes("one_frame"))[0], recorded["one_frame.latent"], 5e-5)
    for number in range(3):
        same_steps(codec(whole[..., 4 * number : 4 * number + 4])[0], recorded[f"isolated.chunk{number}_int16"])
    for step in (1, 2, 5, 12):
        close(said(codec, whole[0], step), recorded["whole12.audio"], 3e-5)
    with_noise = snac(path.parent, lambda block, places: drawn(recorded[f"noise.draw{block}"], places))
    close(with_noise(codes("noise"))[0], recorded["noise.audio"], 3e-5)
    close(said(with_noise, codes("noise")[0], 1), recorded["noise.audio"], 3e-5)
    encoded(codec, recorded, codes("encode"))


def encoded(codec: Snac, recorded: dict[str, Tensor], codes: Tensor) -> None:
    audio = recorded["encode.audio"]
    assert torch.equal(encode_whole(codec, audio[None]), codes)
    state = codec.start_encoder(1)
    pieces = [codec.encode(piece, state) for piece in torch.split(audio[None], 1000, -1)]
    assert torch.equal(torch.cat([*pieces, codec.encode(audio[None, :0], state, last=True)], -1), codes)
    close(codec(codes)[0, : len(audio)], recorded["encode.reconstruction"], 3e-5)


def said(codec: Snac, codes: Tensor, step: int) -> Tensor:
    """Live, `step` units at a time."""
    aloud = Aloud(codec)
    state = aloud.start(1)
    pieces = [sound for part in torch.split(codes, step, -1) for sound in aloud.say([part], state)]
    return torch.cat([*pieces, *aloud.say([codes[:, :0]], state, last=True)])


def drawn(draws: Tensor, places: Tensor) -> Tensor:
    """The recorded draws, where there are any."""
    return torch.where((places >= 0) & (places < len(draws)), draws[places.clamp(0, len(draws) - 1)], 0.0)


def same_steps(audio: Tensor, recorded: Tensor) -> None:
    """In 16 bits as the reference writes them (cut towards zero, no clipping), to one step."""
    mine = (audio.detach() * 32768).to(torch.int32).numpy().astype(np.int16)
    apart = (mine.astype(np.int32) - recorded.numpy() + 32768) % 65536 - 32768
    assert np.abs(apart).max() <= 1


def snac_weights(path: Path) -> None:
    snac(path.parent)
    assert len(load_file(path)) == 269


def snac_stream(path: Path) -> None:
    """What the reference sends, chunk by chunk, and that all of it comes when nothing is left behind."""
    recorded, codec = load_file(path), snac(path.parent)
    for case in json.loads(path.with_suffix(".json").read_text())["cases"]:
        codes = torch.tensor(case["frames"]).T
        for chunk in case["chunks"]:
            frames = codes[None, :, chunk["first_frame"] : chunk["first_frame"] + chunk["frames"]]
            same_steps(codec(frames)[0], recorded[chunk["tensor"]])
        all_of_it(codec, codes, case)


def all_of_it(codec: Snac, codes: Tensor, case: dict[str, Any]) -> None:
    sent = sum(chunk["samples"] for chunk in case["chunks"])
    sound = said(codec, codes, case["stream_stride"])
    assert len(sound) == sent + case["frames_never_sent_by_reference"] * codec.unit_samples
    close(sound, codec(codes[None])[0].detach(), 3e-5)


READERS = {
    "vocoder.safetensors": vocoder_weights,
    "vocoder_config.json": vocoder_config,
    "vocoder_io.safetensors": vocoder_sounds,
    "vocoder_io.json": vocoder_cases,
    "snac_model.safetensors": snac_weights,
    "snac.safetensors": snac_sounds,
    "mini_omni/stream.safetensors": snac_stream,
}
