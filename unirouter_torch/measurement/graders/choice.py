"""Whether an answer chooses the letter of the reference."""

import re
import unicodedata

from unirouter_torch.measurement.grader import Grader, UngradedError

_ANSWER = (
    "answer|choice|option|letter|correct(?: one| answer| choice| option)?|solution|respuesta|opción|réponse|resposta|"
    "risposta|opzione|antwort|lösung|antwoord|svar|vastaus|odpowiedź|odpověď|válasz|răspuns|cevap|yanıt|jawaban|đáp án|"
    "ответ|відповідь|απάντηση|उत्तर|जवाब|উত্তর|الإجابة|الجواب|إجابة|جواب|پاسخ|תשובה|คำตอบ|答案|答え|回答|解答|正解|正确答案|选项|選項|"
    "选择|選擇|選|选|정답|답"
)
_LINK = (
    "is|are|was|be|should be|would be|must be|has to be|clearly|therefore|thus|then|definitely|probably|option|choice|"
    "letter|the|correct|answer|es|la|el|correcta|est|c'est|è|é|ist|die|richtige|is|er|är|on|jest|to|je|adalah|là|"
    "это|является|ist:|은|는|是|为|為|は|が|選|选"
)
_PICKED = (
    "it is|it's|it must be|it should be|it would be|i(?:'d| would)? (?:choose|pick|select|say|go with|opt for|guess)|"
    "going with|go with|choose|pick|select|selecting|therefore|thus|hence|so|es|ist|est|è|é|"
    "选|選|是"
)
_END = r"(?=\s*(?:\Z|[\n.,;:!?)\]}*。，、]))"
_WORD = r"['’A-Za-z0-9_\u00c0-\u024f]"
_LETTER = rf"[(\[{{]\s*([A-Za-z])\s*[)\]}}]|([A-Z])(?!{_WORD})|([a-z]){_END}"
_HEDGE = re.compile(
    r"\s*[)\]]?\s*(?:/|,|&|\+|\band\b|\bor\b|\boder\b|\bund\b|\by\b|\bo\b|\bet\b|\bou\b|和|或)"
    rf"\s*[(\[]?(?:[B-HJ-Z]|A(?!\s+[a-z]))(?!{_WORD})"
)
_DENIED = re.compile(
    r"(?:\b(?:not|never|eliminate|exclude|rules? out|than|nor|instead of|nicht|не)|n't)\W{0,3}(?:\w+\W+)?\Z|不是?\s*\Z",
    re.IGNORECASE,
)
_REFUTED = re.compile(
    r"\W{0,3}(?:is|are|seems|looks|was)?\s*(?:not\b|n't|wrong|incorrect|false|out\b|impossible)", re.IGNORECASE
)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{\W*([A-Za-z])\W*\}")
_SAID = re.compile(
    rf"(?i:(?<!\w)(?:{_ANSWER}))(?:\W{{1,8}}(?i:{_LINK})(?!\w)|[是为為はが은는])*\W{{0,12}}?(?:{_LETTER})"
)
_RIGHT = re.compile(
    r"(?<!\w)[(\[]?([A-Z])[)\]]?(?:[.):]\s*[^.\n]{0,60}?)?\s+(?i:is|seems|must be|would be)\s+(?i:the\s+)?"
    r"(?i:correct|right|true|best|most)"
)
_FIRST = re.compile(r"\A\W*([A-Za-z])(?:\W*\Z|\s*[).:\]]+(?:\s|(?=\w))|\s+[-–—]+\s|\s*[,;]\s|\s*\n)")
_PICK = re.compile(rf"(?i:(?<!\w)(?:{_PICKED}))(?:\s+(?i:{_LINK})(?!\w))*[\s:]*(?:{_LETTER})")
_LAST_LINE = re.compile(r"^\W*([A-Z])\W*$", re.MULTILINE)
_BRACKETED = re.compile(r"[(\[]\s*([A-Za-z])\s*[)\]]")
_SINGLE = re.compile(rf"(?<!{_WORD})([A-Z])(?!{_WORD})")
_ARTICLE = re.compile(r"\s+(?!(?:and|or|und|oder|et|ou|y|o)\s+\W*[A-Z]\b)[a-z]")
_EMPHASIS = re.compile(r"(?<!\w)_+(\w)_+(?!\w)")
_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mathsf|mathit|textrm|operatorname|mbox)\s*\{\s*([^{}]*?)\s*\}")


class ChoiceGrader(Grader):
    r"""1 if the letter that the answer chooses is that of the reference.

    It is the first of these that is there: the letter in the last ``\boxed{...}``; the last one named as the answer or
    said to be right, in English or another language (``the answer is (C)``, ``Answer: c``, ``C is correct``); the one
    that begins the answer (``B``, ``(b)``, ``B. because``, ``B - Paris``); the last one picked in a sentence (``I think
    it is B.``); the last one alone on a line, or in brackets; the only single capital that there is. Case and width of
    letters do not matter. Two letters (``A or B``) are no choice, and a letter that is denied (``not A``) is none.
    """

    name = "choice"

    def grade(self, prompt: str, answer: str, reference: str) -> float:
        """1 or 0.

        Raises:
            UngradedError: The reference names no letter.
        """
        expected = chosen_letter(reference)
        if expected is None:
            raise UngradedError("no letter in the reference")
        return float(chosen_letter(answer) == expected)


def chosen_letter(text: str) -> str | None:
    """The letter that a text chooses, as :class:`ChoiceGrader` says; None where it chooses none."""
    text = unicodedata.normalize("NFKC", text)
    text = _EMPHASIS.sub(r"\1", _LATEX.sub(r"\1", _LATEX.sub(r"\1", text)))
    text = text.replace("$", "").replace("**", "").replace("__", "").replace("`", "")
    for pattern in (_BOXED, (_SAID, _RIGHT), _FIRST, _PICK, _LAST_LINE, _BRACKETED):
        patterns = pattern if isinstance(pattern, tuple) else (pattern,)
        found = [match for one in patterns for match in one.finditer(text) if _is_meant(match, text)]
        if found:
            last = max(found, key=lambda match: match.start(match.lastindex or 0))
            return None if _HEDGE.match(text, last.end(last.lastindex or 0)) else _letter(last)
    return _only_letter(text)


def _letter(found: re.Match[str]) -> str:
    return str(found[found.lastindex or 0]).upper()


def _is_meant(found: re.Match[str], text: str) -> bool:
    """Whether a letter is neither the word I or a, nor denied."""
    begin, end = found.span(found.lastindex or 0)
    letter, behind = text[begin:end], text[end:]
    if letter in "Ii" and _ARTICLE.match(behind):
        return False
    return not (_DENIED.search(text[max(0, begin - 24) : begin]) or _REFUTED.match(behind))


def _only_letter(text: str) -> str | None:
    """The only capital that is a word by itself, where it is no article or pronoun."""
    found = [match for match in _SINGLE.finditer(text) if _is_meant(match, text)]
    letters = {match[1] for match in found if not (match[1] in "AI" and _ARTICLE.match(text, match.end()))}
    return letters.pop() if len(letters) == 1 else None
