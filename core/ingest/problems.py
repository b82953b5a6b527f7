"""Everything that can be wrong with a sheet, as stable codes with a message in both languages.

docs/DATA.md lists every code with its severity and remedy; a test keeps that table complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from core.ingest.cells import whole_characters
from core.types import RowProblem, Severity

LANGUAGES = ("zh", "en")
_SHOWN_CHARACTERS = 60
_KEPT_CHARACTERS = 200


class Code(StrEnum):
    """The stable identifier of a problem."""

    # the sheet as a whole; an ERROR of these is fatal
    MISSING_COLUMN = "missing_column"
    DUPLICATE_COLUMN = "duplicate_column"
    AMBIGUOUS_COLUMN = "ambiguous_column"
    UNKNOWN_MAPPING = "unknown_mapping"
    EMPTY_SHEET = "empty_sheet"
    HEADER_ONLY = "header_only"
    HEADER_NOT_FIRST = "header_not_first"
    UNNAMED_COLUMN = "unnamed_column"
    PROMPT_COLUMN_ABSENT = "prompt_column_absent"
    NUMERIC_IDS = "numeric_ids"
    HIDDEN_ROWS = "hidden_rows"
    HIDDEN_WORKSHEET = "hidden_worksheet"
    OTHER_WORKSHEETS = "other_worksheets"
    RENAMED_FILE = "renamed_file"
    LEGACY_FORMAT = "legacy_format"
    ENCODING_GUESSED = "encoding_guessed"
    # one row
    MISSING_ID = "missing_id"
    DUPLICATE_ID = "duplicate_id"
    ID_DIGITS_LOST = "id_digits_lost"
    NUMBER_BECAME_DECIMAL = "number_became_decimal"
    DATE_CELL = "date_cell"
    MISSING_DIMENSION = "missing_dimension"
    UNKNOWN_DIMENSION = "unknown_dimension"
    EMPTY_TEXT = "empty_text"
    EMPTY_TEXT_LABELLED = "empty_text_labelled"
    MISSING_PROMPT = "missing_prompt"
    MISSING_LABEL = "missing_label"
    LABEL_NOT_NUMBER = "label_not_number"
    LABEL_OFF_SCALE = "label_off_scale"
    DUPLICATE_CONTENT = "duplicate_content"
    CELL_LIMIT = "cell_limit"
    CONTROL_CHARACTERS = "control_characters"
    INVISIBLE_IN_ID = "invisible_in_id"
    LONE_SURROGATE = "lone_surrogate"
    MOJIBAKE = "mojibake"
    UNDECODABLE = "undecodable"
    MERGED_CELLS = "merged_cells"
    MERGED_CELL_FILLED = "merged_cell_filled"
    FORMULA = "formula"
    FORMULA_UNCACHED = "formula_uncached"
    ERROR_CELL = "error_cell"
    RAGGED_ROW = "ragged_row"
    SHORT_ROW = "short_row"
    UNCLOSED_QUOTE = "unclosed_quote"
    BAD_JSON_LINE = "bad_json_line"
    NOT_AN_OBJECT = "not_an_object"
    DUPLICATE_KEY = "duplicate_key"


@dataclass(frozen=True, slots=True)
class Kind:
    """The usual severity of a code and its message; `{where}` is the row and column, other names are facts."""

    severity: Severity
    zh: str
    en: str


class Words(NamedTuple):
    """A fact that reads differently in each language."""

    zh: str
    en: str


_E, _W = Severity.ERROR, Severity.WARNING

KINDS: Mapping[Code, Kind] = MappingProxyType(
    {
        Code.MISSING_COLUMN: Kind(
            _E,
            "缺少「{column}」列：表头为 {header}。补上该列，或指定哪一列是它（可用的列名：{aliases}）。",
            'The column "{column}" is missing; the header reads {header}. Add it, or say which column it is (names that are known: '
            "{aliases}).",
        ),
        Code.DUPLICATE_COLUMN: Kind(
            _E,
            "「{column}」列出现了不止一次（第 {places} 列）：无法判断用哪一列。删除或改名多余的列，或指定列的对应关系。",
            'More than one column is "{column}" (columns {places}), so it is not clear which one counts. Delete or rename one, or '
            "map the column yourself.",
        ),
        Code.AMBIGUOUS_COLUMN: Kind(
            _W,
            "{others} 也可以是「{field}」；已采用「{column}」，其余作为附加列保留。如不对，请指定列的对应关系。",
            '{others} could be the {field} as well; "{column}" is taken and the rest are kept as extra columns. If that is wrong, '
            "map the column yourself.",
        ),
        Code.UNKNOWN_MAPPING: Kind(
            _E, "指定的对应关系不可用：{value}。{hint}", "The mapping that was given cannot be used: {value}. {hint}"
        ),
        Code.EMPTY_SHEET: Kind(
            _E, "表是空的：没有表头，也没有数据。{hint}", "The sheet is empty: it has neither a header nor rows. {hint}"
        ),
        Code.HEADER_ONLY: Kind(
            _E, "只有表头，没有数据行。在第 {below} 行之下填入数据。", "There is a header but no row. Put the rows below row {below}."
        ),
        Code.HEADER_NOT_FIRST: Kind(
            _W,
            "表头在第 {first} 行；其上方的内容没有读取：{value}。如果那里有数据，请移到表头之下。",
            "The header is in row {first}; what stands above it was not read: {value}. If that is data, move it below the header.",
        ),
        Code.UNNAMED_COLUMN: Kind(
            _W,
            "第 {number} 列没有列名但有内容（首见于第 {first} 行），以「{column}」作为附加列保留。请给它一个列名。",
            'Column {number} has no name but holds something (first in row {first}); it is kept as the extra column "{column}". '
            "Give it a name.",
        ),
        Code.PROMPT_COLUMN_ABSENT: Kind(
            _W,
            "没有创作要求列，而 {names} 需要它：这些行无法评判。补上该列（可用的列名：{aliases}），或指定哪一列是它。",
            "There is no prompt column, and {names} needs one: those rows cannot be judged. Add it (known names: {aliases}) or map it.",
        ),
        Code.NUMERIC_IDS: Kind(
            _W,
            "「{column}」有 {count} 个编号以数字存放（首见于第 {first} 行）：前导零可能已丢失（0017 会变成 17）。如编号带前导零，请"
            "把该列设为文本后重新填写。",
            '{count} ids in "{column}" are stored as numbers (first in row {first}): leading zeros may be lost (0017 becomes 17). '
            "If the ids had any, format the column as text and enter them again.",
        ),
        Code.HIDDEN_ROWS: Kind(
            _W,
            "有 {count} 行被隐藏或筛选掉（首见于第 {first} 行），仍会照常读取和评判。不需要的行请删除。",
            "{count} rows are hidden or filtered out (first row {first}); they are read and judged like the others. Delete the "
            "ones that you do not want.",
        ),
        Code.HIDDEN_WORKSHEET: Kind(
            _W,
            "工作表「{value}」是隐藏的。请确认要评判的就是它。",
            'The worksheet "{value}" is hidden. Make sure that it is the one to judge.',
        ),
        Code.OTHER_WORKSHEETS: Kind(
            _W,
            "只读取了工作表「{value}」；还有内容的工作表：{others}。如需评判，请选择它们。",
            'Only the worksheet "{value}" is read; these hold something too: {others}. Choose one of them to judge it.',
        ),
        Code.RENAMED_FILE: Kind(
            _W,
            "文件名是 {value}，内容却是 {format}；已按内容读取。请改用正确的扩展名。",
            "The file is called {value} but holds {format}; it was read by what it holds. Give it the right extension.",
        ),
        Code.LEGACY_FORMAT: Kind(
            _W,
            "旧版 .xls 文件：能读出数值，但无法检查公式、错误值和隐藏行。要完整检查，请另存为 .xlsx。",
            "This is an old .xls file: its values are read, but formulas, error values and hidden rows cannot be checked. Save it "
            "as .xlsx to have them checked.",
        ),
        Code.ENCODING_GUESSED: Kind(
            _W,
            "文本编码不是 UTF-8、UTF-16 或 GB18030，按 {value} 读取。请检查预览中的文字；如有乱码，请另存为 UTF-8。",
            "The text is neither UTF-8, UTF-16 nor GB18030; it was read as {value}. Check the preview; if it is garbled, save the "
            "file as UTF-8.",
        ),
        Code.MISSING_ID: Kind(
            _E,
            "{where}为空：每一行都要有编号。填上一个本表中没有用过的编号。",
            "{where} is empty: every row needs an id. Fill in one that no other row has.",
        ),
        Code.DUPLICATE_ID: Kind(
            _E,
            "{where}为 {value}：与第 {other} 行的编号重复。改成不重复的编号，或删除其中一行。",
            "{where} is {value}, the id of row {other} too. Give it an id of its own, or delete one of the rows.",
        ),
        Code.ID_DIGITS_LOST: Kind(
            _W,
            "{where}为 {value}：是科学计数或超过 15 位的数字，末尾几位可能已丢失。把该列设为文本后重新填写编号。",
            "{where} is {value}: a number in scientific form or of more than 15 digits, whose last digits may be lost. Format the "
            "column as text and enter the id again.",
        ),
        Code.NUMBER_BECAME_DECIMAL: Kind(
            _W,
            "{where}写作 {value}，按 {read} 读取：整数可能被某个程序改成了小数。请核对原表。",
            "{where} is written {value} and read as {read}: some program may have turned a whole number into a decimal. Check it "
            "against the original.",
        ),
        Code.DATE_CELL: Kind(
            _W,
            "{where}是日期（{value}）：像 1-2 这样的内容可能被表格软件改成了日期。把该列设为文本后重新填写。",
            "{where} is a date ({value}): the spreadsheet may have turned something like 1-2 into one. Format the column as text "
            "and enter it again.",
        ),
        Code.MISSING_DIMENSION: Kind(
            _E, "{where}为空：填上评判维度，可用的有 {known}。", "{where} is empty: fill in the dimension, one of {known}."
        ),
        Code.UNKNOWN_DIMENSION: Kind(
            _E,
            "{where}为 {value}：没有这个评判维度，可用的有 {known}。改成其中之一，或添加一个维度文件。",
            "{where} is {value}, which is no known dimension; known are {known}. Change it to one of them, or add a dimension file.",
        ),
        Code.EMPTY_TEXT: Kind(
            _E,
            "{where}为空：没有可评判的内容。填上内容，或删除该行。",
            "{where} is empty: there is nothing to judge. Fill it in, or delete the row.",
        ),
        Code.EMPTY_TEXT_LABELLED: Kind(
            _W,
            "{where}为空：按 {dimension} 的约定，空内容记 {label} 分。如果漏了内容，请补上。",
            "{where} is empty: by the convention of {dimension} an empty text is labelled {label}. If the text was forgotten, fill it in.",
        ),
        Code.MISSING_PROMPT: Kind(
            _E,
            "{where}为空：{dimension}要对照创作要求评判。填上创作要求。",
            "{where} is empty: {dimension} is judged against the prompt. Fill it in.",
        ),
        Code.MISSING_LABEL: Kind(
            _E,
            "{where}为空：样例库的每一行都要有分值。填上 {labels} 之一，或删除该行。",
            "{where} is empty: every row of a library needs a label. Fill in one of {labels}, or delete the row.",
        ),
        Code.LABEL_NOT_NUMBER: Kind(
            _E,
            "{where}为 {value}：不是数字，{dimension}只接受 {labels}。改正它，或{otherwise}。",
            "{where} is {value}, not a number: {dimension} accepts only {labels}. Correct it, or {otherwise}.",
        ),
        Code.LABEL_OFF_SCALE: Kind(
            _E,
            "{where}为 {value}：{dimension}只接受 {labels}。改正它，或{otherwise}。",
            "{where} is {value}: {dimension} accepts only {labels}. Correct it, or {otherwise}.",
        ),
        Code.DUPLICATE_CONTENT: Kind(
            _W,
            "第 {row} 行与第 {other} 行的维度、创作要求和内容完全相同：两行都会评判。如是误复制，请删除一行。",
            "Row {row} has the same dimension, prompt and text as row {other}: both are judged. Delete one if it was copied by mistake.",
        ),
        Code.CELL_LIMIT: Kind(
            _W,
            "{where}有 {count} 个字符，正好到单元格上限 32,767：后面的内容可能已被截断。改用 csv 或 jsonl 提交全文。",
            "{where} has {count} characters, the most that a cell can hold (32,767): the rest may have been cut off. Bring the "
            "full text in as csv or jsonl.",
        ),
        Code.CONTROL_CHARACTERS: Kind(
            _W,
            "{where}含有控制字符（{value}）：换页和竖直制表符已改为换行，其余已去掉。如影响内容，请修改原表。",
            "{where} holds control characters ({value}): form feeds and vertical tabs became line breaks, the others were removed. "
            "Correct the sheet if they mattered.",
        ),
        Code.INVISIBLE_IN_ID: Kind(
            _W,
            "{where}含有看不见的字符（{value}）：已去掉，编号读作 {read}。请在原表中清除它们。",
            "{where} holds invisible characters ({value}): they were removed and the id reads {read}. Remove them from the sheet.",
        ),
        Code.LONE_SURROGATE: Kind(
            _W,
            "{where}含有半个字符（{value}，不成对的代理项）：已换成 �。请修复生成该文件的程序。",
            "{where} holds half a character ({value}, a lone surrogate): it was replaced by �. Mend the program that wrote the file.",
        ),
        Code.MOJIBAKE: Kind(
            _W,
            "{where}含有乱码（{value}）：内容可能在之前的编码转换中损坏。请用原始文件重新导出。",
            "{where} holds garbled characters ({value}): the text may have been damaged by an earlier conversion. Export it again "
            "from the original.",
        ),
        Code.UNDECODABLE: Kind(
            _E,
            "{where}有 {count} 处字节不是 {encoding}，显示为 �：这一行的内容不可靠。用正确的编码重新导出该文件。",
            "{where} has {count} bytes that are not {encoding}, shown as �, so this row cannot be trusted. Export the file again "
            "in one encoding.",
        ),
        Code.MERGED_CELLS: Kind(
            _E,
            "{where}属于合并单元格（第 {top}–{bottom} 行）：这一行自己没有值。取消合并，给每一行填上自己的值。",
            "{where} is part of a merged cell (rows {top} to {bottom}), so this row has no value of its own. Unmerge it and fill "
            "in every row.",
        ),
        Code.MERGED_CELL_FILLED: Kind(
            _W,
            "{where}属于合并单元格（第 {top}–{bottom} 行）：已沿用第 {top} 行的 {value}。如不对，请取消合并后分别填写。",
            "{where} is part of a merged cell (rows {top} to {bottom}): the value of row {top}, {value}, is used. If that is "
            "wrong, unmerge it and fill in every row.",
        ),
        Code.FORMULA: Kind(
            _W,
            "{where}是公式（={formula}）：采用了表格软件上次算出的值 {value}。为保险起见，请粘贴为数值。",
            "{where} is a formula (={formula}): the value that was last computed, {value}, is used. To be safe, paste it as a value.",
        ),
        Code.FORMULA_UNCACHED: Kind(
            _E,
            "{where}是公式（={formula}），但文件里没有算好的值。用表格软件打开并保存，或粘贴为数值。",
            "{where} is a formula (={formula}) and the file holds no computed value. Open and save it in a spreadsheet program, or "
            "paste it as a value.",
        ),
        Code.ERROR_CELL: Kind(
            _E,
            "{where}是错误值 {value}：单元格里没有内容。修正公式，或填上正确的内容。",
            "{where} is the error {value}: the cell holds no content. Mend the formula, or fill in what belongs there.",
        ),
        Code.RAGGED_ROW: Kind(
            _E,
            "第 {row} 行有 {count} 列，表头只有 {expected} 列（多出：{value}）：内容里可能有未加引号的分隔符，各列已错位。给含分隔"
            "符的内容加上引号。",
            "Row {row} has {count} cells, the header has {expected} (too many: {value}): a text may hold a delimiter without "
            "quotes, so the columns have shifted. Quote it.",
        ),
        Code.SHORT_ROW: Kind(
            _W,
            "第 {row} 行只有 {count} 列，表头有 {expected} 列：缺少的列按空处理。如内容里有未加引号的换行，请加上引号。",
            "Row {row} has {count} cells, the header has {expected}: the missing ones are read as empty. If a text holds a line "
            "break without quotes, quote it.",
        ),
        Code.UNCLOSED_QUOTE: Kind(
            _E,
            "第 {row} 行的引号直到文件末尾都没有闭合：其后的内容都被并入这一行。补上引号，或重新导出（文件可能被截断）。",
            "A quote in row {row} is never closed, so everything after it fell into this row. Close it, or export the file again "
            "(it may be truncated).",
        ),
        Code.BAD_JSON_LINE: Kind(
            _E,
            "第 {row} 行不是完整的 JSON（第 {position} 个字符处：{reason}）。修正这一行；如是最后一行，文件可能被截断。",
            "Row {row} is not valid JSON (at character {position}: {reason}). Correct the line; if it is the last one, the file "
            "may be truncated.",
        ),
        Code.NOT_AN_OBJECT: Kind(
            _E,
            '第 {row} 行是{kind}，不是对象。每一行写成 {{"id": …, "dimension": …, "text": …}}。',
            'Row {row} is {kind}, not an object. Write each row as {{"id": …, "dimension": …, "text": …}}.',
        ),
        Code.DUPLICATE_KEY: Kind(
            _E,
            "{where}在这一行出现了两次，且值不同：无法判断用哪一个。删除其中一个。",
            "{where} stands twice in this row with different values, so it is not clear which one counts. Delete one.",
        ),
    }
)


def problem(
    code: Code,
    *,
    row: int | None = None,
    column: str = "",
    value: str = "",
    external_id: str = "",
    severity: Severity | None = None,
    **facts: object,
) -> RowProblem:
    """Return the problem `code` with its messages filled in; long values are shortened."""
    kind = KINDS[code]
    column, value = whole_characters(column), whole_characters(value)
    known = {"row": row, "column": column, "value": _shown(value), **facts}
    message = {
        "zh": kind.zh.format_map({**_in_language(known, 0), "where": _where_zh(row, column)}),
        "en": kind.en.format_map({**_in_language(known, 1), "where": _where_en(row, column)}),
    }
    return RowProblem(code.value, severity or kind.severity, row, column, value[:_KEPT_CHARACTERS], message, external_id)


def _in_language(facts: Mapping[str, object], index: int) -> dict[str, object]:
    return {name: fact[index] if isinstance(fact, Words) else fact for name, fact in facts.items()}


def _shown(value: str) -> str:
    line = " ".join(value.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "…"


def _where_zh(row: int | None, column: str) -> str:
    return (f"第 {row} 行" if row is not None else "") + (f"「{column}」" if column else "")


def _where_en(row: int | None, column: str) -> str:
    place = f"Row {row}" if row is not None else ""
    return ", ".join(part for part in (place, f'"{column}"' if column else "") if part)
