"""Read every dimension of a set of folders, and report all of their faults in one error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.dimensions.files import DimensionFile, Fault, read_dimension_file, same_word
from core.dimensions.prompts import PROMPTS_FOLDER, PromptTemplates
from core.errors import DimensionError
from core.types import Dimension


def load_dimensions(*folders: Path) -> dict[str, Dimension]:
    """Return the dimensions of every `*.yaml` in `folders` by id, in the order of folders and of file names.

    Each file is checked together with its prompt template (`prompts/<file>.v<version>.jinja` in any of the folders),
    which is rendered once on trial. Raises one DimensionError that names every fault of every file.
    """
    faults = [fault for folder in folders for fault in _folder_faults(folder)]
    found: list[tuple[str, DimensionFile]] = []
    for path in (path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.y*ml"))):
        label = f"{path.parent.name}/{path.name}"
        model, wrong = read_dimension_file(path, label)
        faults += wrong
        if model is not None:
            found.append((label, model))
    if not found and not faults:
        places = ", ".join(str(folder) for folder in folders)
        faults.append(
            Fault(places or "(no folder)", "", "has no dimension file (*.yaml); add one.", "没有任何维度文件（*.yaml），请添加。")
        )
    faults += _clashes(found)
    faults += _prompt_faults(found, folders)
    if faults:
        raise DimensionError(
            "\n  ".join([f"{len(faults)} fault(s) in the dimension files; mend them and start again:", *(f.line("en") for f in faults)]),
            zh="\n  ".join([f"维度文件有 {len(faults)} 处错误，请改正后重新启动：", *(f.line("zh") for f in faults)]),
        )
    return {model.id: model.dimension() for _, model in found}


def _folder_faults(folder: Path) -> list[Fault]:
    if folder.is_dir():
        return []
    return [
        Fault(
            str(folder),
            "",
            "is no folder; correct PINGPAN_DIMENSIONS_DIR, or create it.",
            "不是目录，请改正 PINGPAN_DIMENSIONS_DIR 或创建该目录。",
        )
    ]


def _clashes(found: Sequence[tuple[str, DimensionFile]]) -> list[Fault]:
    """Return a fault for each id, name or alias that two files claim."""
    faults: list[Fault] = []
    owners: dict[str, str] = {}
    for label, model in found:
        for word in dict.fromkeys(same_word(word) for word in model.called()):
            owner = owners.setdefault(word, label)
            if owner != label:
                key = "id" if word == same_word(model.id) else "names/aliases"
                faults.append(
                    Fault(
                        label,
                        key,
                        f"{word!r} already belongs to {owner}; choose another word in one of them.",
                        f"{word!r} 已被 {owner} 使用，请在其中一个文件中换一个词。",
                    )
                )
    return faults


def _prompt_faults(found: Sequence[tuple[str, DimensionFile]], folders: Sequence[Path]) -> list[Fault]:
    templates = PromptTemplates(folders)
    faults: list[Fault] = []
    for label, model in found:
        if model.prompt.file == label:
            continue  # a stand-in: which prompt is meant cannot be told
        homes = [folder for folder in folders if (folder / PROMPTS_FOLDER / f"{model.prompt.name}.jinja").is_file()]
        if len(homes) > 1:
            faults.append(
                Fault(
                    label,
                    "prompt",
                    f"{model.prompt.name}.jinja stands in several folders; give the newer one its own version.",
                    f"多个目录都有 {model.prompt.name}.jinja，请为较新的一份使用新的版本号。",
                )
            )
        elif not homes:
            faults.append(
                Fault(
                    label,
                    "prompt",
                    f"needs prompts/{model.prompt.name}.jinja, which is in none of the folders; add it.",
                    f"需要 prompts/{model.prompt.name}.jinja，但各目录中都没有，请添加。",
                )
            )
        elif all(value in model.levels for value in model.labels):
            faults += [
                Fault(f"{PROMPTS_FOLDER}/{model.prompt.name}.jinja", wrong.key, wrong.en, wrong.zh)
                for wrong in templates.check(model.dimension())
            ]
    return list(dict.fromkeys(faults))
