"""Brings prompts and replies into one plain form, so that the grammar sees one spelling of everything."""

from __future__ import annotations

import re
import unicodedata

_TRADITIONAL = str.maketrans(
    "確選擇項對錯誤應該為無們認覺個沒題說這會問請從據論結斷絕別綜處過後來國與實時間類學關係樣條數給內開長經濟發當義點體",
    "确选择项对错误应该为无们认觉个没题说这会问请从据论结断绝别综处过后来国与实时间类学关系样条数给内开长经济发当义点体",
)
_PLAIN: dict[int, str | int] = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_PLAIN.update(dict.fromkeys(map(ord, "\u3000\u00a0\ufeff\u200b\u200c\u200d\u2060"), " "))
_PLAIN.update(dict.fromkeys(range(0xE000, 0xF900), " "))
_PLAIN.update(dict.fromkeys(map(ord, "“”„‟«»「」『』〝〞＂"), '"'))
_PLAIN.update(dict.fromkeys(map(ord, "‘’‚‛′"), "'"))
_PLAIN.update(dict.fromkeys(map(ord, "【〔［〖"), "["))
_PLAIN.update(dict.fromkeys(map(ord, "】〕］〗"), "]"))
_PLAIN.update(dict.fromkeys(map(ord, "—–‒―─‐‑−﹣"), "-"))
_PLAIN.update({ord("｡"): "。", ord("﹐"): ",", ord("､"): "、", ord("∶"): ":", ord("︰"): ":", ord("⋯"): "…"})
_PLAIN.update({ord(look): latin for look, latin in zip("АВСЕНΑΒΕΗ", "ABCEHABEH", strict=True)})
_PLAIN.update({code: chr(ord("A") + (code - 0x1F150) % 32) for code in (*range(0x1F150, 0x1F16A), *range(0x1F170, 0x1F18A))})
_PLAIN.update({ord(raised): digit for raised, digit in zip("⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉", "0123456789" * 2, strict=True)})
_PLAIN.update(dict.fromkeys(map(ord, "✓✔✅☑"), "√"))
_PLAIN.update(dict.fromkeys(map(ord, "✗✘❌✖╳❎"), "×"))

_STYLED = re.compile("[\u249c-\u24e9\U0001d400-\U0001d7ff\U0001f110-\U0001f149]")
_ACCENTED = re.compile(r"(?<![A-Za-z])(?:[\u00c0-\u00cb\u00e0-\u00eb\u1e00-\u1ec7]|[A-Ha-h][\u0300-\u036f]+)(?![a-z])")
_THINKING = re.compile(r"(?is)<think(?:ing)?>.*?</think(?:ing)?>|^.*?</think(?:ing)?>|<think(?:ing)?>")
_ANSWER_TAG = re.compile(r"(?is)<(answer|答案)>(.*?)</\1>")
_BRACKETED = re.compile(r"<([A-Ha-h])>")
_STRUCK = re.compile(r"(?is)~~.*?~~|<(s|del|strike)>.*?</\1>")
_TAGS = re.compile(
    r"(?is)<br\s*/?>|</(?:p|div|li|h[1-6]|tr)>|<\|[a-z_]+\|>|<(?:/?s|eos|end_of_turn)>"
    r"|</?(?:p|div|span|strong|em|code|pre|font|ul|ol|li|h[1-6]|table|tr|td|th|sup|sub|mark)(?:\s[^<>]*)?>|<([biu])>(?=.*?</\1>)|(?<=\S)</[biu]>"
)
_NOTES = re.compile(r"[(\[]\s*(?:以上|本)?(?:内容|回答|答案)?\s*由\s*AI\s*(?:自动)?生成[^)\]]{0,20}[)\]]|重新生成\s*$")
_MARKDOWN = re.compile(r"[*`#]+|^\s*(?:json|text|plaintext)\s*\n|__+")

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_STYLE = re.compile(
    r"\\(?:text|mathrm|mathbf|mathit|mathsf|mathcal|textbf|textit|operatorname|rm|bf|bar|overline|hat|boldsymbol)\s*\{([^{}]*)\}"
)
_SYMBOLS = {
    "times": "×", "div": "÷", "leq": "≤", "leqslant": "≤", "le": "≤", "geq": "≥", "geqslant": "≥", "ge": "≥", "neq": "≠", "ne": "≠",
    "pm": "±", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "lambda": "λ", "mu": "μ", "nu": "ν", "pi": "π", "rho": "ρ",
    "sigma": "σ", "chi": "χ", "theta": "θ", "omega": "ω", "infty": "∞", "rightarrow": "→", "to": "→", "Delta": "Δ", "Sigma": "Σ",
    "sqrt": "√", "circ": "°", "approx": "≈", "lt": "<", "gt": ">", "cdot": "·", "prime": "'", "checkmark": "√",
}  # fmt: skip
_COMMAND = re.compile(r"\\([A-Za-z]+|[()\[\]{},;!\s$%])")
_DASHES = re.compile("-{2,}")
_SPACES = re.compile(r"\s{2,}")
_RUNS = re.compile(r"([^\w<>])\1{3,}")  # long rows of one sign mean nothing and would cost time

