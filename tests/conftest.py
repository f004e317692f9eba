"""What all tests share: JAX's compilation cache, and both precisions."""

from __future__ import annotations

import gc
import os
from pathlib import Path

# The tests compile far more than they compute: XLA's older code generator for CPUs,
# which the command uses, too, does it in less than half of the time, without optimizing
# in three quarters of that, and in one piece in four fifths of that again. Read when
# JAX first looks for devices.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_backend_optimization_level=0",
        "--xla_cpu_parallel_codegen_split_count=1",
    ]
).strip()

import jax
import jax.numpy as jnp
import pytest

# Tracing makes objects by the million that live long: looking through them less often
# saves an eighth of the time.
gc.set_threshold(100_000, 50, 100)

# Workers compile the same small programs; let each be compiled once.
CACHE = Path(__file__).parents[1] / ".cache" / "jax"
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


@pytest.fixture(autouse=True, scope="module")
def programs_of_a_module():
    """Let go of the programs of each module: thousands of them exhaust the maps of
    memory that a process may have, and XLA then crashes."""
    yield
    jax.clear_caches()


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest):
    """Each dtype in turn, with JAX's x64 switch on for float64."""
    wide = request.param == "float64"
    with jax.enable_x64(wide):
        yield jnp.dtype(request.param)
