"""Units of measure and the conversions between them."""

from aios.abi.errors import InvalidArgument
from aios.drivers.calculator import format_number

_LINEAR: dict[str, dict[str, float]] = {
    "length": {
        "m meter metre": 1.0,
        "km kilometer kilometre": 1000.0,
        "cm centimeter centimetre": 0.01,
        "mm millimeter millimetre": 0.001,
        "mi mile": 1609.344,
        "yd yard": 0.9144,
        "ft foot feet": 0.3048,
        "in inch inches": 0.0254,
        "nmi nautical_mile": 1852.0,
    },
    "mass": {
        "kg kilogram": 1.0,
        "g gram": 0.001,
        "mg milligram": 1e-6,
        "t tonne": 1000.0,
        "lb lbs pound": 0.45359237,
        "oz ounce": 0.028349523125,
        "st stone": 6.35029318,
    },
    "volume": {
        "l liter litre": 1.0,
        "ml milliliter millilitre": 0.001,
        "m3 cubic_meter cubic_metre": 1000.0,
        "gal gallon": 3.785411784,
        "qt quart": 0.946352946,
        "pt pint": 0.473176473,
        "cup": 0.2365882365,
        "floz fl_oz fluid_ounce": 0.0295735295625,
    },
    "time": {
        "s sec second": 1.0,
        "ms millisecond": 0.001,
        "min minute": 60.0,
        "h hr hour": 3600.0,
        "d day": 86400.0,
        "wk week": 604800.0,
    },
    "speed": {
        "m/s meters_per_second": 1.0,
        "km/h kmh kph kilometers_per_hour": 1 / 3.6,
        "mph miles_per_hour": 0.44704,
        "kn knot": 1852 / 3600,
        "ft/s": 0.3048,
    },
    "area": {
        "m2 square_meter square_metre": 1.0,
        "km2 square_kilometer square_kilometre": 1e6,
        "ha hectare": 1e4,
        "acre": 4046.8564224,
        "ft2 square_foot square_feet": 0.09290304,
        "mi2 square_mile": 2589988.110336,
    },
    "data": {
        "b byte": 1.0,
        "kb kilobyte": 1e3,
        "mb megabyte": 1e6,
        "gb gigabyte": 1e9,
        "tb terabyte": 1e12,
        "kib kibibyte": 1024.0,
        "mib mebibyte": 1024.0**2,
        "gib gibibyte": 1024.0**3,
        "tib tebibyte": 1024.0**4,
    },
}
_TEMPERATURE = {"c": "c", "celsius": "c", "f": "f", "fahrenheit": "f", "k": "k", "kelvin": "k"}
_UNITS = {
    name: (kind, factor)
    for kind, units in _LINEAR.items()
    for names, factor in units.items()
    for name in names.split()
}


def convert(value: float, from_unit: str, to_unit: str) -> str:
    """`value` of one unit in another, such as `12.5 km`. Names and symbols, singular or plural.

    Raises `InvalidArgument` for a unit that is not known and for two that do not measure the same.
    """
    (kind, factor), (to_kind, to_factor) = _find(from_unit), _find(to_unit)
    if kind != to_kind:
        raise InvalidArgument(f"{from_unit} is {kind} and {to_unit} is {to_kind}: they do not convert")
    try:
        if kind == "temperature":
            converted = _to_temperature(_to_kelvin(value, _name(from_unit)), _name(to_unit))
        else:
            converted = value * factor / to_factor
        return f"{format_number(float(f'{converted:.8g}'))} {to_unit}"
    except OverflowError:
        raise InvalidArgument(f"{value} {from_unit} is too large to convert") from None


def _name(unit: str) -> str:
    text = unit.strip().lower().lstrip("°").replace("²", "2").replace("³", "3").replace(" ", "_")
    for name in (text, text.removesuffix("s"), text.removesuffix("es")):
        if name in _UNITS or name in _TEMPERATURE:
            return _TEMPERATURE.get(name, name)
    # In the plural of "square meter" and "mile per hour" the s is not at the end.
    return text.replace("miles_per", "mile_per").replace("mile_per", "miles_per")


def _find(unit: str) -> tuple[str, float]:
    name = _name(unit)
    if name in _TEMPERATURE:
        return "temperature", 1.0
    if name not in _UNITS:
        raise InvalidArgument(f"'{unit}' is not a unit known here")
    return _UNITS[name]


def _to_kelvin(value: float, scale: str) -> float:
    return {"c": value + 273.15, "f": (value + 459.67) / 1.8, "k": value}[scale]


def _to_temperature(kelvin: float, scale: str) -> float:
    return {"c": kelvin - 273.15, "f": kelvin * 1.8 - 459.67, "k": kelvin}[scale]
