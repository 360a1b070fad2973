"""Independent pieces of work in threads; what they compute does not depend on the number of these.

NumPy, SciPy and the engines release Python's lock in long operations.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> list[Result]:
    """Call a function with each item; return the results in the order of the items.

    Parameters
    ----------
    function : callable
        Takes one item.
    items : iterable
    threads : int
        With one, the calls follow each other and the first failure ends them.

    Returns
    -------
    list

    Raises
    ------
    Exception
        That of the first item, in their order, for which the function fails.

    Examples
    --------
    >>> map_in_threads(len, ["one", "three"], threads=2)
    [3, 5]
    """
    if threads < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def call_in_threads(pieces: Iterable[Callable[[], Any]], threads: int) -> list[Any]:
    """Call functions without arguments, as :func:`map_in_threads` calls one function.

    Examples
    --------
    >>> call_in_threads([lambda: 1, lambda: "a"], threads=2)
    [1, 'a']
    """
    return map_in_threads(lambda piece: piece(), pieces, threads)
