"""What the agreement page draws: figures of pairs as matrices, confusion matrices and distributions, every cell with its queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.review import GOLD, VERDICT, Agreement, Distribution, GroupAgreement, PairAgreement, Rater
from core.types import Dimension, Run
from webapp.pages.desk_address import AgreementAddress
from webapp.pages.render import count
from webapp.pages.review_address import ReviewAddress
from webapp.pages.translate import Translator

CELL, HEAD, SIDE = 46, 46, 92
WIDE_CELL, TALL_CELL = 92, 44
BAR_WIDTH, BAR_GAP, BAR_HEIGHT = 42, 10, 84
# The darkest cell of a heat map: black and white text still stand out on it.
DARKEST = 0.6
NAME_CHARACTERS = 11
SMALL_MATRICES = 9


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a matrix in pixels: `text` and the smaller `note` under it, how dark it is, and where it leads ("" for nowhere)."""

    x: float
    y: float
    width: float
    height: float
    text: str
    note: str
    opacity: float
    href: str
    title: str
    diagonal: bool = False
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """A word beside a plot."""

    x: float
    y: float
    text: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """A heat map with its size in pixels."""

    width: float
    height: float
    title: str
    rows: Sequence[Tick]
    columns: Sequence[Tick]
    cells: Sequence[Cell]
    row_axis: str = ""
    column_axis: str = ""


@dataclass(frozen=True, slots=True)
class PairLine:
    """The figures of a pair, and where its matrix is shown."""

    pair: PairAgreement
    first: str
    second: str
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class AgreementView:
    """The page of one run and one dimension."""

    run: Run
    dimension: Dimension
    dimension_tabs: Sequence[tuple[str, str, bool]]
    groups: Sequence[GroupAgreement]
    kappas: Matrix | None
    lines: Sequence[PairLine]
    chosen: Matrix | None
    chosen_line: PairLine | None
    matrices: Sequence[Matrix]
    left_out: int
    distributions: Sequence[Matrix]
    people: bool
    everyone_href: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """Draws the tables of a run in one language."""

    t: Translator
    run: Run
    address: AgreementAddress

    def name(self, rater: Rater) -> str:
        """Return what a rater is called on the page."""
        if rater.person:
            return rater.name
        if rater.name == VERDICT:
            return self.t("run.verdict")
        if rater.name == GOLD:
            return self.t("agreement.gold")
        found = next((spec for spec in self.run.panel.judges if spec.id == rater.name), None)
        return found.named(self.t.language) if found else rater.name

    def kappas(self, pairs: Sequence[PairAgreement], chosen: PairAgreement | None) -> Matrix | None:
        """Return the matrix of weighted kappas, raters against raters; None without a pair."""
        raters = list(dict.fromkeys(rater for pair in pairs for rater in (pair.first, pair.second)))
        if not raters:
            return None
        places = {rater: place for place, rater in enumerate(raters)}
        cells = []
        for pair in pairs:
            for row, column in ((places[pair.first], places[pair.second]), (places[pair.second], places[pair.first])):
                cells.append(self._kappa(pair, row, column, pair is chosen))
        size = len(raters)
        return Matrix(
            SIDE + size * WIDE_CELL,
            HEAD / 2 + size * TALL_CELL,
            self.t("agreement.kappa_title"),
            [Tick(SIDE - 8, HEAD / 2 + (place + 0.5) * TALL_CELL, _short(self.name(r)), self.name(r)) for r, place in places.items()],
            [Tick(SIDE + (place + 0.5) * WIDE_CELL, HEAD / 2 - 8, _short(self.name(r)), self.name(r)) for r, place in places.items()],
            cells,
        )

    def _kappa(self, pair: PairAgreement, row: int, column: int, chosen: bool) -> Cell:
        text = "—" if pair.kappa is None else f"{pair.kappa:.2f}"
        names = f"{self.name(pair.first)} × {self.name(pair.second)}"
        return Cell(
            SIDE + column * WIDE_CELL,
            HEAD / 2 + row * TALL_CELL,
            WIDE_CELL,
            TALL_CELL,
            text,
            f"n {count(pair.n)}",
            DARKEST * max(0.0, pair.kappa or 0.0),
            self.pair_href(pair),
            f"{names}: κ {text}, n {count(pair.n)}",
            chosen=chosen,
        )

    def pair_href(self, pair: PairAgreement) -> str:
        """Return where the matrix of a pair is shown in full."""
        address = replace(self.address, dimension=pair.dimension_id, first=_key(pair.first), second=_key(pair.second))
        return address.url(self.t.language)

    def confusion(self, pair: PairAgreement) -> Matrix:
        """Return the confusion matrix of a pair; every cell leads to its rows."""
        size = len(pair.labels)
        largest = max((number for row in pair.matrix for number in row), default=0) or 1
        first, second = self.name(pair.first), self.name(pair.second)
        cells = [self._counted(pair, row, column, largest) for row in range(size) for column in range(size)]
        return Matrix(
            SIDE + size * CELL,
            HEAD + size * CELL,
            f"{first} × {second}",
            [Tick(SIDE - 10, HEAD + (place + 0.5) * CELL, str(label)) for place, label in enumerate(pair.labels)],
            [Tick(SIDE + (place + 0.5) * CELL, HEAD - 8, str(label)) for place, label in enumerate(pair.labels)],
            cells,
            _short(first),
            _short(second),
        )

    def _counted(self, pair: PairAgreement, row: int, column: int, largest: int) -> Cell:
        number = pair.matrix[row][column]
        labels = f"{self.name(pair.first)} {pair.labels[row]}, {self.name(pair.second)} {pair.labels[column]}"
        share = number / pair.n if pair.n else 0.0
        return Cell(
            SIDE + column * CELL,
            HEAD + row * CELL,
            CELL,
            CELL,
            count(number),
            f"{share:.0%}" if number else "",
            DARKEST * (number / largest) ** 0.5,
            ReviewAddress.of(self.run.id, pair.cell(row, column)).url(self.t.language) if number else "",
            f"{labels}: {self.t('agreement.row_count', count=count(number))}",
            diagonal=row == column,
        )

    def distribution(self, found: Distribution, labels: Sequence[int], highest: float) -> Matrix:
        """Return a rater's histogram; `highest` is the share that fills the plot, and every bar leads to its rows."""
        total = sum(found.counts.values()) or 1
        name = self.name(found.rater)
        step = BAR_WIDTH + BAR_GAP
        cells = []
        for place, label in enumerate(labels):
            number = found.counts.get(label, 0)
            height = max(1.5, BAR_HEIGHT * (number / total) / highest)
            cells.append(
                Cell(
                    place * step + BAR_GAP / 2,
                    32 + BAR_HEIGHT - height,
                    BAR_WIDTH,
                    height,
                    count(number),
                    f"{number / total:.0%}",
                    1.0,
                    ReviewAddress.of(self.run.id, found.query(label)).url(self.t.language) if number else "",
                    f"{name} {label}: {self.t('agreement.row_count', count=count(number))}",
                )
            )
        ticks = [Tick(place * step + step / 2, 32 + BAR_HEIGHT + 16, str(label)) for place, label in enumerate(labels)]
        return Matrix(len(labels) * step, BAR_HEIGHT + 54, name, (), ticks, cells)


