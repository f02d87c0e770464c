"""Whether a regular expression is found in an answer."""

import re

from unirouter_torch.measurement.grader import Grader, UngradedError


class PatternGrader(Grader):
    """1 if the reference, a regular expression, is found anywhere in the answer; ``^`` and ``$`` match at lines."""

    name = "regex"

    def grade(self, prompt: str, answer: str, reference: str) -> float:
        """1 or 0.

        Raises:
            UngradedError: The reference is no regular expression.
        """
        try:
            return float(re.search(reference, answer, re.MULTILINE) is not None)
        except (re.error, OverflowError, RecursionError):
            raise UngradedError("the reference is no regular expression") from None
