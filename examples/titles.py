"""Words through a pipeline: lower, then title, where "foo" is an error. Three ways to live with it.

python examples/titles.py
"""

from __future__ import annotations

from workermanager import DeadLetter, Pipeline, PipelineFailed, Retry

WORDS = ["HELLO", "pipeline", "FOO", "Bar", "GOOD bye"]


def lower(word: str) -> str:
    """The word in small letters."""
    return word.lower()


def title(word: str) -> str:
    """The word with capitals, as in a title; nobody wants a foo."""
    if word == "foo":
        raise ValueError(f"{word!r} is no word for a title")
    return word.title()


def fail() -> None:
    """By default the first error ends it all, and comes out as the first of a group."""
    try:
        Pipeline(WORDS).stage(lower).stage(title).sink(lambda _word: None).run()
    except PipelineFailed as failed:
        print("failed:", failed.exceptions[0])
        print("of all that was read, it alone failed:", failed.report.failed == 1)


def dead_letter() -> None:
    """With a list for dead letters the rest goes on; each says what failed, where and why."""
    rejected: list[DeadLetter[str]] = []
    titles = Pipeline(WORDS, ordered=True).stage(lower, workers=4)
    for word in titles.stage(title, workers=4, dead_letters=rejected):
        print(word)
    for letter in rejected:
        print(f"{letter.stage} rejected {letter.item!r}: {letter.error}")


def try_again() -> None:
    """A retry helps only against what passes; the dead letter counts the attempts."""
    rejected: list[DeadLetter[str]] = []
    retry = Retry(attempts=3, base=0.001)
    pipeline = Pipeline(WORDS).stage(lower).stage(title, retry=retry, dead_letters=rejected)
    report = pipeline.sink(lambda _word: None).run()
    print(f"tried {rejected[0].attempts} times: {rejected[0].item}")
    print(f"{report.read} read = {report.delivered} delivered + {report.failed} failed")


if __name__ == "__main__":
    fail()
    dead_letter()
    try_again()
