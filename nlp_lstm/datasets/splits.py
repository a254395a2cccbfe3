"""Cut records into parts that share no group, the same way on every machine."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from nlp_lstm.datasets.review_records import LabelledText, Split


def by_group(
    records: Sequence[LabelledText], fraction: float, seed: int
) -> tuple[list[LabelledText], list[LabelledText]]:
    """Hold out a share of the records, whole groups at a time and about the same share of each label.

    >>> reviews = [LabelledText(f"review {i}", i % 2, group=f"film {i // 4}") for i in range(400)]
    >>> rest, held_out = by_group(reviews, 0.1, seed=0)
    >>> len(rest), len(held_out)
    (360, 40)

    A random cut would put reviews of one film on both sides, and the held-out part would flatter the model.

    Args:
        records: What to divide. Its order does not matter to which side a record goes.
        fraction: The share of each label to hold out, 0 to 1. Above 0 each label of two groups or more gets at least
            one record on the held-out side, however small the fraction; few large groups are met only roughly.
        seed: Another seed holds out other groups.

    Returns:
        The rest and the held-out records, each in the order of `records`.
    """
    chosen = held_out_groups(((record.group, record.label) for record in records), fraction, seed)
    rest = [record for record in records if record.group not in chosen]
    held_out = [record for record in records if record.group in chosen]
    return rest, held_out


def held_out_groups(members: Iterable[tuple[str, int | None]], fraction: float, seed: int) -> set[str]:
    """The groups that `by_group` holds out.

    >>> len(held_out_groups([(f"sentence {i // 4}", None) for i in range(400)], 0.1, seed=0))
    10

    Args:
        members: The group and the label of each record, in any order.
        fraction: As in `by_group`.
        seed: As in `by_group`.
    """
    counts: dict[str, Counter[int | None]] = defaultdict(Counter)
    totals: Counter[int | None] = Counter()
    for member_group, member_label in members:
        counts[member_group][member_label] += 1
        totals[member_label] += 1
    missing = {label: max(1, round(fraction * n)) if fraction > 0 else 0 for label, n in totals.items()}

    def order(group: str) -> bytes:
        # `hash` would differ from process to process.
        return hashlib.sha256(f"{seed} {group}".encode("utf-8", "surrogatepass")).digest()

    def farther(group: str) -> int:
        # How much farther from the wanted counts this group would lead.
        return sum(abs(missing[label] - n) - abs(missing[label]) for label, n in counts[group].items())

    chosen: set[str] = set()

    def choose(group: str) -> None:
        chosen.add(group)
        for label, n in counts[group].items():
            missing[label] -= n

    groups = sorted(counts, key=order)
    for group in groups:
        if farther(group) < 0:
            choose(group)
    # Few large groups may all overshoot: then take the least bad, rather than hold out nothing of a label.
    for label in sorted(totals, key=str) if fraction > 0 else ():
        if not any(counts[group][label] for group in chosen):
            fitting = [group for group in groups if 0 < counts[group][label] < totals[label] and group not in chosen]
            if fitting:
                choose(min(fitting, key=farther))
    return chosen


def train_validation_test(
    records: Sequence[LabelledText], *, validation: float, test: float
) -> dict[Split, list[LabelledText]]:
    """Divide the records of a source that has no splits of its own.

    >>> reviews = [LabelledText(f"review {i}", i % 2, group=f"film {i // 4}") for i in range(400)]
    >>> {split: len(part) for split, part in train_validation_test(reviews, validation=0.15, test=0.15).items()}
    {'train': 280, 'validation': 60, 'test': 60}

    There is no seed: the test records of a source are the same for every run, or none of them would be unseen.

    Args:
        records: What to divide; groups stay whole.
        validation: The share of the records for validation.
        test: The share for test.
    """
    rest, test_records = by_group(records, test, seed=0)
    train, validation_records = by_group(rest, validation / (1 - test), seed=0)
    return {"train": train, "validation": validation_records, "test": test_records}


def without_texts_of(records: Iterable[LabelledText], others: Iterable[LabelledText]) -> list[LabelledText]:
    """The records whose text, stripped, is none of the others' texts.

    >>> unlabelled = [LabelledText("Seen.", None, "a"), LabelledText("New.", None, "b")]
    >>> without_texts_of(unlabelled, [LabelledText("Seen. ", 1, "c")])
    [LabelledText(text='New.', label=None, group='b')]
    """
    texts = {other.text.strip() for other in others}
    return [record for record in records if record.text.strip() not in texts]
