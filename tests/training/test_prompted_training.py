"""`batchseg train` on manifests with prompts: what is learnt, judged, kept and refused."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.nn import functional
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

import batchseg
from batchseg.config.load import read_config
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.config.train import TrainConfig
from batchseg.errors import BatchsegError
from batchseg.schema import SPLIT
from batchseg.segmentors.llm.configuration_llmseg import LLMSegConfig
from batchseg.segmentors.llm.modeling_llmseg import LLMSemanticSegmentor
from batchseg.segmentors.llm.text import TextModel
from batchseg.segmentors.llm.token_states import PromptReader
from batchseg.segmentors.registry import open_checkpoint
from batchseg.source.listing import PROMPT
from batchseg.training.objective import prompt_loss
from batchseg.training.points import Points
from batchseg.training.prompts import PromptStates, write_states
from batchseg.training.rows import Rows

SIDE, SCENES = 48, 40
PASSING = ("train_s", "validation_s", "images_per_s")


def save_reader(folder: Path, words: set[str]) -> None:
    """A random BERT that tells these words apart, with its tokenizer."""
    vocabulary = {word: index for index, word in enumerate(["[UNK]", "[CLS]", "[SEP]", *sorted(words)])}
    inner = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
    model = BertModel(BertConfig(**sizes, vocab_size=len(vocabulary), max_position_embeddings=32))
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_()
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes with prompts, and a language model that knows their words."""
    folder = tmp_path_factory.mktemp("data")
    scenes = batchseg.PhrasesConfig(output=str(folder / "scenes"), count=SCENES, seed=2, size=SIDE, digits=0)
    manifest = pq.read_table(batchseg.make_phrases(scenes))
    words = {word for prompt in manifest["prompt"].to_pylist() for word in prompt.split()}
    save_reader(folder / "bert", words)
    return folder


def settings(data: Path, output: Path, *, model: dict[str, Any] | None = None, **more: Any) -> TrainConfig:
    small = {"widths": [8, 16, 24, 32], "decoder_width": 16, "size": SIDE, "head": "prompt", "mode": "none"}
    base = {
        "source": str(data / "scenes" / "manifest.parquet"),
        "output": str(output),
        "model": {**small, "language_model": str(data / "bert"), "finest_stride": 2, **(model or {})},
        **{"batch_size": 24, "epochs": 3, "warmup_steps": 2, "precision": "fp32", "seed": 1},
    }
    return read_config(TrainConfig, overrides={**base, **more})


def changed(data: Path, folder: Path, change: Any) -> str:
    """The manifest after a change of its rows, elsewhere."""
    rows = pq.read_table(data / "scenes" / "manifest.parquet").to_pylist()
    for row in rows:
        row |= {name: str(data / "scenes" / row[name]) for name in ("image", "truth")}
    path = folder / "changed.parquet"
    pq.write_table(pa.Table.from_pylist(change(rows)), path)
    return str(path)


# --- the job ---


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow
@pytest.mark.parametrize("model", [{}, {"mode": "frozen", "layers": [0, 1]}], ids=str)
def test_a_manifest_with_prompts_becomes_a_model_that_run_uses(
    data: Path, tmp_path: Path, model: dict[str, Any]
) -> None:
    config = settings(data, tmp_path / "out", model=model, epochs=8, learning_rate=0.01)
    result = batchseg.train(config)
    history = pq.read_table(result.history).to_pylist()
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    best = max(history, key=lambda row: row["giou"])
    assert (result.best_epoch, result.metrics["giou"]) == (best["epoch"], best["giou"])
    assert not (tmp_path / "out" / "state").exists()

    run = {
        "source": config.source.path,
        "segmentor": {"model": result.model, "precision": "fp32"},
        **{"output": str(tmp_path / "results"), "split": "validation"},
    }
    found = batchseg.run(batchseg.load_config(overrides=run))
    # float16 on disk and float32 in use
    assert found.listed == 12
    assert found.metrics["giou"] == pytest.approx(best["giou"], abs=0.02)
    images = pq.read_table(tmp_path / "results" / "images").to_pylist()
    truths = pq.read_table(config.source.path).to_pylist()
    ious = []
    for row in images:
        (asked,) = (each for each in truths if each["id"] == row["id"])
        mask, truth = (
            np.asarray(Image.open(file)) == 1
            for file in (tmp_path / "results" / row["mask"], data / "scenes" / asked["truth"])
        )
        ious.append((mask & truth).sum() / either if (either := (mask | truth).sum()) else 1.0)
        assert row["prompt"] == asked["prompt"]
    assert found.metrics["giou"] == pytest.approx(np.mean(ious), abs=1e-6)


