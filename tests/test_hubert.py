"""HuBERT units: the layer and the cluster they claim to be, however the sound comes; files are read safely."""

from __future__ import annotations

import base64
import gzip
import math
import os
import pickle
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from duologue.units import clusters, hubert
from duologue.units.clusters import Clusters
from duologue.units.codec import encode_whole
from duologue.units.hubert import HubertUnits, HubertUnitsConfig, merged

WIDTH = 16
CODES = 12
CONFIG = HubertUnitsConfig("nowhere", "nowhere", layer=2, codes=CODES)
HOP, LOOK = 320, 400


def model(stable: bool = False, slow: bool = False, layers: int = 3) -> Any:
    """A random HubertModel; `slow` has one more stride of 2."""
    from transformers import HubertConfig, HubertModel

    more = (2,) if slow else ()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return HubertModel(
            HubertConfig(
                hidden_size=WIDTH,
                num_hidden_layers=layers,
                num_attention_heads=2,
                intermediate_size=24,
                conv_dim=(8,) * (7 + len(more)),
                conv_stride=(5, 2, 2, 2, 2, 2, 2, *more),
                conv_kernel=(10, 3, 3, 3, 3, 2, 2, *more),
                num_conv_pos_embeddings=8,
                num_conv_pos_embedding_groups=2,
                do_stable_layer_norm=stable,
                initializer_range=0.3,
            )
        ).eval()


def centres(codes: int = CODES, width: int = WIDTH) -> Tensor:
    return torch.randn(codes, width, generator=torch.Generator().manual_seed(0))


@lru_cache
def units(config: HubertUnitsConfig = CONFIG, slow: bool = False) -> HubertUnits:
    return HubertUnits(model(slow=slow), Clusters(centres(config.codes)), config)


def sound(samples: int, seed: int = 0) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) / 5


# ---------------------------------------------------------------- layer and cluster


@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_features_are_the_states_behind_the_layer(stable: bool, layer: int) -> None:
    ours = HubertUnits(model(stable), Clusters(centres()), replace(CONFIG, layer=layer))
    audio, states = sound(8000), []
    whole = model(stable)
    whole.encoder.layers[layer - 1].register_forward_hook(lambda _, __, output: states.append(output))
    with torch.no_grad():
        whole(audio[None])
    expected = states[0][0] if isinstance(states[0], tuple) else states[0]
    torch.testing.assert_close(ours.features(audio), expected[0], atol=1e-6, rtol=0)


def test_a_unit_is_the_nearest_cluster() -> None:
    features = torch.randn(300, WIDTH, generator=torch.Generator().manual_seed(1))
    nearest = torch.cdist(features.double(), centres().double()).argmin(1)
    assert torch.equal(Clusters(centres()).nearest(features), nearest)
    assert torch.equal(Clusters(centres()).nearest(centres()), torch.arange(CODES))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 4000))
def test_all_of_the_sound_has_units_or_whole_looks_have(samples: int) -> None:
    audio = sound(samples)
    assert len(units().units(audio)) == math.ceil(samples / HOP)
    assert len(units().units(audio, filled=False)) == max(0, (samples - LOOK) // HOP + 1)


def test_sound_of_unit_variance_is_as_loud_as_any() -> None:
    ours, audio = units(replace(CONFIG, normalized=True)), sound(8000)
    assert torch.equal(ours.units(audio), ours.units(audio * 7 + 0.5))
    features = functional.layer_norm(audio, audio.shape)
    torch.testing.assert_close(ours.features(audio), units().features(features), atol=1e-5, rtol=0)


@given(st.lists(st.integers(0, 3), max_size=20).map(torch.tensor))
def test_merged_units_stand_for_their_neighbours(row: Tensor) -> None:
    once, counts = merged(row.long())
    assert torch.equal(torch.repeat_interleave(once, counts), row.long())
    assert torch.all(once[1:] != once[:-1])


# ---------------------------------------------------------------- the contract


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(0, 2000), max_size=5), st.integers(0, 5000))
def test_units_do_not_depend_on_how_the_sound_was_cut(cuts: list[int], samples: int) -> None:
    audio = torch.stack([sound(samples, 1), sound(samples, 2)])
    state, start = units().start_encoder(2), 0
    for cut in cuts:
        assert units().encode(audio[:, start : start + cut], state).shape == (2, 1, 0)
        start += cut
    streamed = units().encode(audio[:, start:], state, last=True)
    assert streamed.shape == (2, 1, math.ceil(samples / HOP))
    assert torch.equal(streamed, encode_whole(units(), audio))
    assert torch.equal(streamed[1, 0], units().units(audio[1]))
    assert state.tensors[0].shape == (2, 0)


