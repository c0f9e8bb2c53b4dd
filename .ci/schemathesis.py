"""What Schemathesis must know of the relay beyond its description. schemathesis.toml names this file."""

from urllib.parse import unquote

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData

# The limits of texts in the description, in bytes of UTF-8: `Id`, `Key`.
LIMITS = (255, 512)


def texts(value):
    """Every text in a JSON value, names of fields too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from texts(name)
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def is_in_between(text):
    """Whether the relay takes a text that its description, which can't count bytes, leaves out.

    The description has a `pattern` that takes ASCII up to the limit and any other text up to a quarter of it, and says so.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    return not text.isascii() and any(size <= limit < 4 * len(text) + 3 for limit in LIMITS)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Drops "accepted what doesn't fit" for requests with such a text, and nothing else."""
    if not isinstance(failure, AcceptedNegativeData):
        return True
    sent = [*map(unquote, texts(case.path_parameters)), *texts(case.body)]
    return not any(map(is_in_between, sent))
