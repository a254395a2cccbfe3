"""The packaged sample: short reviews written for this project, so that everything runs without a download."""

from importlib import resources

from nlp_lstm.datasets import review_table
from nlp_lstm.datasets.review_records import LabelledText, Split
from nlp_lstm.datasets.splits import train_validation_test


def read() -> dict[Split, list[LabelledText]]:
    """The sample as train, validation and test (about 70, 15 and 15 %), no film in two of them.

    >>> sorted(read())
    ['test', 'train', 'validation']
    """
    with resources.files("nlp_lstm.datasets").joinpath("sample_reviews.tsv").open("rb") as stream:
        records = review_table.parse(stream, "sample_reviews.tsv")
    return train_validation_test(records, validation=0.15, test=0.15)
