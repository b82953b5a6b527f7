"""Models arrive whole or not at all: right files, right hashes, resumed, with one command to type when they are missing."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import JudgeError
from core.judging.fetch import Hub, RemoteFile, Wish, fetch_model, has_right_hash, modelscope_id, wanted_files
from core.judging.hubs import HuggingFace, ModelScope
from core.judging.weights import is_hub_id, resolve_model
from tests.conftest import ROOT
from tests.serving.hub import FakeHub, commit, serving_hub

WEIGHTS = bytes(range(256)) * 4000
CONFIG = json.dumps({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}).encode()
FILES = {
    "config.json": CONFIG,
    "tokenizer.json": b'{"version": "1.0"}',
    "model-00001-of-00002.safetensors": WEIGHTS,
    "model-00002-of-00002.safetensors": WEIGHTS[::-1],
    "README.md": b"# model",
    "pytorch_model.bin": b"pickle",
    "modeling_qwen.py": b"print('code')",
    "onnx/model.json": b"{}",
    "original/consolidated.safetensors": b"twice",
}
KEPT = {"config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "README.md"}
MODEL = "Qwen/Qwen2-0.5B-Instruct"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Repositories of every kind on a hub of this test's own."""
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    repositories = {
        MODEL: dict(FILES),
        "old/pickled": {"config.json": CONFIG, "pytorch_model.bin": b"pickle"},
        "ZhipuAI/glm-4-9b-chat-hf": dict(FILES),
    }
    with serving_hub(repositories) as hub:
        yield hub


def fetch(hub: FakeHub, folder: Path, model: str = MODEL, *, verify: bool = False, allow_pickle: bool = False) -> tuple[Path, list[str]]:
    said: list[str] = []
    path = fetch_model(Wish(model, None, allow_pickle), folder, HuggingFace(hub.url), said.append, verify=verify)
    return path, said


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts}


def test_safetensors_and_what_goes_with_them_are_fetched_and_found(hub: FakeHub, tmp_path: Path) -> None:
    folder, said = fetch(hub, tmp_path)
    assert folder == tmp_path / MODEL
    assert names(folder) == KEPT | {"pingpan-model.json"}
    assert (folder / "model-00002-of-00002.safetensors").read_bytes() == WEIGHTS[::-1]
    assert any("5 files" in line and commit(FILES)[:12] in line for line in said)
    assert resolve_model("qwen", MODEL, tmp_path) == folder
    assert not list(tmp_path.rglob("*.partial"))


def test_the_second_time_nothing_is_fetched_and_the_hub_is_not_asked(hub: FakeHub, tmp_path: Path) -> None:
    fetch(hub, tmp_path)
    hub.repositories.clear()
    hub.sent.clear()
    folder, said = fetch(hub, tmp_path, verify=True)
    assert hub.sent == []
    assert folder == tmp_path / MODEL
    assert said == [f"{MODEL}: here already, checking hashes"]


def test_what_broke_off_goes_on_and_is_no_model_until_it_is_whole(hub: FakeHub, tmp_path: Path) -> None:
    real = hub.served
    hub.repositories[MODEL].pop("model-00002-of-00002.safetensors")
    hub.repositories[MODEL]["model-00003.safetensors"] = b"x" * 10
    hub.served = lambda name, content: b"x" * 5 if name == "model-00003.safetensors" else real(name, content)  # type: ignore[method-assign]
    with pytest.raises(JudgeError):
        fetch(hub, tmp_path)
    with pytest.raises(JudgeError, match=r"models fetch gpu-24gb$|models fetch gpu-24gb\n"):
        resolve_model("qwen", MODEL, tmp_path, panel_id="gpu-24gb")
    hub.served = real  # type: ignore[method-assign]
    hub.sent.clear()
    fetch(hub, tmp_path)
    assert {name for name, _, _ in hub.sent} == {"model-00003.safetensors"}


def test_a_file_that_was_cut_off_is_resumed_in_the_middle(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 14)
    hub.cut_once = {"model-00001-of-00002.safetensors"}
    fetch(hub, tmp_path)
    parts = [(start, length) for name, start, length in hub.sent if name == "model-00001-of-00002.safetensors"]
    start, length = parts[-1]
    assert start > len(WEIGHTS) // 4
    assert start + length == len(WEIGHTS)
    assert (tmp_path / MODEL / "model-00001-of-00002.safetensors").read_bytes() == WEIGHTS


