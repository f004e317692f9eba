"""What all tests share: JAX's compilation cache, and both precisions."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

# Workers compile the same small programs; let each be compiled once.
CACHE = Path(__file__).parents[1] / ".cache" / "jax"
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest):
    """Each dtype in turn, with JAX's x64 switch on for float64."""
    wide = request.param == "float64"
    with jax.enable_x64(wide):
        yield jnp.dtype(request.param)