def _key(rater: Rater) -> str:
    return f"@{rater.name}" if rater.person else rater.name


def _telling(pair: PairAgreement) -> tuple[int, bool, int]:
    """Return the order in which pairs are worth looking at: against what is known or people say, then the verdict, then each other."""
    known = pair.second.name == GOLD and not pair.second.person
    kind = 0 if known else 1 if pair.second.person and not pair.first.person else 2 if pair.second.name == VERDICT else 3
    return kind, pair.first.name != VERDICT, -pair.n


def _short(name: str) -> str:
    return name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}…"


def agreement_view(
    t: Translator, run: Run, found: Agreement, present: Sequence[Dimension], dimension: Dimension, address: AgreementAddress
) -> AgreementView:
    """Return the page of a dimension among those `present` in the run.

    Of the pairs the addressed one is shown in full, by default the most telling.
    """
    drawing = Drawing(t, run, address)
    pairs = [pair for pair in found.pairs if pair.dimension_id == dimension.id and pair.n]
    wanted = {address.first, address.second}
    ranked = sorted(pairs, key=_telling)
    chosen = next((pair for pair in pairs if {_key(pair.first), _key(pair.second)} == wanted), ranked[0] if ranked else None)
    lines = [PairLine(p, drawing.name(p.first), drawing.name(p.second), drawing.pair_href(p), p is chosen) for p in pairs]
    spread = [one for one in found.distributions if one.dimension_id == dimension.id and any(one.counts.values())]
    highest = max((number / sum(one.counts.values()) for one in spread for number in one.counts.values()), default=1.0) or 1.0
    others = [pair for pair in ranked if pair is not chosen]
    return AgreementView(
        run=run,
        dimension=dimension,
        dimension_tabs=[
            (one.name(t.language), replace(address, dimension=one.id, first="", second="").url(t.language), one.id == dimension.id)
            for one in present
        ],
        groups=[group for group in found.groups if group.dimension_id == dimension.id],
        kappas=drawing.kappas(pairs, chosen),
        lines=lines,
        chosen=drawing.confusion(chosen) if chosen else None,
        chosen_line=next((line for line in lines if line.chosen), None),
        matrices=[drawing.confusion(pair) for pair in others[:SMALL_MATRICES]],
        left_out=max(0, len(others) - SMALL_MATRICES),
        distributions=[drawing.distribution(one, dimension.labels, highest) for one in spread],
        people=any(rater.person for rater in found.raters),
        everyone_href=replace(address, everyone=not address.everyone).url(t.language),
    )