def test_a_damaged_file_is_noticed_deleted_and_fetched_anew(hub: FakeHub, tmp_path: Path) -> None:
    hub.damaged = {"model-00001-of-00002.safetensors", "config.json"}
    with pytest.raises(JudgeError, match=r"config\.json, model-00001-of-00002\.safetensors arrived damaged") as caught:
        fetch(hub, tmp_path)
    assert "run the same command again" in str(caught.value)
    hub.damaged = set()
    folder, _ = fetch(hub, tmp_path)
    assert (folder / "config.json").read_bytes() == CONFIG


def test_a_file_that_rotted_on_the_disk_is_found_by_verify(hub: FakeHub, tmp_path: Path) -> None:
    folder, _ = fetch(hub, tmp_path)
    weights = folder / "model-00001-of-00002.safetensors"
    weights.write_bytes(bytes(len(WEIGHTS)))
    fetch(hub, tmp_path)
    assert weights.read_bytes() == bytes(len(WEIGHTS))
    hub.sent.clear()
    fetch(hub, tmp_path, verify=True)
    assert weights.read_bytes() == WEIGHTS
    assert {name for name, _, _ in hub.sent} == {weights.name}


def test_another_revision_takes_the_place_of_the_first(hub: FakeHub, tmp_path: Path) -> None:
    fetch(hub, tmp_path)
    hub.repositories[MODEL]["config.json"] = CONFIG + b" "
    folder = fetch_model(Wish(MODEL, "v2"), tmp_path, HuggingFace(hub.url), print)
    assert (folder / "config.json").read_bytes() == CONFIG + b" "
    hub.sent.clear()
    fetch_model(Wish(MODEL, "v2"), tmp_path, HuggingFace(hub.url), print)
    assert hub.sent == []


def test_pickles_are_fetched_and_opened_only_where_allowed(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match=r"no safetensors weights on huggingface.*allow_pickle: true"):
        fetch(hub, tmp_path, "old/pickled")
    folder, _ = fetch(hub, tmp_path, "old/pickled", allow_pickle=True)
    assert "pytorch_model.bin" in names(folder)
    with pytest.raises(JudgeError, match=r"allow_pickle: true"):
        resolve_model("old", "old/pickled", tmp_path)
    assert resolve_model("old", "old/pickled", tmp_path, allow_pickle=True) == folder


def test_unknown_and_gated_models_are_told_with_what_to_do(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match=r"nobody/nothing is not on huggingface.*PINGPAN_HUB"):
        fetch(hub, tmp_path, "nobody/nothing")
    hub.gated = {MODEL}
    with pytest.raises(JudgeError, match=r"accept its licence.*HF_TOKEN"):
        fetch(hub, tmp_path)
    with pytest.raises(JudgeError, match=r"neither a folder nor a hub id"):
        fetch(hub, tmp_path, "/no/such/folder")


def test_a_hub_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match=r"cannot be asked.*HF_ENDPOINT"):
        fetch_model(Wish(MODEL), tmp_path, HuggingFace("http://127.0.0.1:9"), print)


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.judging.fetch.SPARE_BYTES", 1 << 60)
    with pytest.raises(JudgeError, match=r"GiB are free.*PINGPAN_HOME"):
        fetch(hub, tmp_path)
    assert hub.sent == []