_DROPPED = re.compile(r"(?:<<|>>|[\s、,。:;!?…·•()\[\]{}《》〈〉\"'`*_^$\\#@]|(?<!\d)\.|\.(?!\d))+")


def clean(text: str) -> str:
    """Return `text` in plain form: half-width, one sort of quotes, brackets and dashes, no Markdown, LaTeX as symbols.

    Thinking blocks and generator notes go; `\\boxed{…}` and `<answer>` become "[答案]". Never raises.
    """
    text = text.translate(_PLAIN).translate(_TRADITIONAL)
    if not text.isascii():
        text = _STYLED.sub(lambda match: unicodedata.normalize("NFKC", match.group()), text)
        text = _ACCENTED.sub(_without_accent, text)
    if "~~" in text or "<" in text:
        text = _TAGS.sub(_one_tag, _STRUCK.sub(" ", text))
    if "<" in text:
        text = _BRACKETED.sub(r"(\1)", text)
        text = _ANSWER_TAG.sub(r" [答案]\2 ", _THINKING.sub(" ", text))
    if "\\" in text:
        text = _without_latex(text)
    text = _MARKDOWN.sub("", _NOTES.sub(" ", text))
    return _RUNS.sub(r"\1", _SPACES.sub(_one_space, _DASHES.sub("-", text.replace("$", " ")))).strip()


def fold(text: str) -> str:
    """Return the comparable core of cleaned `text`: no spacing, punctuation or case; signs and decimal points stay."""
    return _lower(_DROPPED.sub("", text))


def fold_with_origins(text: str) -> tuple[str, list[int]]:
    """Return `fold(text)` and, for each of its characters, the index in `text` that it came from."""
    origins: list[int] = []
    pieces: list[str] = []
    position = 0
    for match in _DROPPED.finditer(text):
        pieces.append(text[position : match.start()])
        origins.extend(range(position, match.start()))
        position = match.end()
    pieces.append(text[position:])
    origins.extend(range(position, len(text)))
    return _lower("".join(pieces)), origins


def _one_space(match: re.Match[str]) -> str:
    return "\n" if "\n" in match.group() or "\r" in match.group() else " "


def _one_tag(match: re.Match[str]) -> str:
    return "\n" if match.group()[:3].lower() == "<br" or match.group().startswith("</") else ""


def _lower(text: str) -> str:
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else text  # a few capitals grow when lowered, which would shift origins


def _without_accent(match: re.Match[str]) -> str:
    base = unicodedata.normalize("NFD", match.group())[0]
    return base if base in "ABCDEFGHabcdefgh" else match.group()


def _without_latex(text: str) -> str:
    text = re.sub(r"(?:\\r)?\\n(?![A-Za-z])|\\r(?![A-Za-z])", "\n", text)
    for _ in range(3):
        text = _STYLE.sub(r" \1 ", text)
    text = _FRACTION.sub(r"\1/\2", _BOXED.sub(r" [答案]\1 ", text))
    return _COMMAND.sub(lambda match: _SYMBOLS.get(match.group(1), "%" if match.group(1) == "%" else " "), text)
