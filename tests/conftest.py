"""What all tests share: JAX's compilation cache, and both precisions."""

from __future__ import annotations

import gc
import os
import re
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


# Repeats of what a like method, the other precision or another shape shows, too:
# `make thorough` runs them, and so does the CI, so that `make test` stays short.
THOROUGH = [
    r"test_laws_bounds.*stays_within.*\[(?!lm-|pg-|lbfgs-)\w.*-(linear|decay)\]",
    r"test_laws_bounds.*by_optimality.*float64",
    r"\[(bfgs|lbfgs|dogleg|orthogonal|flat|half|from-data)-(square|wide|tall)",
    r"\[matrix-free-(square|wide|tall)",
    r"\[\w+-(wide|tall)-float32",
    r"test_laws_regularized_derivatives.*\[(laplacian|without|identity-3)",
    r"test_laws_reverse_only.*test_the_step_is",
    r"never_doubted.*float64",
    r"interrupt_ends_it\[15\]",
    r"copied_does_the_same\[(rules|options)",
    r"test_scipy.*(float64|BFGS|CG|TNC|dogbox)",
    r"test_laws_broyden.*0\.3",
    r"radius.*float64",
    r"step_as_they_do_in_optimistix\[(DFP|Optax|BestSoFar|Nonlinear)",
    r"step_as_they_do_in_optimistix\[(Gradient|Indirect)",
    r"cut_off_comes.*\[(noisy|lbfgs|adam)",
    r"goes_as_it_would_alone\[(gn|noisy)",
    r"test_laws_minima.*\[(half|linearized|fitted|damped|regularized)",
    r"test_laws_minima.*\[(default|numerical)-gradient",
    r"test_laws_fixed_points.*\[(?!numerical|linearized)\w",
    r"test_each_answer.*\[(inverse_stuck|inverse_local|isolated_start)\]",
    r"test_each_answer.*\[(nearly_orthogonal|not_nearest|loss_raises)\]",
    r"test_each_answer.*\[(noise_too_high|near_edge|badly_scaled)\]",
    r"test_laws_continuation.*(float32|bicgstab|cg, |lsmr, wide)",
    r"derivatives_keep_what_z.*wide",
    r"test_laws_spectral_derivatives.*(float32|half)",
    r"never_rises.*float32",
    r"test_laws_many.*(float64|\[lbfgs\])",
    r"test_laws_(ladder|regularized|least_squares|acceptance).*float32",
    r"test_laws_(round_trips|newton_steps).*float32",
    r"of_their_own_size",
    r"fits_of_many_data_scatter.*float32",
    r"full_step_of_any_loss.*float64",
    r"test_laws_bounds.*\[pg-rosenbrock",
    r"test_laws_runs.*(\[numerical|smaller_side)",
    r"it_can_be_drawn\[(burgers|navier|heat-initial|darcy)",
    r"test_laws_simulators.*\[(burgers|navier|kuramoto|korteweg)",
    r"e2e/test_(page|report)(?!.*(first_view|shows_the_runs_offline))",
    r"e2e/test_server.*(what_is_exported|an_objective_of)",
    r"test_laws_acceptance.*(inside_of_jit_and_grad|that_shortens_steps\[Mono)",
    r"test_laws_acceptance.*(of_a_tall_problem|leads_uphill|one_by_one)",
    r"test_explorer.*(small_problems_open.*\[(exp|sin)|it_says\[Noisy)",
    r"test_explorer_page.*(not_used_yet|the_same_two|one_entry)",
    r"test_checkpoint.*(killed|\[pg-7)",
    r"test_laws_many.*(two_devices|\[lm-float32|place_or_company|fails_changes)",
    r"test_laws_bounds.*\[(pg-decay|lm-decay|lbfgs-decay)",
    r"test_laws_regularized_derivatives.*(8-0.0|is_not_fitted)",
    r"test_laws_(continuation|iterate).*(gmres|lsmr, tall|pg-numerical)",
    r"test_laws_(ladder|spectral_derivatives).*(\[(linearized|numerical)|method0)",
    r"test_(doctor.py|bad_inverses).*float32",
    r"test_laws_bijections.*float64",
    r"laws_simulators.*\[(?!diffusion|exp|pendulum|planar_arm-|poisson)\w+-float32",
    r"test_problems.*\[(navier|burgers|kdv|darcy|kepler|poisson|heat-source)",
    r"test_problems.*\[(oscillators|pendulum|wave|conductivity)",
    r"beyond_the_horizon",
    r"test_page.*(ten_visitors|bad_formulas|from_key_to_picture)",
    r"python_that_is_copied_does_the_same\[(formulas|methods)",
    r"test_(bounds_that_are_not_active|equal_bounds_fix)",
    r"saddle_is_left_within_bounds",
    r"fits_of_many_data_scatter.*float64",
    r"test_laws_simulators.*\[(kuramoto|navier|cart|driven|quantum|korteweg)",
    r"test_training.*(\[20\]|learns\[(?!two-scale-toy-lm)|bits\[(adam|half))",
    r"test_laws_training.*two_devices",
    r"physical_loss.*ways_through_jax.*drop-in",
    r"alone\[lbfgs-float32",
    r"test_laws_continuation.*(derivatives_without_a_j|shows_nothing|rank-deficient)",
    r"test_laws_diagonal.*chains_go_to_theirs",
    r"test_laws_least_squares.*(one_for_all_methods\[pg|can_be_differentiated)",
    r"test_laws_ladder.*(lower_rung_changes_no_bit|rule_that_served\[half)",
    r"comes_to_the_same_bits\[pg-1\]",
    r"test_laws_iterate.*(formula_without_derivatives|coefficients\[pg-linear)",
    r"by_optimality_in_both.*rosenbrock",
    r"test_explorer.*smaller_loss_is_not",
    r"test_laws_acceptance.*(next_rung_serves|shortens_steps\[TrustRegion)",
    r"test_laws_flows.*second_order",
    r"test_laws_broyden.*(remembers_its_own|may_be_shortened)",
    r"test_laws_many.*any_size\[1",
    r"test_training.*(finite_steps\[(?!lm|adam|physical\])|names_of_experiments)",
    r"cli/test_train.*goes_on_with",
    r"test_training_physics.*quantum",
    r"z_is_of_the_kind_of_x\[(?!diffusion_2d|pendulum)",
    r"ends_where_bounds_hold_it\[(trust-region-rosen|lbfgs-linear|lm-rosen)",
    r"test_laws_(diagonal|fixed_points|branches|refined|broyden|results).*float32",
    r"another_process.*float32",
    r"affine_simulator_is_newtons\[regularized",
    r"from_equal_entries.*\[(relative|transposed|damped)",
    r"derivative_of_central_differences\[(tall|\w+-(one|deficient))",
    r"no_false_alarm\[(wide|deficient)",
    r"test_each_answer.*\[(more_z|branch_jump|not_deterministic)",
    r"the_same_bits\[lm-7",
    r"test_scipy.*(stop_ends_it|iterates_are).*Powell",
    r"scipys_bounded_solution\[pg",
    r"points_pulled_back.*(tall|wide)",
    r"chained_problems_end.*default-newton",
    r"differences_serve.*\[numerical",
    r"damped_step_for_its_tau.*(gradient|laplacian)",
    r"any_number_of_entries\[-1",
    r"physical_step_reaches\[float64-(exact-wide|linearized)",
    r"preset_does_what_it_says\[(Singular|Step)",
    r"what_it_raises_comes_back.*another",
    r"above_a_gib.*(relative|linearized|Gauss)",
    r"optimistix_solvers_step.*(NelderMead|\[BFGS|Dogleg)",
    r"plateau_is_not_taken.*(sigmoid|tanh)",
    r"test_server.*exit_2\[arguments3",
    r"derivative_of_central_differences\[wide",
    r"ends_where_bounds_hold_it\[(lbfgs-rosen|lm-linear)",
    r"affine_simulator_is_newtons\[numerical-(tall|wide)",
    r"is_known_to_the_loss.*\[(heat-initial|arm)",
    r"test_explorer.*small_problems_open",
    r"finer_grid_shows",
    r"test_laws_bounds.*(trees_and_bounds|covariance_is_that)",
    r"test_laws_reverse_only.*chain_hands",
    r"test_laws_regularized.*bent_simulators",
    r"test_laws_diagonal.*(is_filtered_as.*\[0|derivatives_of_a_step)",
    r"test_laws_regularized_derivatives.*where_x_stays",
    r"test_laws_iterate.*close_over.*\[numerical-float64",
    r"test_scipy.*equal_are_not_shown\[SLSQP",
    r"test_explorer_page.*without_a_size",
    r"test_laws_(parameter_steps|physical_loss|learned).*float32",
    r"physical_step_reaches\[.*(half|transposed|regularized|tall|numerical-square)",
    r"test_laws_simulators.*\[(spatial_arm_7|seen_orbit|darcy)",
    r"test_laws_training_transforms.*(float32|large|numerical)",
    r"test_(training_faults.*numbers\[3|train_faults.*an_interrupt)",
    r"test_bad_training.*\[(float32|\w+-(numerical|half|default-drop)|gauss|half-)",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(re.search(pattern, item.nodeid) for pattern in THOROUGH):
            item.add_marker("thorough")


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
