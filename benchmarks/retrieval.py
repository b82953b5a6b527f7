"""Measures retrieval and prompt building: `python -m benchmarks.retrieval --sheet test-B.xlsx --library train-fluency.csv`.

Without --sheet and --library it takes the shipped samples. The library is grown to --size items: the given ones, then
garbled copies of the sheet's rows (one letter in ten changed, the halves of the text exchanged) with labels drawn at
random, over all dimensions. Times are medians of --repeats; the processor's time stands beside the clock's, since
other work on the machine lengthens only the latter.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_machine
from core.dimensions import PromptBuilder, load_dimensions
from core.ingest import read_sheet
from core.retrieval.embedders import make_embedder
from core.retrieval.families import FamilyIndex, family_ids
from core.retrieval.index import ChromaIndex, example_text
from core.retrieval.select import ExampleRetriever
from core.settings import ASSETS
from core.types import Dimension, Example, Item, LabelledItem, Origin, SheetRow, content_hash

TOPIC_DIMENSION = "normativity"
SUBSET, SUBSETS = 200, 50


@dataclass(frozen=True, slots=True)
class Measured:
    """Median seconds by the clock and of the processor."""

    wall: float
    cpu: float

    def rate(self, rows: int) -> str:
        """Return rows a second by both."""
        return f"{rows / self.wall:>9,.0f} rows/s ({rows / self.cpu:,.0f} per second of processor time)"


def measured(work: Callable[[], object], repeats: int) -> Measured:
    """Return the median times of `work`."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(max(time.process_time() - cpu, 1e-9))
    return Measured(statistics.median(walls), statistics.median(cpus))


def read_items(path: Path, dimensions: dict[str, Dimension]) -> list[Item]:
    """Return the good rows of a sheet as stored items."""
    rows: Sequence[SheetRow] = read_sheet(path, dimensions=dimensions).rows
    return [
        Item(number, 1, row.position, row.external_id, row.dimension_id, row.prompt, row.text, row.gold, row.content_hash, row.source)
        for number, row in enumerate(rows, start=1)
    ]