@pytest.mark.usefixtures("ray_session", "heard_interrupts")
@pytest.mark.slow
def test_one_that_was_interrupted_ends_where_it_would_have_ended(data: Path, tmp_path: Path) -> None:
    """Also where noise lies on the words."""
    noisy = {"prompt_noise": 1.0}
    whole = batchseg.train(settings(data, tmp_path / "whole", model=noisy))

    def stop(news: dict[str, Any]) -> None:
        if news.get("epoch", {}).get("epoch") == 1:
            signal.raise_signal(signal.SIGINT)

    config = settings(data, tmp_path / "stopped", model=noisy)
    with pytest.raises(KeyboardInterrupt, match=r"epoch 1 is kept|epochs 1 to 2 are kept"):
        batchseg.train(config, stop)
    again = batchseg.train(config)
    one, other = (pq.read_table(each.history).drop_columns(PASSING) for each in (whole, again))
    assert one.to_pylist() == other.to_pylist()


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow
def test_a_trained_one_goes_on_with_other_prompts(data: Path, tmp_path: Path) -> None:
    first = batchseg.train(settings(data, tmp_path / "first", epochs=1))
    manifest = changed(data, tmp_path, lambda rows: [{**row, "prompt": f"a {row['prompt']}"} for row in rows])
    config = {"source": manifest, "output": str(tmp_path / "second"), "model": first.model, "epochs": 1}
    with pytest.raises(BatchsegError, match=r"say in augmentation\.colour and augmentation\.scale"):
        batchseg.train(read_config(TrainConfig, overrides=config))
    still = {"augmentation": {"colour": 0, "scale": [1, 1]}}
    second = batchseg.train(read_config(TrainConfig, overrides={**config, **still}))
    assert (Path(second.model) / "language_model" / "config.json").is_file()
    assert open_checkpoint(HuggingFaceSegmentor(model=second.model)).prompted == "rows"


def test_what_prompts_may_name_does_not_change_by_itself(data: Path, tmp_path: Path) -> None:
    still = settings(data, tmp_path).augmentation
    assert (still.colour, still.scale, still.flip) == (0, (1, 1), ())
    asked = settings(data, tmp_path, augmentation={"colour": 0.1}).augmentation
    assert (asked.colour, asked.scale) == (0.1, (1, 1))
    closed = settings(data, tmp_path, model={"head": "closed", "language_model": None}).augmentation
    assert (closed.colour, closed.scale) == (0.3, (0.75, 1.5))


# --- its parts ---


def test_states_that_were_kept_are_those_of_the_language_model(data: Path, tmp_path: Path) -> None:
    prompts = ["the red ring", "red", "the", "a ring that is red and striped", "red"]
    columns = [
        [str(n) for n in range(5)],
        ["u"] * 5,
        ["t"] * 5,
        ["train"] * 3 + ["validation"] * 2,
        [None] * 5,
    ]
    table = pa.table(columns, schema=SPLIT).append_column(PROMPT, pa.array(prompts))
    reader = PromptReader(TextModel.load(str(data / "bert")), 2)
    write_states(reader, Rows(table), tmp_path)
    kept = PromptStates.of(tmp_path)
    assert kept is not None and set(kept.places) == set(prompts)
    states_BLE, is_word_BL = kept.batch(prompts, torch.device("cpu"))
    for row, prompt in enumerate(prompts):
        ids = reader.text.tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            alone = reader.text.model(input_ids=ids, output_hidden_states=True).hidden_states[2][0]
        assert is_word_BL[row].sum() == len(alone)
        assert states_BLE[row][is_word_BL[row]].equal(alone.half().float())
    assert isinstance(kept.states_TE, np.memmap) and kept.states_TE.dtype == np.float16
    assert PromptStates.of(tmp_path / "none") is None


