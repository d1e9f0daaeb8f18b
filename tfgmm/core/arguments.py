"""Check the types of the arguments of public functions: a wrong one is an error in one line."""

import builtins
import collections.abc
import functools
import inspect
import numbers
import re
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from tfgmm.core.errors import UsageError

_T = TypeVar("_T")
#: Number types of annotations, and what is accepted for each: also the numbers of NumPy.
_NUMBERS = {int: numbers.Integral, float: numbers.Real}
_UNIONS = (types.UnionType, typing.Union)


def checked(function: _T) -> _T:
    """Return a function that raises `UsageError` if an argument is not of the annotated type.

    A class gets such public methods and such an ``__init__``. The message calls the expected type what the
    docstring calls it. Arrays and columns of tables pass as sequences, integers as floats; types that are
    imported for type checkers only are not checked.

    Parameters
    ----------
    function : callable or class
        Function, or class, with annotations and a docstring in NumPy style.

    Returns
    -------
    callable or class

    Examples
    --------
    >>> @checked
    ... def double(number: float): return 2 * number
    >>> double("a")
    Traceback (most recent call last):
    tfgmm.core.errors.UsageError: double: number is 'a', expected float
    """
    if isinstance(function, type):
        for name, member in list(vars(function).items()):
            if name.startswith("_") and name != "__init__":
                continue
            if isinstance(member, classmethod):
                setattr(function, name, classmethod(_checked(member.__func__, member.__func__)))
            elif inspect.isfunction(member):
                setattr(function, name, _checked(member, function if name == "__init__" else member))
        return function
    return typing.cast(_T, _checked(typing.cast(Callable, function), function))


def _checked(function: Callable, described: Any) -> Callable:
    """Return the function with a check of its arguments, which a docstring describes, before each call."""
    signature = inspect.signature(function)
    hints = functools.cache(lambda: _hints(function))  # annotations may name classes defined further down

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise UsageError(f"{function.__qualname__}: {error}; it takes {signature}") from error
        for name, value in given.items():
            if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                _check_options(described, value, hints().get(name, Any))
            elif not matches(value, hints().get(name, Any)):
                _refuse(described, name, value, described)
        return function(*args, **kwargs)

    return call


def _check_options(function: Any, options: dict, hint: Any) -> None:
    """Raise `UsageError` for an option that a typed dictionary lacks, or that is of a wrong type."""
    if typing.get_origin(hint) is not typing.Unpack:
        return
    (kind,) = typing.get_args(hint)
    known = typing.get_type_hints(kind)
    for option, value in options.items():
        if option not in known:
            named = ", ".join([*[*inspect.signature(function).parameters][:-1], *known])
            raise UsageError(f"{function.__qualname__}: there is no {option}: choose one of {named}")
        if not matches(value, known[option]):
            _refuse(function, option, value, kind)


def matches(value: object, hint: Any) -> bool:
    """Return True if a value is of an annotated type.

    Parameters
    ----------
    value : object
        The value; an iterator is not consumed, so that its items are not checked.
    hint : type
        The annotation, evaluated.

    Returns
    -------
    bool

    Examples
    --------
    >>> matches([1, 2.5], tuple[float, float]), matches("K01", Iterable[str]), matches(True, int)
    (True, False, False)
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # a number of NumPy, or an array of one number
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind in _UNIONS:
        fits = any(matches(value, part) for part in parts)
    elif kind is typing.Literal:
        fits = isinstance(value, str | int) and value in parts
    elif hint in _NUMBERS:
        fits = isinstance(value, _NUMBERS[hint]) and not isinstance(value, bool)
    elif kind is collections.abc.Callable or hint is Callable:
        fits = callable(value)
    elif isinstance(kind, type) and issubclass(kind, Mapping):
        fits = isinstance(value, Mapping) and all(
            matches(name, parts[0]) and matches(item, parts[1]) for name, item in value.items()
        )
    elif kind is tuple and parts[-1:] != (...,):
        items = list(value) if _is_sequence(value) else [None]
        fits = len(items) == len(parts) and all(map(matches, items, parts))
    elif isinstance(kind, type) and issubclass(kind, Iterable):
        fits = _is_sequence(value) and (
            isinstance(value, Iterator) or all(matches(item, parts[0]) for item in value)
        )
    else:
        fits = hint is Any or not isinstance(hint, type) or isinstance(value, hint)
    return fits


def _is_sequence(value: object) -> typing.TypeGuard[Iterable]:
    """Return True for a list, an array, a column, ...; False for a text, a mapping and a table."""
    other = isinstance(value, str | bytes | Mapping) or getattr(value, "ndim", 1) != 1
    return isinstance(value, Iterable) and not other


def _hints(function: Callable) -> dict[str, Any]:
    """Return the annotations of a function, with `Any` for names that only type checkers know."""

    class Names(dict):
        def __missing__(self, name: str) -> Any:
            return Any

    names = Names(vars(builtins) | function.__globals__)
    return typing.get_type_hints(function, globalns={}, localns=names)


def _refuse(function: Any, name: str, value: object, described: object) -> typing.NoReturn:
    """Raise `UsageError` for an argument; the docstring that describes it says what is expected."""
    text = inspect.getdoc(described) or ""
    found = re.search(rf"^(?:\w+, )*{name}(?:, \w+)* : (.+)$", text, flags=re.MULTILINE)
    simple = value is None or isinstance(value, str | int | float | list | tuple)
    shown = reprlib.repr(value) if simple else f"a {type(value).__name__}"
    parameter = inspect.signature(function).parameters.get(name)
    annotated = inspect.formatannotation(parameter.annotation) if parameter else "another type"
    expected = found[1] if found else annotated
    raise UsageError(f"{function.__qualname__}: {name} is {shown}, expected {expected}")
