"""What is read of checkpoints of others, and what is refused in one sentence."""

from __future__ import annotations

import ast
import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from thinkery.models.checking import require_policy
from thinkery.models.loading import load_policy, resolve_model
from thinkery.models.soundness import require_finite
from thinkery.models.template import TEMPLATES
from thinkery.types import UserError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = TEMPLATES["r1-zero"]
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
Make = Callable[..., Path]
Tensors = dict[str, torch.Tensor]


def retensor(folder: Path, change: Callable[[Tensors], object]) -> None:
    """Changes a checkpoint's tensors."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def reconfigure(folder: Path, **fields: object) -> None:
    """Changes a checkpoint's configuration."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refused(folder: Path, *words: str) -> None:
    """Loading says all of the words in one line, and nothing is left in doubt."""
    with pytest.raises(UserError) as error:
        load_policy(folder, template=TEMPLATE, device="cpu")
    message = str(error.value)
    assert "\n" not in message
    assert [word for word in (str(folder), *words) if word not in message] == [], message


@pytest.mark.parametrize(("model_type", "tied"), [(m, t) for m in ("qwen2", "qwen3", "llama") for t in (True, False)])
def test_what_transformers_saved_is_loaded_as_it_is(make_checkpoint: Make, model_type: str, tied: bool) -> None:
    folder = make_checkpoint(model_type, tied=tied)
    ours = dict(load_policy(folder, template=TEMPLATE, device="cpu").model.named_parameters())
    for name, theirs in AutoModelForCausalLM.from_pretrained(folder).named_parameters():
        assert torch.equal(ours[name], theirs)


def test_buffers_that_old_files_hold_and_a_tied_head_that_is_the_embedding_are_no_reason(make_checkpoint: Make) -> None:
    folder = make_checkpoint("llama", tied=True)
    retensor(
        folder,
        lambda tensors: tensors.update(
            {
                "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
                "lm_head.weight": tensors["model.embed_tokens.weight"].clone(),
            }
        ),
    )
    model = load_policy(folder, template=TEMPLATE, device="cpu").model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


QUERY = "model.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop(QUERY), ["they lack " + QUERY, "config.json"]),
        (
            lambda tensors: [tensors.pop(name) for name in list(tensors) if "layers.1" in name],
            ["they lack model.layers.1.input_layernorm.weight", "and 6 more"],
        ),
        (lambda tensors: tensors.update(extra=torch.ones(2)), ["they hold extra, which such a model doesn't have"]),
        (
            lambda tensors: tensors.update({QUERY: torch.ones(8, 32)}),
            [QUERY, "should be of the shape [32, 32] and is [8, 32]"],
        ),
        (
            lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"] + 1}),
            [
                "tie_word_embeddings: true",
                "lm_head.weight is not equal to model.embed_tokens.weight",
                "set it to false",
            ],
        ),
        *[
            (lambda tensors, bad=bad: tensors[QUERY].view(-1)[-1].fill_(bad), ["not finite", QUERY])
            for bad in (float("nan"), float("inf"), float("-inf"))
        ],
    ],
    ids=["missing", "a layer missing", "unexpected", "mis-shaped", "tied and is not", "nan", "inf", "-inf"],
)
def test_weights_that_are_not_the_configurations_are_refused(
    make_checkpoint: Make, change: Callable[[Tensors], object], words: list[str]
) -> None:
    folder = make_checkpoint("llama", tied=True)
    retensor(folder, change)
    refused(folder, *words)


@pytest.mark.parametrize(
    ("is_of", "says", "words"),
    [
        ("qwen3", "llama", ["the llama model", "self_attn.k_norm.weight, model.layers.0.self_attn.q_norm.weight"]),
        ("llama", "qwen3", ["the qwen3 model", "they lack model.layers.0.self_attn.k_norm.weight"]),
        ("llama", "qwen2", ["the qwen2 model", "they lack model.layers.0.self_attn.k_proj.bias"]),
    ],
)
def test_a_model_type_that_the_weights_are_not_of_is_refused(
    make_checkpoint: Make, is_of: str, says: str, words: list[str]
) -> None:
    folder = make_checkpoint(is_of)
    reconfigure(folder, model_type=says, architectures=None, layer_types=None)
    refused(folder, *words, "give it the config.json that its weights were saved with")


def test_the_shipped_base_with_another_model_type_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(resolve_model("thinkery://mini-base"), folder)
    load_policy(folder, template=None, device="cpu")
    reconfigure(folder, model_type="llama")
    refused(folder, "the llama model", "q_norm.weight")


def test_an_untied_head_that_no_file_holds_is_refused(make_checkpoint: Make) -> None:
    folder = make_checkpoint("llama", tied=True)
    reconfigure(folder, tie_word_embeddings=False)
    refused(folder, "no output head", "tie_word_embeddings: false", "lm_head.weight", "set it to true")