def test_what_it_says_of_itself() -> None:
    assert (units().unit_hz, units().codes, units().books) == (50.0, CODES, 1)
    assert math.isinf(units().heard_ahead_s)
    quiet = units().units(torch.zeros(20 * HOP))
    assert units().silence[0] in range(CODES)
    assert (quiet == units().silence[0]).float().mean() > 0.5


def test_sound_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"give \[B, N\]"):
        units().encode(torch.zeros(640), units().start_encoder(1))
    with pytest.raises(ValueError, match="give finite samples"):
        units().units(torch.full((800,), torch.nan))


# ---------------------------------------------------------------- long sound


def test_long_sound_is_heard_in_windows_with_what_is_around_them() -> None:
    ours, audio = units(replace(CONFIG, window_s=0.2, around_s=0.1)), sound(41 * HOP + LOOK + 7)
    windowed = ours.features(audio)
    assert windowed.shape == (42, WIDTH)
    second = units().features(audio[5 * HOP : 24 * HOP + LOOK])[5:15]
    torch.testing.assert_close(windowed[10:20], second, atol=1e-5, rtol=0)
    last = units().features(audio[35 * HOP :])[5:]
    torch.testing.assert_close(windowed[40:], last, atol=1e-5, rtol=0)


def test_sound_of_a_window_and_its_surroundings_is_heard_at_once() -> None:
    ours, audio = units(replace(CONFIG, window_s=0.2, around_s=0.1)), sound(19 * HOP + LOOK)
    torch.testing.assert_close(ours.features(audio), units().features(audio), atol=1e-6, rtol=0)


# ---------------------------------------------------------------- presets and refusals


def test_the_presets_ask_for_what_was_published() -> None:
    theirs = hubert.llama_omni("mhubert", "km1000.bin")
    assert (theirs.layer, theirs.codes, theirs.unit_hz) == (11, 1000, 50.0)
    slow = replace(hubert.sync_llm("hubert", "km501.bin"), layer=2)
    ours = units(slow, slow=True)
    assert (ours.unit_hz, ours.codes) == (25.0, 501)
    assert encode_whole(ours, sound(16_000)[None]).shape == (1, 1, 25)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"codes": 1000}, "12 clusters, wanted: 1000"),
        ({"unit_hz": 25.0}, "50 units a second, wanted: 25"),
        ({"layer": 4}, "3 layers in the model, wanted: layer 4"),
        ({"layer": 0}, "3 layers in the model, wanted: layer 0"),
    ],
)
def test_what_does_not_belong_together_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        HubertUnits(model(), Clusters(centres()), replace(CONFIG, **changed))
    with pytest.raises(ValueError, match="clusters of width 5, wanted: the model's 16"):
        HubertUnits(model(), Clusters(centres(width=5)), CONFIG)


def test_a_saved_model_gives_the_same_units(tmp_path: Path) -> None:
    model().save_pretrained(tmp_path / "hubert")
    np.save(tmp_path / "clusters.npy", centres().numpy())
    config = replace(CONFIG, source=str(tmp_path / "hubert"), clusters=str(tmp_path / "clusters.npy"))
    assert torch.equal(hubert.load(config).units(sound(9000)), units().units(sound(9000)))


