"""The experiments: networks to be trained through physics, one file each."""

from __future__ import annotations

from collections.abc import Callable

from physgrad.train.experiment import Experiment
from physgrad.train.experiments.cart_pole_swing import cart_pole_swing
from physgrad.train.experiments.conductivity_inverse import conductivity_inverse
from physgrad.train.experiments.heat_inversion import heat
from physgrad.train.experiments.oscillators import (
    linear_oscillators,
    nonlinear_oscillators,
)
from physgrad.train.experiments.poisson_source import poisson
from physgrad.train.experiments.quantum_dipole_control import quantum_dipole
from physgrad.train.experiments.sine_map_inversion import sine_map_inversion
from physgrad.train.experiments.two_scale_toy import two_scale_toy
from physgrad.training_names import experiment_card

MAKERS: dict[str, Callable[..., Experiment]] = {
    "two-scale-toy": two_scale_toy,
    "linear-oscillators": linear_oscillators,
    "nonlinear-oscillators": nonlinear_oscillators,
    "sine-map": sine_map_inversion,
    "poisson": poisson,
    "heat": heat,
    "quantum-dipole": quantum_dipole,
    "conductivity": conductivity_inverse,
    "cart-pole": cart_pole_swing,
}


def named_experiment(name: str) -> Experiment:
    """An experiment by its name (`ValueError` with the nearest match).

    >>> named_experiment("two-scale-toy").name
    'two-scale-toy'
    """
    experiment_card(name)
    return MAKERS[name]()
