"""New tokens: their ids, where their rows start, and what must not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from duologue.model.backbone import backbone, nano
from duologue.model.tokens import Copied, Described, Drawn, Group, IdMap, Start, Vectors, add_tokens

TEXT = ["the user is speaking now", "think before you answer", "what is three plus four", "seven"] * 4
UNITS = tuple(f"<a_{n}>" for n in range(48))
VECTORS = torch.randn(48, 32, generator=torch.Generator().manual_seed(0))
BLOCKS = (Drawn("normal"), Drawn("mean_noise"), Vectors(VECTORS))
either_way = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def tokenizer_of(size: int = 290) -> Any:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=bpe)


def model_of(rows: int, tied: bool, width: int = 64) -> Any:
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
    )
    return backbone(config, seed=1)


def matrices(model: Any) -> tuple[Tensor, Tensor]:
    return model.get_input_embeddings().weight.detach(), model.get_output_embeddings().weight.detach()


def added(start: Start, tied: bool, tokens: tuple[str, ...] = UNITS, seed: int = 0) -> tuple[Any, int, IdMap]:
    """A model with the tokens added, the number of tokens before, and the ids."""
    tokenizer = tokenizer_of()
    before = len(tokenizer)
    model = model_of(before + 5, tied)
    return model, before, add_tokens(model, tokenizer, [Group("units", tokens, start)], seed)


# ---------------------------------------------------------------- ids


def test_ids_follow_the_order_asked_and_never_change(tmp_path: Path) -> None:
    tokenizer, groups = (
        tokenizer_of(),
        [Group("control", ["<b>", "<a>", "<b>"], special=True), Group("units", UNITS)],
    )
    before = len(tokenizer)
    model = model_of(before, tied=True)
    ids = add_tokens(model, tokenizer, groups)
    assert [ids["control"].ids, ids["units"].ids] == [
        range(before, before + 2),
        range(before + 2, before + 50),
    ]
    assert ids["control"].tokens == ("<b>", "<a>")
    assert ids.tokens == len(tokenizer)
    rows = matrices(model)[0].clone()
    assert add_tokens(model, tokenizer, groups, seed=7) == ids
    assert torch.equal(matrices(model)[0], rows)

    ids.save(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert IdMap.load(tmp_path, AutoTokenizer.from_pretrained(tmp_path)) == ids
    with pytest.raises(ValueError, match="another tokenizer: ids of the group 'control' differ"):
        IdMap.load(tmp_path, tokenizer_of())


def test_units_in_text_come_back() -> None:
    tokenizer = tokenizer_of()
    groups = [Group("control", ["<|speak|>"], special=True), Group("units", UNITS)]
    add_tokens(model_of(300, tied=True), tokenizer, groups)
    text = "what is <a_3><a_0> now<|speak|>seven"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text.replace("<|speak|>", "")


def test_a_tokenizer_that_lowers_case_leaves_new_tokens_alone() -> None:
    tokenizer = tokenizer_of()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    ids = add_tokens(model_of(300, tied=True), tokenizer, [Group("units", ["<A_0>"])])
    assert ids["units"].offset in tokenizer.encode("Seven <A_0>")
    assert ids["units"].offset not in tokenizer.encode("Seven <a_0>")


@either_way
def test_rows_are_never_fewer(tied: bool) -> None:
    tokenizer = tokenizer_of()
    model = model_of(400, tied)
    ids = add_tokens(model, tokenizer, [Group("units", UNITS)])
    assert [len(matrix) for matrix in matrices(model)] == [400, 400]
    assert ids.tokens == len(tokenizer) < 400


# ---------------------------------------------------------------- rows


@either_way
@pytest.mark.parametrize("start", BLOCKS, ids=["normal", "mean_noise", "vectors"])
def test_rows_of_a_block_differ_and_have_the_size_of_old_rows(start: Start, tied: bool) -> None:
    model, before, ids = added(start, tied)
    for matrix in matrices(model):
        new, old = matrix[list(ids["units"].ids)], matrix[:before]
        sizes = new.norm(dim=1) / old.norm(dim=1).mean()
        assert sizes.min() > 0.5
        assert sizes.max() < 2
        assert torch.pdist(new).min() > 0.1 * old.norm(dim=1).mean()


@either_way
def test_old_rows_and_old_logits_stay(tied: bool) -> None:
    tokenizer = tokenizer_of()
    before = len(tokenizer)
    model = model_of(before + 5, tied)
    old = [matrix.clone() for matrix in matrices(model)]
    probe = torch.tensor([tokenizer.encode(TEXT[0])])
    with torch.no_grad():
        logits = model(probe).logits
        add_tokens(model, tokenizer, [Group("units", UNITS)])
        assert torch.equal(model(probe).logits[..., :before], logits[..., :before])
    for matrix, was in zip(matrices(model), old, strict=True):
        assert torch.equal(matrix[:before], was[:before])
    assert (matrices(model)[0].data_ptr() == matrices(model)[1].data_ptr()) == tied


def test_a_codec_s_geometry_is_kept() -> None:
    """Vectors as wide as the model are only moved and scaled."""
    vectors = torch.randn(48, 64, generator=torch.Generator().manual_seed(0))
    model, before, ids = added(Vectors(vectors), tied=True)
    old, new = matrices(model)[0][:before], matrices(model)[0][list(ids["units"].ids)]
    assert torch.allclose(new.mean(0), old.mean(0), atol=1e-6)
    assert torch.allclose(new.std(), old.std(), rtol=0.05)
    ratio = torch.pdist(new) / torch.pdist(vectors)
    assert torch.allclose(ratio, ratio[0].expand_as(ratio), rtol=1e-3)


def test_the_same_seed_gives_the_same_rows() -> None:
    one, two, other = (matrices(added(Drawn(), False, seed=seed)[0])[1] for seed in (4, 4, 5))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@either_way
def test_single_tokens_start_where_they_are_told(tied: bool) -> None:
    tokenizer = tokenizer_of()
    before = len(tokenizer)
    model = model_of(before, tied)
    texts = {"<hear>": "the user is <hear> speaking", "<think>": "think before"}
    pieces = {token: tokenizer.encode(text) for token, text in texts.items()}
    groups = [
        Group("control", list(texts), Described(texts), special=True),
        Group("copy", ["<copy>"], Copied({"<copy>": "a"})),
        Group("nothing", ["<nothing>"], Drawn("zeros")),
        Group("middle", ["<middle>"], Drawn("mean")),
    ]
    ids = add_tokens(model, tokenizer, groups)
    for matrix in matrices(model):
        old = matrix[:before]
        for token, token_id in zip(texts, ids["control"].ids, strict=True):
            assert torch.allclose(matrix[token_id], old[pieces[token]].mean(0), atol=1e-7)
        assert torch.equal(matrix[ids["copy"].offset], old[tokenizer.convert_tokens_to_ids("a")])
        assert not matrix[ids["nothing"].offset].any()
        assert torch.allclose(matrix[ids["middle"].offset], old.mean(0), atol=1e-7)


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize("kind", ["mean", "zeros"])
def test_a_block_may_not_start_equal(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"'units' would start equal: take Drawn\('mean_noise'\)"):
        added(Drawn(kind), tied=True)


def test_a_start_must_fit_its_group() -> None:
    with pytest.raises(ValueError, match="'units' says nothing about '<a_0>'"):
        added(Described({"<other>": "words"}), tied=True)
    with pytest.raises(ValueError, match="'<nobody>'"):
        added(Copied({"<a_0>": "<nobody>"}), tied=True, tokens=("<a_0>",))
    with pytest.raises(ValueError, match="47 vectors for the 48 tokens"):
        added(Vectors(torch.randn(47, 64)), tied=True)
    with pytest.raises(ValueError, match=r"group 'units' are not contiguous, 'a' is \d+"):
        added(Drawn(), tied=True, tokens=("<a_0>", "a"))


# ---------------------------------------------------------------- why the start matters


def loss_after(start: Start, steps: int = 60) -> float:
    """Train random sequences of 48 units by heart; rows of one-token groups may start equal."""
    tokenizer = tokenizer_of()
    model = model_of(len(tokenizer), tied=False)
    ids = add_tokens(model, tokenizer, [Group(unit, [unit], start) for unit in UNITS])
    units = torch.randint(48, (8, 32), generator=torch.Generator().manual_seed(0)) + ids[UNITS[0]].offset
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = model(units, labels=units).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize(
    ("start", "match"),
    [
        (Described({"<x>": "seven", "<y>": "seven"}), "would start equal"),
        (Described({"<x>": "seven", "<y>": "\u0301"}), "has no tokens"),
        (Vectors(torch.ones(2, 8)), "2 vectors that do not differ"),
        (Vectors(torch.randn(3, 8)), "3 vectors for the 2 tokens"),
    ],
)
def test_a_start_that_does_not_fit_changes_nothing(start: Start, match: str) -> None:
    tokenizer = tokenizer_of()
    tokenizer.backend_tokenizer.normalizer = normalizers.StripAccents()
    before, model = len(tokenizer), model_of(len(tokenizer), tied=False)
    old = [matrix.clone() for matrix in matrices(model)]
    with pytest.raises(ValueError, match=match):
        add_tokens(model, tokenizer, [Group("tags", ("<x>", "<y>"), start)])
    assert len(tokenizer) == before
    assert all(torch.equal(*pair) for pair in zip(old, matrices(model), strict=True))
    right = Described({"<x>": "seven", "<y>": "three plus four"})
    ids = add_tokens(model, tokenizer, [Group("tags", ("<x>", "<y>"), right)])
    of_seven = old[0][tokenizer.encode("seven")].mean(0)
    assert torch.allclose(matrices(model)[0][ids["tags"].offset], of_seven)


def test_what_has_no_start_is_refused() -> None:
    with pytest.raises(ValueError, match="'units' has no tokens"):
        Group("units", ())
    with pytest.raises(ValueError, match="1 vectors that do not differ"):
        added(Vectors(torch.randn(1, 8)), tied=True, tokens=("<x>",))
    with pytest.raises(ValueError, match="two groups have one name"):
        add_tokens(model_of(290, True), tokenizer_of(), [Group("a", ("<x>",)), Group("a", ("<y>",))])


def test_rows_that_differ_learn_sooner() -> None:
    assert loss_after(Drawn("mean_noise")) < 0.5 * loss_after(Drawn("mean"))


# ---------------------------------------------------------------- the backbone


def test_a_backbone_out_of_a_config_depends_on_its_seed_alone() -> None:
    torch.manual_seed(5)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (backbone(nano(100, width=128, layers=1), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), drawn)
    assert torch.equal(matrices(one)[0], matrices(two)[0])
    assert not torch.equal(matrices(one)[0], matrices(other)[0])
    assert not one.training


def test_a_saved_backbone_comes_back(tmp_path: Path) -> None:
    model = backbone(nano(100, width=128, layers=1))
    model.save_pretrained(tmp_path)
    again, probe = backbone(tmp_path), torch.tensor([[1, 2, 3]])
    assert torch.equal(model(probe).logits, again(probe).logits)
    assert backbone(tmp_path, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_missing_backbone_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"no causal language model '{tmp_path}' in the folder"):
        backbone(tmp_path)


def test_nano_is_small() -> None:
    model = backbone(nano(2000))
    assert sum(weight.numel() for weight in model.parameters()) - 2000 * 256 == pytest.approx(4.7e6, rel=0.02)