def garbled(text: str, source: random.Random) -> str:
    """Return `text` with a tenth of its letters changed and its halves exchanged."""
    letters = list(text)
    for _ in range(len(letters) // 10):
        letters[source.randrange(len(letters))] = source.choice(text)
    half = len(letters) // 2
    return "".join(letters[half:] + letters[:half])


def grown_library(rows: Sequence[Item], sheet: Sequence[Item], size: int, dimensions: dict[str, Dimension]) -> list[LabelledItem]:
    """Return `size` labelled items: the labelled `rows`, then garbled copies of the sheet's."""
    source = random.Random(0)
    items = [(row.dimension_id, row.prompt, row.text, row.gold) for row in rows if row.gold is not None][:size]
    while len(items) < size:
        row = source.choice(sheet)
        label = source.choice(dimensions[row.dimension_id].labels)
        items.append((row.dimension_id, garbled(row.prompt, source), garbled(row.text, source), label))
    return [
        LabelledItem(number, f"L{number}", dimension, prompt, text, label, Origin.IMPORT, "", content_hash(dimension, prompt, text))
        for number, (dimension, prompt, text, label) in enumerate(items, start=1)
    ]


def hit_rates(prompts: Sequence[str], texts: Sequence[str], library: Sequence[str], embedder_name: str) -> str:
    """Return how often a prompt's nearest text is its own, among all texts and among random subsets."""
    embedder = make_embedder(embedder_name)
    embedder.fit(library)
    similarity = embedder.embed(prompts) @ embedder.embed(texts).T
    size = min(SUBSET, len(texts))
    first = float((similarity[:size, :size].argmax(axis=1) == np.arange(size)).mean())
    rates = []
    for seed in range(SUBSETS):
        chosen = np.random.default_rng(seed).choice(len(texts), size, replace=False)
        rates.append(float((similarity[np.ix_(chosen, chosen)].argmax(axis=1) == np.arange(size)).mean()))
    whole = float((similarity.argmax(axis=1) == np.arange(len(texts))).mean())
    return (
        f"first {size}: {first:.3f}; {SUBSETS} random {size}: mean {np.mean(rates):.3f}, lowest {min(rates):.3f}, "
        f"highest {max(rates):.3f}; all {len(texts)}: {whole:.3f}"
    )


def print_hits(sheet: Sequence[Item], library: Sequence[LabelledItem], embedder: str) -> None:
    """Print topic-to-text retrieval with the weights learned from different libraries."""
    rows = [item for item in sheet if item.dimension_id == TOPIC_DIMENSION and item.prompt and item.text]
    prompts, texts = [row.prompt for row in rows], [row.text for row in rows]
    given = [item.text for item in library]
    print("\ntopic to text, hit@1 (query: prompt; candidates: texts; cosine of embed())")
    print(f"  weights from the texts searched   {hit_rates(prompts, texts, texts, embedder)}")
    print(f"  weights from the library given    {hit_rates(prompts, texts, given, embedder)}")
    print(f"  weights from nothing (no library) {hit_rates(prompts, texts, [], embedder)}")


def print_families(sheet: Sequence[Item], library: Sequence[LabelledItem]) -> None:
    """Print speed of the family index and how many near-duplicates sheet and library share."""
    texts = [item.text for item in library]
    queries = [item.text for item in sheet if len(item.text) > SUBSET]
    build = measured(lambda: FamilyIndex(texts), 3)
    index = FamilyIndex(texts)
    match = measured(lambda: index.matches(queries), 3)
    shared = sum(bool(near) for near in index.matches(queries))
    families = len(set(family_ids([*texts, *queries])))
    print("\nnear-duplicate families")
    print(f"  build  {build.rate(len(texts))}\n  match  {match.rate(len(queries))}")
    print(f"  {shared} of {len(queries)} long sheet texts have kin in the library")
    print(f"  {len(texts) + len(queries)} texts are {families} families")


def print_speed(
    sheet: Sequence[Item], library: Sequence[LabelledItem], options: argparse.Namespace, dimensions: dict[str, Dimension]
) -> None:
    """Print building, opening, searching and prompt building, each alone and the last two together."""
    builder = PromptBuilder(dimensions, ASSETS / "dimensions")
    texts = [example_text(item.prompt, item.text) for item in sheet]
    with tempfile.TemporaryDirectory() as folder:
        index = ChromaIndex(Path(folder), make_embedder(options.embedder))
        build = measured(lambda: index.rebuild("benchmark", library), 1)

        def open_again() -> None:
            ChromaIndex(Path(folder), make_embedder(options.embedder)).ensure("benchmark", library)

        opening = measured(open_again, options.repeats)
        making = measured(lambda: ExampleRetriever(index, library, dimensions), options.repeats)
        retriever = ExampleRetriever(index, library, dimensions)

        def search(batch: int) -> list[tuple[Example, ...]]:
            batches = (sheet[start : start + batch] for start in range(0, len(sheet), batch))
            return [found for rows in batches for found in retriever.search(rows, options.examples)]

        def prompts(found: Sequence[Sequence[Example]]) -> None:
            for item, examples in zip(sheet, found, strict=True):
                builder.render(item, examples)

        shown = search(options.batch)
        print(f"\nspeed, {len(sheet)} rows against {len(library)} examples, {options.examples} examples a row")
        print(f"  index built    {build.wall:8.2f} s ({build.cpu:.2f} s of processor time)")
        print(f"  index opened   {opening.wall:8.2f} s ({opening.cpu:.2f} s)")
        print(f"  retriever made {making.wall:8.2f} s ({making.cpu:.2f} s)")
        print(f"  embed          {measured(lambda: index.embed(texts), options.repeats).rate(len(sheet))}")
        for batch in (len(sheet), options.batch):
            print(f"  search by {batch:<5}{measured(partial(search, batch), options.repeats).rate(len(sheet))}")
        print(f"  prompts        {measured(lambda: prompts(shown), options.repeats).rate(len(sheet))}")
        both = measured(lambda: prompts(search(options.batch)), options.repeats)
        print(f"  both, by {options.batch:<6}{both.rate(len(sheet))}   target 2,000 rows/s on 2 cores")


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path, default=ASSETS / "samples" / "sheet.xlsx")
    parser.add_argument("--library", type=Path, default=ASSETS / "samples" / "library.xlsx")
    parser.add_argument("--size", type=int, default=3500, help="labelled items that the library is grown to")
    parser.add_argument("--embedder", default="ngram")
    parser.add_argument("--examples", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128, help="rows that are searched together, as in a run")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    dimensions = load_dimensions(ASSETS / "dimensions")
    sheet, labelled = read_items(options.sheet, dimensions), read_items(options.library, dimensions)
    given = grown_library(labelled, sheet, sum(item.gold is not None for item in labelled), dimensions)
    library = grown_library(labelled, sheet, options.size, dimensions)
    print(describe_machine())
    print(
        f"{options.sheet.name}: {len(sheet)} rows of {statistics.mean(len(item.text) for item in sheet):.0f} characters; "
        f"{options.library.name}: {len(given)} labelled, grown to {len(library)}; embedder {options.embedder}"
    )
    print_speed(sheet, library, options, dimensions)
    print_hits(sheet, given, options.embedder)
    print_families(sheet, given)


if __name__ == "__main__":
    main()