def test_a_model_that_is_none_or_another_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    np.save(tmp_path / "clusters.npy", centres().numpy())
    config = replace(CONFIG, clusters=str(tmp_path / "clusters.npy"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no HuBERT .*empty' in the folder"):
        hubert.load(replace(config, source=str(tmp_path / "empty")))
    BertModel(
        BertConfig(vocab_size=5, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4)
    ).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="a model of type 'bert'"):
        hubert.load(replace(config, source=str(tmp_path / "bert")))
    model(layers=2).save_pretrained(tmp_path / "short")
    settings_file = tmp_path / "short" / "config.json"
    settings_file.write_text(settings_file.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(ValueError, match=r"lack encoder\.layers\.2"):
        hubert.load(replace(config, source=str(tmp_path / "short")))


# ---------------------------------------------------------------- files of clusters

FITTED_BY_JOBLIB = (
    "eNplU01vEzEQ3Xw0SUPVhILgUIkvAQoqbFXEBQmpKRwqsWoOXDha3o2LTXbtle1tSQEJJFqK5BvOiQu/gDM/B35JGW92m5SM5NV4"
    "dsbz/N74U32yWfVyM9fVKCZYcj+KM6WJ9NEoIZgrazp7jLPnWEc02Msj3+2Dz/aj7Zk2R0W2skHN1CFPW7M8epRXbmxY00rwO8Qg"
    "wQZVU9MitrteYabBUV4QVEzzgMhQKGIDz6xIzIciQUpjnQfW3BlcIJakUhyQhHCoaZt26CAhxY6I3fPqZjUSSZppgmIckljZU7Ps"
    "jp8mDMyaJFgp9oa7eiSxZsLubn85+rv76+p7s8rRPsE6k0QBKJTfBjm40L+JZkAvobmuQcO00axHvuVIU+g0VO7CTRSJjGvg8Mpb"
    "EcYs9HmWpGOUsgjItubywG13pMTj1xKnKdB0zm1LZWEUA2RrlvIqa5p8iF0uJJklRXEKPWvH4As5hFJTeQH+UI8hTm+WHuRW95/Y"
    "b6df7Svbg3tVntnBYPDyDCz/BJ62oWnjOBaHKElwCsytT3Hm3RCOS9bCsSZwsW4WLrnKM1BxB1bfrcmPUtcVRA4x8EKkZhg4/l3E"
    "u/NxlDA+96+zILBnrgGZivHIKapAskI/x3O3GDsUQS5MH7J0fcobvUFv0ztBLaidWHqX3qP36Qb1T+mmQ905u2ied9L3Ltit//Y/"
    "tycfvBnG2ZCITLshaQFETVIA4OTm+ahP/ekULgBrHJeweqbK5nShDxdVOQfemOJ1b7VSwJn3J49LjK2SXuD2T7/kvXjaCF6ZYoLD"
    "lGz5T/0tm4X+P/C6dhw="
)
FITTED_BY_PICKLE = (
    "eNptU1FrE0EQvuTSJI2hLUWqoEgfFFKKBwVfBKHRPAQ8kgf/wLJ32XpL7nbD7l41FUHB1gb2reO7v8Bnf47+Ep3dXE3ULuyxMzuz"
    "3zffzH1ofCnCwC97R09zRpWI0rzUhqmITAtGhQa7PeKCv6AmzeKR91zBwUd4Dz3bEaSK1hCHtoFxBuzm9LHPPDwE2y7oW8IxAOK6"
    "DY3MYRhUyzYF8QlxzbZOmUqkZhAHtquomMiCaEONd+y6N4QkvJgpecoKJjCnYzuJo0Q0P2MwChp2K5XFrDSM5DRhuYZLu+meXwaM"
    "7a5iVGv+Wrh8oqjhEobHn85+Dr/dfme3BDlh1JSKaSRFfDXE0UX8FlkRvUXWUOOm7ZAVhjcFMRkiTbQruEVSWQqDGu6JspjNI7QV"
    "i4oyN5wqRedgu0SxVAptVJkaVNZu+EiwLTFZhlwhh3MY1BL4DK+gF9fi8Byy+3ZjYuYz5lLqJ09gcbm8DW3tGYzH45e/cPlPHBhI"
    "FoMuSv4cd99tQBdCszcU+TOFbFCL71Vfdtb9pOBi7W77v0YEdg+L1lykTnmN0lY6Oz12qvEgKcbilBDI7mUPXD3Z/p9q4vACst5i"
    "8DAILvrBX2v/H/vrsWeOLFbtkqVx7WojCcNmCOGEF37oluflPNwE3UTjka3zNfmyg5vEu1tH8FpFYv3s6bSvtUKhfvSvRaz+J4Kj"
    "rbkU2Nmj6Gl0BGUS/Qar5Tkh"
)
"""scikit-learn 1.9.1's MiniBatchKMeans with three clusters, as joblib 1.6.0 and pickle write it, packed by zlib."""
FITTED = np.array([[4.1875, 0, 0], [0, 2.5, 0], [0, 0, 1.25]], np.float32)


def npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, FITTED)


def torch_file(path: Path) -> None:
    torch.save({"cluster_centers": torch.from_numpy(FITTED), "n": torch.tensor(3)}, path)


def safetensors(path: Path) -> None:
    save_file({"centroids": torch.from_numpy(FITTED)}, path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "km.npy": npy,
    "km.safetensors": safetensors,
    "km.pt": torch_file,
    "km.bin": lambda path: path.write_bytes(zlib.decompress(base64.b64decode(FITTED_BY_JOBLIB))),
    "km.z": lambda path: path.write_bytes(base64.b64decode(FITTED_BY_JOBLIB)),
    "km.gz": lambda path: path.write_bytes(gzip.compress(zlib.decompress(base64.b64decode(FITTED_BY_JOBLIB)))),
    "km.pkl": lambda path: path.write_bytes(zlib.decompress(base64.b64decode(FITTED_BY_PICKLE))),
    "columns.pkl": lambda path: path.write_bytes(pickle.dumps(np.asfortranarray(FITTED))),
}


@pytest.mark.parametrize("name", WRITERS)
def test_clusters_are_read_from_every_kind_of_file(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    read = clusters.read(tmp_path / name)
    assert np.array_equal(read.centres.numpy(), FITTED)
    assert (read.codes, read.width) == (3, 3)


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_of_a_pickle_is_run(protocol: int, tmp_path: Path) -> None:
    held = {"harm": Harmful(tmp_path / "made"), "centroids": FITTED}
    (tmp_path / "km.pkl").write_bytes(pickle.dumps(held, protocol))
    assert np.array_equal(clusters.read(tmp_path / "km.pkl").centres.numpy(), FITTED)
    assert not (tmp_path / "made").exists()
    pickle.loads((tmp_path / "km.pkl").read_bytes())
    assert (tmp_path / "made").exists()


def test_files_without_clusters_are_refused(tmp_path: Path) -> None:
    for name, content, told in (
        ("a.bin", b"no pickle", "not a pickle"),
        ("b.bin", pickle.dumps({"other": 1}), "no centres of clusters in it"),
        ("c.bin", pickle.dumps(np.zeros(3)), r"give finite numbers, \[clusters, width\]"),
        ("d.bin", pickle.dumps(np.full((2, 2), np.nan)), "give finite numbers"),
        ("e.bin", zlib.decompress(base64.b64decode(FITTED_BY_JOBLIB))[:700], "not a pickle"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=told):
            clusters.read(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="give the clusters that belong"):
        clusters.read(tmp_path / "nowhere.bin")