def test_a_folder_of_the_users_own_is_taken_as_it_is(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_bytes(CONFIG)
    assert fetch(hub, tmp_path / "models", str(tmp_path / "mine"))[0] == tmp_path / "mine"


def test_modelscopes_names_are_known() -> None:
    assert modelscope_id("zai-org/glm-4-9b-chat-hf") == "ZhipuAI/glm-4-9b-chat-hf"
    assert modelscope_id("internlm/internlm2_5-20b-chat") == "Shanghai_AI_Laboratory/internlm2_5-20b-chat"
    assert modelscope_id("google/gemma-2-9b-it") == "LLM-Research/gemma-2-9b-it"
    assert modelscope_id("Qwen/Qwen2-7B-Instruct") == "Qwen/Qwen2-7B-Instruct"


def test_modelscope_gives_the_same_folder_under_the_panels_name(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("modelscope_hub")
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
    client = ModelScope(hub.url)
    assert client.hub is Hub.MODELSCOPE
    folder = fetch_model(Wish("zai-org/glm-4-9b-chat-hf"), tmp_path / "models", client, print)
    assert folder == tmp_path / "models" / "zai-org/glm-4-9b-chat-hf"
    assert names(folder) >= KEPT
    assert "pytorch_model.bin" not in names(folder)
    with pytest.raises(JudgeError, match=r"is not on modelscope"):
        fetch_model(Wish("nobody/nothing"), tmp_path / "models", client, print)


def test_the_wanted_files_are_weights_configuration_and_licence() -> None:
    listed = [
        RemoteFile(name=name) for name in (*FILES, "LICENSE", "merges.txt", "tokenizer.model", "chat_template.jinja", "run.sh", "x.gguf")
    ]
    assert {file.name for file in wanted_files(listed, allow_pickle=True)} == KEPT | {
        "LICENSE",
        "merges.txt",
        "tokenizer.model",
        "chat_template.jinja",
    }


# The commands


def run(*arguments: str, endpoint: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "250", "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-P", "-m", "webapp", "models", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


def test_the_panels_models_are_fetched_and_listed(hub: FakeHub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panels = home / "panels"
    panels.mkdir(parents=True)
    served = f"{{engine: vllm, model: q, serve: {{model: {MODEL}}}}}"
    (panels / "mine.yaml").write_text(
        "names: {zh: 我的}\nlead: a\njudges:\n"
        f"  - {{id: a, name: A, family: transformers, options: {{model: {MODEL}}}}}\n"
        f"  - {{id: b, name: B, family: server, options: {served}}}\n"
        "  - {id: c, name: C, family: transformers, options: {model: nobody/nothing}}\n"
        "  - {id: d, name: D, family: rules}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PINGPAN_HOME", str(home))
    answer = run("fetch", "mine", endpoint=hub.url)
    assert answer.returncode == 1, answer.stderr
    assert "nobody/nothing is not on huggingface" in answer.stderr
    folder = home / "cache" / "judges" / "models" / MODEL
    assert names(folder) == KEPT | {"pingpan-model.json"}
    listed = run("list", endpoint=hub.url).stdout
    assert "Qwen2ForCausalLM" in listed
    assert "./run.sh models fetch mine" in listed


def test_a_panel_without_models_needs_none(home: Path) -> None:
    answer = run("fetch", "cpu", endpoint="http://127.0.0.1:9")
    assert answer.returncode == 0
    assert "needs no models" in answer.stderr


# InternLM2 is converted on the way


def internlm2_files(tmp_path: Path) -> dict[str, bytes]:
    """Return a tiny InternLM2 checkpoint as its owner publishes it."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save
    from tokenizers import Tokenizer, models

    config = {
        "architectures": ["InternLM2ForCausalLM"], "model_type": "internlm2", "hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1,
        "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 12, "rms_norm_eps": 1e-5, "max_position_embeddings": 64,
    }  # fmt: skip
    layer = "model.layers.0."
    shapes = {
        "model.tok_embeddings.weight": (12, 16), "output.weight": (12, 16), "model.norm.weight": (16,), f"{layer}attention.wqkv.weight": (32, 16),
        f"{layer}attention.wo.weight": (16, 16), f"{layer}attention_norm.weight": (16,), f"{layer}ffn_norm.weight": (16,),
        f"{layer}feed_forward.w1.weight": (32, 16), f"{layer}feed_forward.w3.weight": (32, 16), f"{layer}feed_forward.w2.weight": (16, 32),
    }  # fmt: skip
    path = tmp_path / "tokenizer.json"
    Tokenizer(models.WordLevel({f"{number}": number for number in range(12)}, unk_token="0")).save(str(path))
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": save({name: torch.randn(shape) for name, shape in shapes.items()}),
        "tokenizer.json": path.read_bytes(),
        "tokenizer_config.json": b'{"eos_token": "1"}',
    }


def test_internlm2_is_converted_once_and_found_as_llama(hub: FakeHub, tmp_path: Path) -> None:
    model = "internlm/internlm2_5-20b-chat"
    hub.repositories[model] = internlm2_files(tmp_path)
    folder, said = fetch(hub, tmp_path / "models", model)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert any("converting" in line for line in said)
    assert resolve_model("internlm", model, tmp_path / "models") == folder
    stamp = (folder / "config.json").stat().st_mtime_ns
    hub.sent.clear()
    again, said = fetch(hub, tmp_path / "models", model, verify=True)
    assert (again, hub.sent, (folder / "config.json").stat().st_mtime_ns) == (folder, [], stamp)
    assert not any("converting" in line for line in said)


# Listings and folders of every kind


def names_kept(*listed: str, allow_pickle: bool = False) -> set[str]:
    return {file.name for file in wanted_files([RemoteFile(name=name) for name in listed], allow_pickle=allow_pickle)}


@pytest.mark.parametrize("name", ["../config.json", "/etc/config.json", "a/../../config.json", "..", "x/..", "../../model.safetensors"])
def test_a_name_that_leads_out_of_the_folder_is_never_fetched(name: str) -> None:
    assert names_kept(name, "config.json", allow_pickle=True) == {"config.json"}


def test_weights_that_can_run_code_are_wanted_only_where_there_are_no_others() -> None:
    pickles = ("pytorch_model.bin", "consolidated.00.pth", "sub/optimizer.pt")
    assert names_kept(*pickles) == set()
    assert names_kept(*pickles, allow_pickle=True) == {"pytorch_model.bin", "consolidated.00.pth"}
    assert names_kept(*pickles, "model.safetensors", allow_pickle=True) == {"model.safetensors"}
    assert names_kept("config.json..json", "1_Pooling/config.json", "vocab.txt", "run.py") == {
        "config.json..json",
        "1_Pooling/config.json",
        "vocab.txt",
    }


@given(st.binary(max_size=50), st.booleans(), st.integers(0, 255), st.integers(0, 60))
def test_a_hash_knows_every_changed_byte(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, blob: bool, byte: int, place: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "hashed"
    if blob:
        file = RemoteFile(name="a", blob=hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest())
    else:
        file = RemoteFile(name="a", sha256=hashlib.sha256(content).hexdigest())
    changed = content[:place] + bytes([byte]) + content[place + 1 :]
    for written in (content, changed, content + b"x", content[:-1]):
        path.write_bytes(written)
        assert has_right_hash(path, file) is (written == content)
    assert has_right_hash(path, RemoteFile(name="a"))  # the hub tells no hash


@pytest.mark.parametrize("note", [b"\xff", b"{", b"[]", b'{"hub": "nowhere"}'])
def test_a_folder_whose_note_is_damaged_is_taken_for_the_users_own(note: bytes, hub: FakeHub, tmp_path: Path) -> None:
    folder, _ = fetch(hub, tmp_path)
    (folder / "pingpan-model.json").write_bytes(note)
    hub.sent.clear()
    assert fetch(hub, tmp_path, verify=True)[0] == folder
    assert hub.sent == []


def test_a_file_that_is_gone_or_shorter_is_fetched_again_without_asking_for_hashes(hub: FakeHub, tmp_path: Path) -> None:
    folder, _ = fetch(hub, tmp_path)
    (folder / "tokenizer.json").unlink()
    (folder / "model-00001-of-00002.safetensors").write_bytes(WEIGHTS[:-1])
    hub.sent.clear()
    _, told = fetch(hub, tmp_path)
    assert {name for name, _, _ in hub.sent} == {"tokenizer.json", "model-00001-of-00002.safetensors"}
    assert (folder / "model-00001-of-00002.safetensors").read_bytes() == WEIGHTS
    assert any("tokenizer.json" in line and "must be fetched" in line for line in told)


def test_what_a_hub_cannot_give_is_told_in_chinese_too(hub: FakeHub, tmp_path: Path) -> None:
    hub.gated = {MODEL}
    for model, zh in (
        (MODEL, "需先同意许可"),
        ("nobody/nothing", "huggingface 上没有 nobody/nothing"),
        ("old/pickled", "没有 safetensors 权重"),
        ("./none", "既不是文件夹也不是模型编号"),
    ):
        with pytest.raises(JudgeError) as caught:
            fetch(hub, tmp_path, model)
        assert zh in caught.value.messages["zh"]


@pytest.mark.parametrize(
    ("model", "hub_id"),
    [
        ("owner/name", True),
        ("./owner", False),
        ("/owner/name", False),
        ("~/name", False),
        ("owner/", False),
        ("name", False),
        ("a/b/c", False),
        ("../x", False),
    ],
)
def test_a_hubs_id_is_told_from_a_path(model: str, hub_id: bool) -> None:
    assert is_hub_id(model) is hub_id
