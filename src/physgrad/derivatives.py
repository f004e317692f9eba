"""Values that must not be differentiated, where silence would be a wrong number."""

from __future__ import annotations

import functools
from typing import Any

import jax


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def undifferentiable(values: Any, message: str) -> Any:
    """The same values, refused with a message where they are differentiated.

    **Raises:** `NotImplementedError`, when a derivative is taken.

    >>> import jax
    >>> try:
    ...     jax.grad(lambda x: undifferentiable(x, "x is fixed"))(1.0)
    ... except NotImplementedError as error:
    ...     print(error)
    x is fixed
    """
    del message
    return values


@undifferentiable.defjvp
def _refused(message: str, primals: Any, tangents: Any) -> Any:
    del primals, tangents
    raise NotImplementedError(message)
