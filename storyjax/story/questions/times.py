"""Times in questions: "after 2:10", "in the first minute", "between 1:00 and 2:00", "at the end"."""

import re

from storyjax.story.questions.meaning import Window

_NUMBERS: dict[str, float] = {
    word: number
    for number, word in enumerate(
        re.findall(r"\w+", "zero one two three four five six seven eight nine ten eleven twelve")
    )
}
_NUMBERS |= {"a": 1, "an": 1, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "half a": 0.5}
_ORDINALS = {
    word: number
    for number, word in enumerate(
        re.findall(r"\w+", "first second third fourth fifth sixth seventh eighth ninth tenth"), 1
    )
}
ORDINALS = {**_ORDINALS, **{f"{n}{e}": n for n in range(1, 31) for e in ("st", "nd", "rd", "th")}}
_UNITS = {"hour": 3600, "hr": 3600, "h": 3600, "minute": 60, "min": 60, "m": 60, "second": 1, "sec": 1, "s": 1}

_UNIT = r"(?:hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s)"
_NUMBER = r"(?:\d+(?:\.\d+)?|half an?|" + "|".join(sorted((w for w in _NUMBERS if w != "half a"), key=len)[::-1]) + ")"
_CLOCK = r"(?:\d{1,3}:[0-5]\d(?::[0-5]\d)?(?:\.\d+)?)"
_AMOUNT = rf"(?:{_NUMBER}[ -]?{_UNIT}\b(?:(?: and|,)? ?{_NUMBER} ?{_UNIT}\b)*)"
_SECOND_N = r"(?:(?:second|minute)\s(?:number\s)?\d+(?:\.\d+)?)"
_INTO = r"(?: (?:in|into)(?: the (?:film|video|episode|movie))?(?= *(?:[,?.!]|$)))?"
_POINT = rf"(?:the )?(?:{_CLOCK}|{_AMOUNT}|{_SECOND_N}){_INTO}"
_ORDINAL = "(?:" + "|".join(sorted(ORDINALS, key=len)[::-1]) + ")"
# How far "at" and "around" reach, in seconds.
_AT, _AROUND = 1.0, 5.0
_OF_FILM = r"(?: of the (?:film|video|episode|movie|story|clip))?"


def amount(text: str) -> float | None:
    """Returns the seconds of a time in words or as a clock shows it, None if it is none.

    >>> amount("2:10"), amount("2 minutes and 10 seconds"), amount("second 45"), amount("soon")
    (130.0, 130.0, 45.0, None)
    """
    text = re.sub(r"^the ", "", text.strip().lower())
    text = re.sub(r" (in|into)( the \w+)?$", "", text)
    if re.fullmatch(_CLOCK, text):
        total = 0.0
        for part in text.split(":"):
            total = 60 * total + float(part)
        return total
    if re.fullmatch(_SECOND_N, text):
        unit, *_, number = text.split()
        # Minute 3 is the one that begins when two are over.
        return float(number) if unit == "second" else 60 * (float(number) - 1)
    if not re.fullmatch(_AMOUNT, text):
        return None
    parts = re.findall(rf"({_NUMBER})[ -]?({_UNIT})\b", text)
    return float(sum(_number(number) * _UNITS[unit.rstrip("s") or "s"] for number, unit in parts))


def _number(text: str) -> float:
    if text.startswith("half"):
        return 0.5
    return float(_NUMBERS.get(text, 0) or (0 if text in _NUMBERS else text))


def take_windows(text: str) -> tuple[str, list[Window]]:
    """Returns a question without its times, and the times.

    >>> take_windows("who speaks after 2:10 in the garden")
    ('who speaks in the garden', [Window(start=130.0, end=None, fractions=False)])
    """
    found: list[Window] = []

    def take(read):
        def replace(match: re.Match[str]) -> str:
            window = read(match)
            if window is None:
                return match[0]
            found.append(window)
            return " "

        return replace

    for pattern, read in _PATTERNS:
        text = re.sub(pattern, take(read), text, flags=re.IGNORECASE)
    return re.sub(r"\s+([,?.!])", r"\1", re.sub(r"\s{2,}", " ", text)).strip(), found


def _between(match: re.Match[str]) -> Window | None:
    one, other = amount(match[1]), amount(match[2])
    if one is None or other is None:
        return None
    return Window(min(one, other), max(one, other))


def _from(match: re.Match[str]) -> Window | None:
    start = amount(match[1])
    return None if start is None else Window(start, None)


def _until(match: re.Match[str]) -> Window | None:
    end = amount(match[1])
    return None if end is None else Window(None, end)


def _around(reach: float):
    def read(match: re.Match[str]) -> Window | None:
        text = match[1].lower()
        time = amount(text)
        if time is None:
            return None
        if text.removeprefix("the ").startswith("minute"):
            return Window(time, time + 60)
        return Window(max(0.0, time - reach), time + reach)

    return read


def _first(match: re.Match[str]) -> Window | None:
    length = amount(match[1] if re.match(_NUMBER, match[1], re.IGNORECASE) else f"one {match[1]}")
    return None if length is None else Window(None, length)


def _last(match: re.Match[str]) -> Window | None:
    window = _first(match)
    return None if window is None or window.end is None else Window(-window.end, None)


def _nth(match: re.Match[str]) -> Window:
    unit, number = _UNITS[match[2].lower()], ORDINALS[match[1].lower()]
    return Window(unit * (number - 1.0), unit * float(number))


def _part(match: re.Match[str]) -> Window:
    parts = {"half": 2, "third": 3, "quarter": 4}[match[2].lower()]
    word = match[1].lower()
    number = parts if word in ("last", "final") else ORDINALS[word]
    return Window((number - 1) / parts, number / parts, fractions=True)


_IN = r"(?:in|during|within|over|throughout|for)"
_PATTERNS = (
    (rf"\b(?:between|from) ({_POINT}) (?:and|to|until|till|through) ({_POINT})", _between),
    (rf"\b(?:in|at|during) ({_POINT}) ?(?:-|–|to) ?({_POINT})", _between),
    (rf"\b{_IN} the (first|second|third|fourth|last|final) (half|third|quarter){_OF_FILM}\b", _part),
    (rf"\b{_IN} the (?:first|opening|initial) ((?:{_NUMBER} )?{_UNIT}){_OF_FILM}\b", _first),
    (rf"\b{_IN} the (?:last|final|closing) ((?:{_NUMBER} )?{_UNIT}){_OF_FILM}\b", _last),
    (rf"\b(?:in|during) the ({_ORDINAL}) (minute|hour|second){_OF_FILM}\b", _nth),
    (rf"\bfrom ({_POINT}) (?:on(?:wards?)?|onwards?)\b", _from),
    (rf"\b(?:after|past|since|later than|starting at) ({_POINT})", _from),
    (rf"\b(?:before|until|till|up to|earlier than|by) ({_POINT})", _until),
    (rf"\b(?:around|about|near|close to|circa|at about|at around|roughly at) ({_POINT})", _around(_AROUND)),
    (rf"\b(?:exactly at|at|in|on) ({_POINT})", _around(_AT)),
    (
        rf"\b(?:at|in|near) the (?:very )?(?:beginning|start|opening){_OF_FILM}(?! ?\w*ing)",
        lambda _: Window(0, 0.15, True),
    ),
    (rf"\b(?:at|in|near|towards) the (?:very )?end{_OF_FILM}\b", lambda _: Window(0.85, 1.0, True)),
    (rf"\bin the middle{_OF_FILM}\b", lambda _: Window(0.4, 0.6, True)),
)
