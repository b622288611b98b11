"""Turns about arithmetic, units and dates."""

from aios.bench.tasks.answers import failed, joined, result_is, single
from aios.bench.tasks.play import Answer, Play, Script, Turn

UNITS = {
    "length": (
        "km kilometers",
        "m meters",
        "cm centimeters",
        "mm millimeters",
        "mi miles",
        "ft feet",
        "in inches",
        "yd yards",
    ),
    "mass": ("kg kilograms", "g grams", "mg milligrams", "lb pounds", "oz ounces", "t tonnes"),
    "volume": ("l liters", "ml milliliters", "gal gallons", "cups", "pt pints"),
    "time": ("s seconds", "min minutes", "h hours", "days", "weeks"),
    "speed": ("km/h", "mph", "m/s", "knots"),
    "temperature": ("celsius C", "fahrenheit F", "kelvin K"),
    "area": ("m2", "km2", "ha hectares", "acres", "ft2"),
    "data": ("MB megabytes", "GB gigabytes", "KB kilobytes", "TB terabytes"),
}


def expression(play: Play) -> tuple[str, str]:
    """An expression as the user writes it, and as the calculator gets it."""
    a, b, c = play.number(), play.number(), play.whole(play.pick((1, 2)))
    draw = play.rng.random()
    if draw < 0.1:
        share = play.pick((5, 10, 12, 15, 20, 25, 30, 50, 75, play.whole(2)))
        return f"{share}% of {abs(b)}", f"{share}% of {abs(b)}"
    if draw < 0.16:
        root = play.pick((f"the square root of {abs(a)}", f"sqrt({abs(a)})", f"square root of {abs(a)}"))
        return root, f"sqrt({abs(a)})"
    if draw < 0.22:
        power = play.pick((2, 3, 2))
        base = play.whole(play.pick((1, 2, 3)))
        written = play.pick((f"{base} to the power of {power}", f"{base}^{power}", f"{base} ** {power}"))
        return written, f"{base} ** {power}"
    first, second = play.pick("+-*/"), play.pick("+-*/")
    if draw < 0.65:
        exact = f"{a} {first} {b}"
    elif draw < 0.8:
        exact = f"{a} {first} {b} {second} {c}"
    elif draw < 0.9:
        exact = f"({a} {first} {b}) {second} {c}"
    else:
        exact = f"{c} {second} ({a} {first} {b})"
    written = exact
    if play.chance(0.3):
        written = written.replace(" ", "")
    elif play.chance(0.25):
        for sign, word in (("*", " times "), ("+", " plus "), ("-", " minus "), ("/", " divided by ")):
            written = written.replace(f" {sign} ", word)
    elif play.chance(0.15):
        written = written.replace("*", play.pick("×x")).replace("/", "÷")
    return written, exact


def _compute(expression: str, play: Play, user: str, kind: str = "calc") -> Turn:
    def script() -> Script:
        (result,) = yield [("calculate", {"expression": expression})]
        play.last["value"] = result
        return failed(result) or result_is(result)

    play.last["number"] = True
    return Turn(kind, user, script)


def calc(play: Play) -> Turn:
    draw = play.rng.random()
    if draw < 0.65:
        written, exact = expression(play)
        return _compute(exact, play, play.say("calc", plain=True, e=written))
    if draw < 0.8:
        n, price = play.whole(play.pick((1, 2, 3))), abs(play.number())
        return _compute(
            f"{n} * {price}", play, play.say("calc_price", n=n, p=price, noun=play.pick(play.words.nouns))
        )
    values = [str(abs(play.number())) for _ in range(play.pick((2, 3, 3, 4, 5)))]
    said = joined(values) if play.chance(0.6) else ", ".join(values)
    total = " + ".join(values)
    if draw < 0.9:
        return _compute(f"({total}) / {len(values)}", play, play.say("calc_average", list=said))
    return _compute(total, play, play.say("calc_sum", list=said))


def calc_more(play: Play) -> Turn:
    n = play.whole(play.pick((1, 1, 2, 3)))
    phrase, sign = play.pick(
        (("more_plus", "+"), ("more_minus", "-"), ("more_times", "*"), ("more_over", "/"))
    )
    text = play.say(phrase, plain=True, n=n)

    def script() -> Script:
        value = play.last.get("value", "0")
        (result,) = yield [("calculate", {"expression": f"{value} {sign} {n}"})]
        play.last["value"] = result
        return failed(result) or result_is(result)

    return Turn("calc", text, script)


def units(play: Play) -> Turn:
    kind = play.pick(list(UNITS))
    first, second = play.rng.sample(UNITS[kind], 2)
    a, b = play.pick(first.split()), play.pick(second.split())
    value = play.number() if kind == "temperature" else abs(play.number())
    play.last["units"] = (value, a, [u.split()[0] for u in UNITS[kind] if u not in (first, second)])
    return _convert(play, play.say("units", v=value, a=a, b=b), value, a, b)


def units_more(play: Play) -> Turn:
    value, a, others = play.last["units"]
    b = play.pick(others)
    return _convert(play, play.say("units_more", plain=True, b=b), value, a, b)


def _convert(play: Play, user: str, value: float, a: str, b: str) -> Turn:
    call = ("convert_units", {"value": value, "from_unit": a, "to_unit": b})
    return Turn("units", user, single(call, lambda r: Answer(f"{value} {a} is {r}.", (r.split()[0],))))


def dates(play: Play) -> Turn:
    d, n = play.date(), play.whole(play.pick((1, 2, 2, 3)))
    draw = play.rng.random()
    if draw < 0.3:
        return _dated("add_days", {"date": d, "days": n}, play.say("add_days", d=d, n=n), "The date is {}.")
    if draw < 0.4:
        return _dated("add_days", {"date": d, "days": -n}, play.say("sub_days", d=d, n=n), "The date is {}.")
    if draw < 0.47:
        n = play.rng.randrange(1, 13)
        return _dated(
            "add_days", {"date": d, "days": 7 * n}, play.say("add_weeks", d=d, n=n), "The date is {}."
        )
    if draw < 0.67:
        e = play.date()
        return _dated("days_between", {"start": d, "end": e}, play.say("days_between", d=d, e=e), "It is {}.")
    if draw < 0.9:
        return _dated("weekday", {"date": d}, play.say("weekday", d=d), f"{d} is a {{}}.")
    return _dated("current_time", {}, play.say("now"), "It is {}.", kind="now")


def _dated(tool: str, arguments: dict[str, object], user: str, shape: str, kind: str = "dates") -> Turn:
    return Turn(kind, user, single((tool, arguments), lambda r: Answer(shape.format(r), (r,))))