def labels_of(masks: int) -> torch.Tensor:
    """Masks of a few pixels, of nothing, and without any truth."""
    torch.manual_seed(0)
    labels = torch.zeros(masks, 16, 20, dtype=torch.int64)
    labels[:, 3:6, 4:9], labels[:, 12:] = 1, 2
    labels[1][labels[1] == 1] = 0
    labels[2] = 2
    return labels


def every_pixel(labels: torch.Tensor) -> Points:
    height, width = labels.shape[1:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([(x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1], -1).flatten(0, 1)
    flat = labels.flatten(1)
    return Points(
        places.expand(len(labels), -1, -1),
        flat,
        torch.ones(flat.shape),
        (flat == 1).any(1),
        (flat < 2).any(1),
    )


def test_the_loss_is_the_sum_of_its_three_parts() -> None:
    labels = labels_of(4)
    logits, presence, weights = torch.randn(4, 320), torch.randn(4), torch.tensor([1.0, 3.0])
    known, meant = labels.flatten(1) < 2, labels.flatten(1) == 1
    each = functional.binary_cross_entropy_with_logits(logits[known], meant[known].float(), reduction="none")
    weight = weights[meant[known].long()]
    dices, presences = [], []
    for index in (0, 1, 3):
        found, there = logits[index].sigmoid()[known[index]], meant[index][known[index]].float()
        dices.append(1 - (2 * (found * there).sum() + 1) / (found.sum() + there.sum() + 1))
        presences.append(functional.binary_cross_entropy_with_logits(presence[index], there.amax()))
    wanted = (
        (each * weight).sum() / weight.sum() + torch.stack(dices).mean() + 0.3 * torch.stack(presences).mean()
    )
    torch.testing.assert_close(prompt_loss(logits, presence, every_pixel(labels), weights), wanted)
    nothing = prompt_loss(logits.requires_grad_(), presence, every_pixel(torch.full((4, 16, 20), 2)))
    assert nothing == 0


def test_points_stand_for_all_pixels() -> None:
    """Sums over them are those over the image, on average; half of them lie on what is meant."""
    labels, draws = labels_of(3), 4000
    values = torch.rand(labels.shape)
    sums = torch.zeros(3, 2)
    for _ in range(draws):
        points = Points.drawn(labels, 32)
        x, y = (points.places_RP2 + 1).unbind(-1)
        column, row = ((x * 20 - 1) / 2).round().long(), ((y * 16 - 1) / 2).round().long()
        mask = torch.arange(3)[:, None]
        assert labels[mask, row, column].equal(points.labels_RP)
        assert (points.labels_RP[0] == 1).sum() >= 16
        share = points.pixels_RP * values[mask, row, column]
        sums += torch.stack([share.sum(1), (share * (points.labels_RP == 1)).sum(1)], 1)
    whole = torch.stack([values.sum((1, 2)), (values * (labels == 1)).sum((1, 2))], 1)
    torch.testing.assert_close(sums / draws, whole, rtol=0.01, atol=0)
    assert points.is_meant_R.tolist() == [True, False, False]
    assert points.is_known_R.tolist() == [True, True, False]


def test_at_points_the_head_reads_what_lies_between_the_cells(data: Path) -> None:
    """As from embeddings that were enlarged to the size of the masks; of each image for its own prompts."""
    torch.manual_seed(0)
    config = LLMSegConfig(
        widths=[8, 8, 8, 8], decoder_width=8, head="prompt", prompt_width=6, finest=2, num_labels=2
    )
    model = LLMSemanticSegmentor(config).eval()
    pixels, states = torch.randn(2, 3, 32, 32), torch.randn(3, 5, 6)
    is_word = torch.ones(3, 5, dtype=torch.bool)
    points = Points.drawn(torch.randint(0, 2, (3, 32, 32)), 40)
    with torch.no_grad():
        found = model(pixels, states, is_word, places=points.places_RP2.split([2, 1]))
        fine = functional.interpolate(model.see(pixels), (32, 32), mode="bilinear")
        column, row = ((points.places_RP2 + 1) * 16 - 0.5).round().long().unbind(-1)
        for mask, image in enumerate([0, 0, 1]):
            there = fine[image][:, row[mask], column[mask]][None, :, None]
            logits, presence = model.ask(there, states[mask : mask + 1], is_word[mask : mask + 1])
            torch.testing.assert_close(found.logits[mask], logits[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(found.presence[mask], presence[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(33, 47), (300, 250)])
def test_every_pixel_is_read_as_points_are(size: tuple[int, int]) -> None:
    """The embeddings are enlarged, then judged, in bands where a picture is larger than one."""
    torch.manual_seed(0)
    config = LLMSegConfig(
        widths=[8, 8, 8, 8], decoder_width=8, head="prompt", prompt_width=6, finest=2, num_labels=2
    )
    model = LLMSemanticSegmentor(config).eval()
    pixels, states = torch.randn(1, 3, *size), torch.randn(1, 5, 6)
    is_word = torch.ones(1, 5, dtype=torch.bool)
    with torch.no_grad():
        found = model(pixels, states, is_word)
        enlarged = functional.interpolate(model.see(pixels), size, mode="bilinear")
        logits, presence = model.head(enlarged, states, is_word)
    torch.testing.assert_close(found.logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.presence, presence, atol=1e-4, rtol=1e-4)


# --- what is refused ---


@pytest.mark.parametrize(
    ("change", "more", "sentence"),
    [
        (
            lambda rows: [{name: row[name] for name in ("image", "truth", "id", "split")} for row in rows],
            {},
            "has no column `prompt` that says what each truth shows",
        ),
        (
            lambda rows: rows,
            {"model": {"head": "closed", "language_model": None}, "labels": "two.yaml"},
            "has a column `prompt` that says what each truth shows, and this model has no head for it",
        ),
        (
            lambda rows: rows,
            {"labels": "three.yaml"},
            "has 3 classes, and of what a prompt means there are two",
        ),
        (
            lambda rows: [{**row, "prompt": "red " * 40} for row in rows],
            {},
            "has 40 tokens, and the language model reads 32: say it in fewer words",
        ),
        (lambda rows: rows, {"model": {"prompt_layer": 4}}, "model.prompt_layer 4: "),
    ],
)
def test_what_cannot_be_learnt_from_is_one_sentence(
    data: Path, tmp_path: Path, change: Any, more: dict[str, Any], sentence: str
) -> None:
    (tmp_path / "two.yaml").write_text("classes: [nothing, something]")
    (tmp_path / "three.yaml").write_text("classes: [background, disc, bar]")
    more = {**more, **({"labels": str(tmp_path / more["labels"])} if "labels" in more else {})}
    config = settings(data, tmp_path / "out", source=changed(data, tmp_path, change), **more)
    with pytest.raises(BatchsegError) as caught:
        batchseg.train(config)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_has_no_prompts(data: Path, tmp_path: Path) -> None:
    source = {"path": str(data / "scenes" / "images"), "truth": str(data / "scenes" / "masks")}
    with pytest.raises(BatchsegError, match="is a folder, and a model with head prompt learns from prompts"):
        batchseg.train(settings(data, tmp_path / "out", source=source))


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow
def test_rows_without_a_prompt_are_left_out_and_images_stay_together(data: Path, tmp_path: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = [{name: row[name] for name in ("image", "truth", "id", "prompt")} for row in rows]
        kept[0]["prompt"], kept[4]["prompt"] = None, "  "
        return kept

    config = settings(
        data, tmp_path / "out", source=changed(data, tmp_path, change), epochs=1, validation=0.3
    )
    result = batchseg.train(config)
    split = pq.read_table(tmp_path / "out" / "split.parquet")
    assert split.schema.names == [*SPLIT.names, "prompt"]
    rows = split.to_pylist()
    without = [row for row in rows if row["split"] == "left_out"]
    assert len(without) == 2 and all("no prompt" in row["reason"] for row in without)
    parts: dict[str, set[str]] = {}
    for row in rows:
        if row["split"] != "left_out":
            parts.setdefault(row["uri"], set()).add(row["split"])
    assert all(len(names) == 1 for names in parts.values())
    assert sum(names == {"validation"} for names in parts.values()) == round(0.3 * SCENES)
    assert result.record["images"]["validation"] in range(34, 37)
