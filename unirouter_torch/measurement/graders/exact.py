"""Whether an answer is the reference."""

from unirouter_torch.measurement.grader import Grader, plain_text


class ExactGrader(Grader):
    """1 if the two are the same text, but for case, spaces, and quotes, brackets and punctuation around it."""

    name = "exact"

    def grade(self, prompt: str, answer: str, reference: str) -> float:
        """1 or 0."""
        return float(plain_text(answer) == plain_text(reference))
