"""The doctor is neither fooled nor does it cry wolf: cases that are easily mistaken."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
from families import square, square_root
from patients import analytic

import physgrad as pg
from physgrad.doctor.entries import in_words, leaves_of
from physgrad.inverses.certificate import certificate_tolerance, certify

IDENTITY = lambda z: z  # noqa: E731


def with_slope(forward, slope):
    """A map that says of its derivative what `slope(x, t)` says."""
    lying = jax.custom_jvp(forward)
    lying.defjvp(lambda x, t: (lying(*x), slope(*x, *t)))
    return lying


def two_units(x):
    return {"big": 1e9 * x["p"], "small": LYING_PART(x["q"])}


LYING_PART = with_slope(lambda q: 2 * q, lambda q, t: 10 * t)
PAIR = {"p": np.ones(2), "q": np.ones(2)}
WRONG_SLOPES = {
    # the map, x0, how far off the derivative is
    "exchanged columns": (
        with_slope(lambda x: 1.0 * x, lambda x, t: t[::-1]),
        np.ones(2),
        None,
    ),
    "small leaf": (two_units, PAIR, 0.8),
    "small entry": (
        with_slope(lambda x: 1.0 * x, lambda x, t: t * jnp.array([1.0, 3.0])),
        np.array([1e6, 0.1]),
        2 / 3,
    ),
}


@pytest.mark.parametrize("name", WRONG_SLOPES)
def test_a_wrong_derivative_is_seen_whatever_stands_beside_it(name):
    forward, x0, relative = WRONG_SLOPES[name]
    x0 = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), x0)
    report = pg.check(forward, x0, samples=1)
    assert not report.ok and report.diagnosis[0] == "wrong_derivative", str(report)
    assert report.derivative is not None
    worst = report.derivative.worst
    assert worst is not None
    assert relative is None or np.isclose(worst.relative, relative, rtol=1e-2)


RIGHT_SLOPES = {
    "no slope": (lambda x: (x - 1) ** 3, (1.0, 2.0)),
    "kink": (jnp.abs, (0.0, 1.0)),
    "coarse entry": (
        lambda x: jnp.fft.ifft(jnp.fft.fft(x)).real.astype(x.dtype),
        (1e6, 0.1, 0.3, 0.4, 1.0, 2.0),
    ),
    "cancelled": (lambda x: (x + 1e4) - 1e4, (1.0, 0.1)),
    "steep": (lambda x: jnp.exp(20 * x), (1.0, -1.0)),
}


@pytest.mark.parametrize("name", RIGHT_SLOPES)
def test_a_derivative_of_jax_is_never_doubted(name, dtype):
    forward, x0 = RIGHT_SLOPES[name]
    report = pg.check(forward, jnp.array(x0, dtype), samples=1)
    assert report.derivative is not None and report.derivative.worst is None


def in_the_box(x):
    return jnp.where(jnp.all(x <= 1), x, jnp.nan)


def test_an_inverse_is_tried_where_few_points_are_finite():
    report = pg.check(analytic(in_the_box, lambda z: 5 * z - 4), jnp.ones(30))
    assert not report.ok and report.diagnosis[0] == "inverse_misses"
    assert pg.check(analytic(in_the_box, IDENTITY), jnp.ones(30)).ok


def test_no_inverse_is_praised_that_was_not_tried(monkeypatch):
    monkeypatch.setattr("physgrad.doctor.subject.PATIENCE", 0.0)
    report = pg.check(analytic(square, square_root), jnp.array([3.0, 3.0]))
    assert report.diagnosis == ("fine",) and "not tried" in report.findings[0].words
    numerical = pg.check(square, jnp.array([3.0, 3.0]))
    assert "numerical_inverse" not in numerical.diagnosis


@jax.custom_vjp
def only_reverse(x):
    return square(x)


only_reverse.defvjp(lambda x: jax.vjp(square, x), lambda back, g: back(g))


def test_a_solver_that_raises_has_found_nothing():
    rule = pg.NumericalInverse(solver=optimistix.LevenbergMarquardt(1e-4, 1e-6))
    report = pg.check(pg.Simulator(only_reverse, rule), jnp.array([1.0, 2.0]))
    if report.diagnosis[0] == "inverse_raises":
        assert "numerical_inverse" not in report.diagnosis
        assert "AnalyticInverse(f)" in report.recommendation
    trips = report.round_trips
    found = trips is not None and sum(ring.held for ring in trips.rings) > 0
    assert found == ("numerical_inverse" in report.diagnosis)


@pytest.mark.parametrize("seen", [1, 2])
def test_a_rule_without_a_promise_is_not_recommended(seen):
    simulator = pg.Simulator(lambda x: x[:seen] ** 3, pg.TransposedInverse())
    report = pg.check(simulator, jnp.array([2.0, 1.0]))
    assert "promises_nothing" in report.diagnosis and report.contraction is not None
    assert report.contraction.physical is None and "PG unknown" in str(report)
    codes = {finding.code for finding in report.findings}
    assert codes == {"PhysicalGradient(step_size=1.0, inverse=NumericalInverse())"}


def moments(x):
    return jnp.stack([jnp.sum(x), jnp.sum(x**2)])


def test_an_entry_that_z_shows_is_never_said_to_be_hidden():
    report = pg.check(moments, jnp.linspace(0.5, 1.5, 300), samples=1)
    assert report.spectrum is not None and len(report.spectrum.unseen) == 3
    for words in report.spectrum.unseen:
        assert words.startswith("a combination of x[") and " other entries" in words
    assert "295 more directions" in report.findings[0].words


def test_what_is_left_out_of_a_direction_is_counted():
    leaves = leaves_of(np.ones(400), "x")
    assert in_words(leaves, np.ones(400)).endswith("and 392 more entries")
    assert in_words(leaves, np.eye(400)[7] + 1e-4) == "x[7]"
    assert "more entries" in in_words(leaves, np.eye(400)[7] + 0.02)


def double(x):
    return 2 * x


def shift(x):
    return x + 1


LINKS = {1: (lambda z: z / 3, lambda z: z - 1), 2: (lambda z: z / 2, lambda z: z - 3)}


@pytest.mark.parametrize("number", LINKS)
def test_the_link_of_a_chain_that_lies_is_named(number):
    back, unshift = LINKS[number]
    chain = pg.Chain(analytic(double, back), analytic(shift, unshift))
    report = pg.check(chain, jnp.array([2.0, 2.0]))
    start = report.at_start
    assert start is not None and start.offender is not None and not report.ok
    assert (
        start.offender.link == f"link {number} of 2, {('double', 'shift')[number - 1]}"
    )
    assert start.offender.leaf == ("z1", "z")[number - 1]
    pulled = unshift(shift(double(2.0)))
    multiple = back(pulled) / 2.0
    assert start.offender.multiple is not None
    assert np.isclose(start.offender.multiple, multiple, rtol=1e-5)
    assert np.isclose(start.distance, abs(multiple - 1) * np.sqrt(8), rtol=1e-5)
    assert f"{multiple:.4g} times what it should be" in report.findings[0].words


def test_links_that_lie_together_are_found_out():
    whole = pg.Chain(analytic(double, IDENTITY), analytic(double, lambda z: z / 4))
    report = pg.check(whole, jnp.array([2.0, 2.0]), samples=1)
    assert not report.ok and "link 1 of 2, double" in report.findings[0].words
    assert "is x0, but not that of each link" in report.findings[0].words


def test_entries_are_certified_one_by_one(dtype):
    lie = analytic(IDENTITY, lambda z: z * jnp.array([1.0, 2.0], z.dtype))
    report = pg.check(lie, jnp.array([1e9, 1e-9], dtype))
    assert not report.ok and "not_nearest" not in report.diagnosis
    assert (
        report.diagnosis[0] == "inverse_misses" and "z[1]" in report.findings[0].words
    )
    if dtype == jnp.float32:  # in float64 its certificate tells, by the leaf
        assert "leaves of their own" in report.recommendation
    truth = pg.check(analytic(IDENTITY, IDENTITY), jnp.array([1e9, 1e-9], dtype))
    assert truth.ok and truth.at_start is not None and truth.at_start.returns_x0


def test_a_small_entry_is_certified_around_x0_too():
    def back(z, x):  # right at x0, whatever it does to the small entry
        return x + (z - x) * jnp.array([1.0, 0.5])

    report = pg.check(analytic(IDENTITY, back), jnp.array([1e9, 1e-9]))
    assert "inverse_misses" in report.diagnosis or "inverse_local" in report.diagnosis


class Other(pg.Inverse):
    """Another root of z = x^2, by a rule that does not look at its own branch."""

    def pull_back(self, forward, z_target, state, metric):
        tolerance = certificate_tolerance(forward, z_target, state, 1e-3)
        x = -jnp.copysign(jnp.sqrt(z_target), state.x)
        return certify(forward, x, z_target, state, tolerance, same_branch=True)


def test_another_preimage_of_a_full_rank_map_is_a_wrong_branch():
    report = pg.check(pg.Simulator(lambda x: x**2, Other()), jnp.array([1.0, 2.0]))
    assert report.diagnosis[0] == "wrong_branch", str(report)


FLAT = {
    "rounded": (analytic(jnp.round, IDENTITY), "PhysicalGradient(step_size=1.0)"),
    "constant": (pg.Simulator(lambda x: 0 * x[:1] + 1), None),
}


@pytest.mark.parametrize("name", FLAT)
def test_no_method_that_needs_slopes_is_recommended_where_there_are_none(name):
    simulator, code = FLAT[name]
    report = pg.check(simulator, jnp.array([1.2, 2.0]))
    assert report.diagnosis[0] == "rank_deficient" and report.code == code
    assert "J is zero" in report.findings[0].words
    assert not any("Linearized" in (f.code or "") for f in report.findings)


@pytest.mark.parametrize("size", [1e-20, 1e-15, 1e15])
def test_a_recommended_learning_rate_can_be_held(size):
    scale = pg.check(analytic(lambda x: size * x, lambda z: z / size), jnp.ones(2))
    codes = [f.code or "" for f in scale.findings]
    for code in [code for code in codes if "rate" in code]:
        eval(code, {"GradientDescent": pg.GradientDescent})
    assert ("nearly_orthogonal" in scale.diagnosis) == (1e-38 < size**-2.0 < 3e38)


@pytest.mark.parametrize("entries", [10, 10_000])
@pytest.mark.parametrize("factor", [1.5, -1.0])
def test_a_wrong_reverse_derivative_is_seen_in_any_number_of_entries(entries, factor):
    @jax.custom_vjp
    def forward(x):
        return jnp.full(entries, jnp.sum(jnp.sin(x)))

    def backward(x, u):
        return (factor * jnp.cos(x) * jnp.sum(u),)

    forward.defvjp(lambda x: (forward(x), x), backward)
    rule = pg.AnalyticInverse(lambda z, x: x)
    report = pg.check(pg.Simulator(forward, rule), jnp.array([0.3, 0.6]))
    assert "wrong_derivative" in report.diagnosis


def test_another_preimage_of_many_entries_is_not_called_near():
    def far(z, x):
        return x + 1000 * jnp.where(jnp.arange(10) == 0, 1.0, 0.0)

    simulator = pg.Simulator(lambda x: x[1:], pg.AnalyticInverse(far))
    report = pg.check(simulator, jnp.arange(1.0, 11.0))
    assert report.at_start is not None
    assert report.at_start.words.startswith(
        "P^-1(P(x0)) is not x0: it differs by 1e+03"
    )
