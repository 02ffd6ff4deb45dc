"""CosyVoice 3's flow and vocoder: weights by name, inner tensors, mel, sound, streaming, the loss of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import pad

from duologue.units.centred import Passage, Signal
from duologue.units.cosyvoice3 import CosyVoice3
from duologue.units.dit_layers import Block, modulated
from duologue.units.flow import Drawn, Flow, FlowConfig
from duologue.units.hift import HiFT, HiFTConfig, named_here
from duologue.units.lookahead import NOTHING
from duologue.units.released import fill
from duologue.units.voice import Voice

LIMITS = {
    "mel": 2e-5,
    "pitch": 1e-5,
    "source": 1e-5,
    "sound of a mel": 5e-5,
    "sound of units": 1e-3,
    "loss": 1e-5,
}


def near(ours: Tensor, golden: Tensor, what: str) -> None:
    torch.testing.assert_close(ours, golden, atol=LIMITS[what], rtol=0)


def lattice(place: Tensor, harmonics: int) -> Tensor:
    """The noise that the goldens were recorded with."""
    return ((place[..., None] * harmonics + torch.arange(harmonics)) * 40503 % 65536) / 65536


def flow_of(folder: Path) -> Flow:
    flow = Flow(FlowConfig.read(fields_of(folder)["flow"])).eval()
    fill(flow, load_file(folder / "flow.safetensors"), "flow.safetensors")
    return flow


def hift_of(folder: Path) -> HiFT:
    hift = HiFT(HiFTConfig.read(fields_of(folder)["hift"])).eval()
    fill(hift, named_here(load_file(folder / "hift.safetensors")), "hift.safetensors")
    hift.m_source.noise = lattice
    return hift


def fields_of(folder: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return fields


# ---------------------------------------------------------------- one pass


@torch.no_grad()
def compare(path: Path) -> None:
    golden, flow, hift = load_file(path), flow_of(path.parent), hift_of(path.parent)
    released = flow.noise
    flow.noise = golden["in.noise"][0]
    conditions(flow, golden)
    estimates(flow, golden)
    mels(flow, golden)
    sounds(hift, golden)
    streams(CosyVoice3(flow, hift, Voice(golden["in.embedding"][0])), golden)
    flow.noise = released
    losses(flow, golden)


def conditions(flow: Flow, golden: dict[str, Tensor]) -> None:
    near(flow.speaker(golden["in.embedding"]), golden["flow.spk_proj"], "mel")
    ahead, codes = flow.config.ahead_units, golden["in.token"]
    for units, name in ((pad(codes, (0, ahead), value=NOTHING), ""), (codes, "_with_context")):
        said, _ = flow.said(units, flow.start_said(1))
        near(said[..., :: flow.config.unit_frames].mT, golden[f"flow.pre_lookahead{name}"], "mel")


def estimates(flow: Flow, golden: dict[str, Tensor]) -> None:
    """One call of the network, with its conditions and without."""
    frames = golden["dit.full"].shape[-1]
    noise = golden["in.noise"][..., :frames]
    said = golden["flow.pre_lookahead"].mT.repeat_interleave(flow.config.unit_frames, -1)
    told = torch.cat([torch.zeros_like(noise), said, golden["flow.spk_proj"][..., None].expand_as(noise)], 1)
    given = torch.cat([noise.expand(2, -1, -1), torch.cat([told, torch.zeros_like(told)])], 1).mT
    time, place = torch.tensor([0.37]), torch.arange(frames).expand(2, -1)
    for name, seen in (("full", None), ("chunk", flow.dit.chunks_seen(frames))):
        direction, _ = flow.dit(given, flow.dit.timed(time), place, flow.dit.start(2), seen)
        near(direction.mT, golden[f"dit.{name}"], "mel")
    x, _ = flow.dit.input_embed(given[:1], flow.dit.start(1)[:2])
    near(flow.dit.time_embed(time), golden["dit.full_time_embed"], "mel")
    near(x, golden["dit.full_input_embed"], "mel")
    block, past, angles = (
        flow.dit.transformer_blocks[0],
        flow.dit.start(1)[2],
        flow.dit.rotary_embed(place[:1]),
    )
    assert isinstance(block, Block)
    first = flow.dit.timed(time)[0]
    shift, scale, *_ = first[:, None].chunk(6, -1)
    attended, _ = block.attn(modulated(x, shift, scale), angles, past, None)
    near(attended, golden["dit.full_block0_attn"], "mel")
    after, _ = block(x, first, angles, past, None)
    near(after, golden["dit.full_block0"], "mel")


def mels(flow: Flow, golden: dict[str, Tensor]) -> None:
    voice, prompt = golden["in.embedding"], golden["in.prompt_feat"].mT
    prompted = torch.cat([golden["in.prompt_token"], golden["in.token"]], 1)
    for name, chunked in (("offline", False), ("chunkmask", True)):
        near(flow(golden["in.token"], voice, chunked=chunked), golden[f"flow.mel_{name}"], "mel")
        mel = flow(prompted, voice, prompt, chunked)[..., prompt.shape[-1] :]
        near(mel, golden[f"flow.mel_{name}_prompt"], "mel")


def sounds(hift: HiFT, golden: dict[str, Tensor]) -> None:
    mel = golden["flow.mel_offline"]
    frames, late = mel.shape[-1], hift.late_samples
    near(hift(mel), golden["hift.wave_offline"], "sound of a mel")
    near(hift(golden["flow.mel_chunkmask"]), golden["hift.wave_chunkmask"], "sound of a mel")
    more_to_come, _ = hift.late(mel, torch.ones(1, frames, dtype=torch.bool), None)
    known = golden["hift.wave_nofinal"]
    near(more_to_come[:, late:][:, : known.shape[1]], known, "sound of a mel")
    heard = Signal(pad(mel, (0, 3)))
    passage = Passage(torch.ones(1, frames + 3, dtype=torch.bool), 6)
    pitch = hift.f0_predictor(heard, passage)
    near(pitch.x[:, 0, 3:], golden["hift.f0_offline"], "pitch")
    near(pitch.x[:, 0, 3:frames], golden["hift.f0_nofinal"], "pitch")
    source, _ = hift.m_source(pitch, torch.zeros(1, 9, dtype=torch.float64), passage)
    begin = golden["hift.source_offline"]
    near(source.x[..., source.late :][..., : begin.shape[-1]], begin, "source")


# ---------------------------------------------------------------- streaming, training


def streams(decoder: CosyVoice3, golden: dict[str, Tensor]) -> None:
    codes, state = golden["in.token"], decoder.start_aloud(1)
    pieces = [decoder.say([piece], state)[0] for piece in torch.split(codes, [7, 4, 2], 1)]
    sound = torch.cat([*pieces, *decoder.say([codes[:, :0]], state, last=True)])[None]
    near(sound, golden["hift.stream_wave"], "sound of units")
    near(sound, golden["hift.wave_chunkmask"], "sound of units")
    near(decoder.flow(codes, golden["in.embedding"]), golden["flow.stream_chunkmask"], "mel")


@torch.enable_grad()
def losses(flow: Flow, golden: dict[str, Tensor]) -> None:
    there = torch.arange(golden["train.token"].shape[1]) < golden["train.token_len"][:, None]
    codes, mel = golden["train.token"].where(there, NOTHING), golden["train.feat"].mT
    kept, prompt = torch.tensor([True, False]), torch.tensor([5, 0])
    for name, chunked in (("full", False), ("chunk", True)):
        flow.zero_grad()
        drawn = Drawn(golden["train.t"], golden["train.z"], kept, prompt, chunked)
        loss = flow.loss(codes, golden["train.embedding"], mel, drawn)
        loss.backward()  # type: ignore[no-untyped-call]
        near(loss.detach(), golden[f"train.loss_{name}"], "loss")
        gradient = flow.input_embedding.weight.grad
        assert gradient is not None
        near(gradient, golden[f"train.grad_input_embedding_{name}"], "loss")


def hops(path: Path) -> None:
    """The noise of the released model; and at each hop there is as much sound as the reference has, or more."""
    facts, flow, hift = json.loads(path.read_text()), flow_of(path.parent), hift_of(path.parent)
    assert flow.noise[0, :8].tolist() == facts["released_noise_check"]["channel0"]
    assert flow.noise[:8, 0].tolist() == facts["released_noise_check"]["frame0"]
    golden = load_file(path.with_suffix(".safetensors"))
    decoder = CosyVoice3(flow, hift, Voice(golden["in.embedding"][0]))
    state, fed, said, theirs = decoder.start_aloud(1), 0, 0, 0
    for hop in facts["streaming_hops"]:
        piece, fed = golden["in.token"][:, fed : hop["tokens_in"]], hop["tokens_in"]
        said += len(decoder.say([piece], state, last=hop["finalize"])[0])
        theirs += hop["samples_out"]
        assert said >= theirs
    assert said == theirs == fed * decoder.unit_samples


def loads(path: Path) -> None:
    """By name, every tensor and no other."""
    {"flow": flow_of, "hift": hift_of}[path.stem](path.parent)


def sizes(path: Path) -> None:
    fields = fields_of(path.parent)
    flow, hift = FlowConfig.read(fields["flow"]), HiFTConfig.read(fields["hift"])
    assert flow.dit.chunk_frames == fields["chunk_size"] * flow.unit_frames
    assert hift.hz == fields["sample_rate"] == fields["token_frame_rate"] * flow.unit_frames * hift.frame_samples


READERS = {
    "cosyvoice3/config.json": sizes,
    "cosyvoice3/flow.safetensors": loads,
    "cosyvoice3/hift.safetensors": loads,
    "cosyvoice3/forward.safetensors": compare,
    "cosyvoice3/forward.json": hops,
}
HELD = {"cosyvoice3": "hift.safetensors"}
