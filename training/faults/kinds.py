"""Which faults the injector can make, by the kind that they are marked as."""

from __future__ import annotations

from collections.abc import Mapping

from core.faultmarks import MARK_KINDS, MarkKind
from training.faults import characters, insertions, orders
from training.faults.passage import FaultMaker

MAKERS: Mapping[MarkKind, tuple[FaultMaker, ...]] = {
    MarkKind.PRONOUN: (insertions.push_pronoun, insertions.push_pronoun, insertions.replace_by_pronoun),
    MarkKind.CONNECTIVE: (insertions.open_with_connective, insertions.push_connective, insertions.swap_connective),
    MarkKind.PADDING: (
        insertions.pad_function_word,
        insertions.pad_category,
        insertions.pad_tail,
        insertions.pad_clause,
        insertions.pad_verb,
        insertions.pad_synonym,
        insertions.pad_foreign_word,
    ),
    MarkKind.ORDER: (orders.swap_words, orders.swap_chunks, orders.move_to_end, orders.move_to_front, orders.scramble),
    MarkKind.MISSING: (orders.drop_word, orders.drop_grammar, orders.cut_clause, orders.drop_object),
    MarkKind.REPEATED: (insertions.double_word, insertions.double_phrase, insertions.double_clause),
    MarkKind.TYPO: (characters.homophone, characters.homophone, characters.lookalike, characters.turn_characters),
    MarkKind.WORD: (characters.wrong_word, characters.rival_word),
    MarkKind.PARTICLE: (characters.wrong_particle, characters.push_particle, characters.wrong_measure),
    MarkKind.PUNCTUATION: (characters.wrong_stop, characters.push_stop, characters.wrong_quote, characters.end_early),
}
"""The makers of each kind, each as often as it is to be drawn."""

SHARES: Mapping[MarkKind, float] = {
    MarkKind.PRONOUN: 1.0,
    MarkKind.CONNECTIVE: 1.0,
    MarkKind.PADDING: 3.0,
    MarkKind.ORDER: 3.0,
    MarkKind.MISSING: 2.0,
    MarkKind.REPEATED: 1.0,
    MarkKind.TYPO: 1.0,
    MarkKind.WORD: 1.0,
    MarkKind.PARTICLE: 1.0,
    MarkKind.PUNCTUATION: 1.0,
}
"""How often each kind is made. Padding, order and gaps are what low-scored texts have most of."""

EVEN: Mapping[MarkKind, float] = dict.fromkeys(MARK_KINDS, 1.0)
"""Every kind as often as any other."""