def test_large_weights_are_finite_and_every_number_is_looked_at() -> None:
    large = torch.nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        large.weight.fill_(3e38)  # their sum is infinite
    require_finite("large", large)
    wide = torch.nn.Linear(2**12, 2**12 + 1, bias=False)  # more than one chunk
    with torch.no_grad():
        wide.weight.fill_(1.0)
        require_finite("wide", wide)
        wide.weight[-1, -1] = float("nan")
    with pytest.raises(UserError, match=r"wide has weights that are not finite .* in weight:"):
        require_finite("wide", wide)


def cut(path: Path) -> None:
    """Leaves the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FILES = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "thinkery_template.json"]


@pytest.mark.parametrize("name", [*FILES, WEIGHTS])
@pytest.mark.parametrize("damage", [cut, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"\xff{[")])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: Callable[[Path], object]) -> None:
    folder = tmp_path / "base"
    shutil.copytree(resolve_model("thinkery://mini-base"), folder)
    damage(folder / name)
    for look in (lambda: load_policy(folder, template=None, device="cpu"), lambda: require_policy(str(folder), None)):
        with pytest.raises(UserError, match=rf"{re.escape(name)} is (cut short or )?damaged .*again") as error:
            look()
        assert "\n" not in str(error.value)


def test_a_template_file_that_is_json_and_no_template_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(resolve_model("thinkery://mini-base"), folder)
    path = folder / "thinkery_template.json"
    whole = json.loads(path.read_text())
    wrong: list[Any] = [[], {}, whole | {"stop_strings": 3}, whole | {"more": 1}, whole | {"chat_template": "{% for"}]
    for value in wrong:
        path.write_text(json.dumps(value))
        with pytest.raises(UserError, match=r"thinkery_template\.json is cut short or damaged"):
            load_policy(folder, template=None, device="cpu")


def test_a_shard_that_is_missing_cut_or_unnamed_is_refused(make_checkpoint: Make) -> None:
    folder = make_checkpoint("llama", tied=False)
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="20KB")
    (folder / WEIGHTS).unlink(missing_ok=True)
    load_policy(folder, template=TEMPLATE, device="cpu")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    whole = shards[1].read_bytes()
    cut(shards[1])
    refused(folder, shards[1].name, "cut short or damaged")
    shards[1].unlink()
    refused(folder, INDEX, f"names {shards[1].name}, which is not there")
    shards[1].write_bytes(whole)
    for index, word in (("{", "cut short or damaged"), ("{}", "no weight_map")):
        (folder / INDEX).write_text(index)
        refused(folder, INDEX, word)


def test_a_checkpoint_without_weights_or_without_a_tokenizer_is_refused(make_checkpoint: Make) -> None:
    folder = make_checkpoint()
    (folder / WEIGHTS).rename(folder / "kept")
    refused(folder, "no file named model.safetensors")
    (folder / "kept").rename(folder / WEIGHTS)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    refused(folder, "has no tokenizer", "tokenizer.json")  # transformers would make an empty one


def test_an_end_that_is_no_tokens_number_is_refused(make_checkpoint: Make) -> None:
    folder = make_checkpoint()
    for ends in ("B", [1, "B"]):
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
        refused(folder, "eos_token_id in its generation_config.json is", "write a token's number")


class Marks:
    """What a pickle does to whoever opens it: it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_weights_in_torchs_format_are_read_and_no_pickle_in_them_is_run(make_checkpoint: Make, tmp_path: Path) -> None:
    folder, marker = make_checkpoint("llama", tied=False), tmp_path / "marker"
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    loaded = load_policy(folder, template=TEMPLATE, device="cpu").model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    torch.save(tensors | {"lm_head.weight": Marks(marker)}, folder / "pytorch_model.bin")
    refused(folder, "weights_only", "save the checkpoint as safetensors")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Marks(marker)))
    assert marker.exists()  # so it would have


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def keyword(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(one.value) for one in call.keywords if one.arg == name), None)


READERS = ("from_pretrained", "from_config")
TELLING = re.compile(r"from_pretrained|from_config|LLM\(|EngineArgs\(|[^_]load\(")
OURS = "trusts_remote_code()"


def test_no_call_leaves_open_whether_code_of_others_may_run() -> None:
    """transformers asks at a terminal where nothing is said, and torch's own format is a pickle."""
    seen = 0
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        if not TELLING.search(text := path.read_text()):
            continue
        for name, call in calls(ast.parse(text)):
            where = f"{path.relative_to(ROOT)}:{call.lineno}: {name}"
            owner, _, method = name.rpartition(".")
            if name in ("LLM", "EngineArgs") or (method in READERS and owner != "GenerationConfig"):
                trusted = {OURS, "False"} if path.name == "pretrained.py" else {"False"}
                assert keyword(call, "trust_remote_code") in trusted, where
                seen += 1
            if name == "torch.load":
                assert keyword(call, "weights_only") == "True", where
                seen += 1
            assert name not in (
                "pickle.load",
                "torch.jit.load",
                "numpy.load",
                "np.load",
                "yaml.unsafe_load",
                "yaml.full_load",
            ), where
    assert seen > 10
