"""Ready simulators, each with the best inverse known for it.

Each function here makes a `Simulator`: from the state at the start to that at the end,
from a source, a material or a control to what it makes. Its docstring says in units and
axes what x and z are, and what its inverse can and cannot do.

>>> import physgrad as pg
>>> "diffusion" in pg.simulators.__all__
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from physgrad.results import MissingExtra

if TYPE_CHECKING:
    from physgrad.simulators.advection_equation import advection
    from physgrad.simulators.burgers_equation import burgers
    from physgrad.simulators.cart_pole_motion import cart_pole
    from physgrad.simulators.celestial import n_body, seen_orbit
    from physgrad.simulators.conductivity_field import conductivity
    from physgrad.simulators.darcy_flow import darcy
    from physgrad.simulators.diffusion_equation import diffusion, heating
    from physgrad.simulators.kdv_equation import korteweg_de_vries
    from physgrad.simulators.ks_equation import kuramoto_sivashinsky
    from physgrad.simulators.navier_stokes_equation import navier_stokes
    from physgrad.simulators.oscillators import driven_oscillators, oscillator_chain
    from physgrad.simulators.pendulum_motion import driven_pendulum, pendulum
    from physgrad.simulators.poisson_equation import poisson
    from physgrad.simulators.quantum_dipole import quantum_control, quantum_motion
    from physgrad.simulators.robot_arm import planar_arm, spatial_arm
    from physgrad.simulators.schroedinger_equation import schroedinger
    from physgrad.simulators.small_maps import (
        affine_map,
        exponential_map,
        polar_map,
        sine_map,
        spiral_map,
    )
    from physgrad.simulators.wave_equation import wave

__all__ = [
    "advection",
    "affine_map",
    "burgers",
    "cart_pole",
    "conductivity",
    "darcy",
    "diffusion",
    "driven_oscillators",
    "driven_pendulum",
    "exponential_map",
    "heating",
    "korteweg_de_vries",
    "kuramoto_sivashinsky",
    "n_body",
    "navier_stokes",
    "oscillator_chain",
    "pendulum",
    "planar_arm",
    "poisson",
    "polar_map",
    "quantum_control",
    "quantum_motion",
    "schroedinger",
    "seen_orbit",
    "sine_map",
    "spatial_arm",
    "spiral_map",
    "wave",
]

_HOME = {
    "advection": "advection_equation",
    "affine_map": "small_maps",
    "burgers": "burgers_equation",
    "cart_pole": "cart_pole_motion",
    "conductivity": "conductivity_field",
    "darcy": "darcy_flow",
    "diffusion": "diffusion_equation",
    "driven_oscillators": "oscillators",
    "driven_pendulum": "pendulum_motion",
    "exponential_map": "small_maps",
    "heating": "diffusion_equation",
    "korteweg_de_vries": "kdv_equation",
    "kuramoto_sivashinsky": "ks_equation",
    "n_body": "celestial",
    "navier_stokes": "navier_stokes_equation",
    "oscillator_chain": "oscillators",
    "pendulum": "pendulum_motion",
    "planar_arm": "robot_arm",
    "poisson": "poisson_equation",
    "polar_map": "small_maps",
    "quantum_control": "quantum_dipole",
    "quantum_motion": "quantum_dipole",
    "schroedinger": "schroedinger_equation",
    "seen_orbit": "celestial",
    "sine_map": "small_maps",
    "spatial_arm": "robot_arm",
    "spiral_map": "small_maps",
    "wave": "wave_equation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'physgrad.simulators' has no attribute {name!r}")
    try:
        home = importlib.import_module(f"physgrad.simulators.{_HOME[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "diffrax":
            raise
        raise MissingExtra("diffrax", "sim", f"simulators.{name}") from error
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
