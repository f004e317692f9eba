"""The HTML around the parts of the page."""

from __future__ import annotations

from bokeh.core.templates import get_env

from physgrad.plot.theme import PART

# Inline scripts are ours and Bokeh's: each gets the nonce of this page, and no other
# script runs. `roots.NAME` are the parts that `page` names.
TEMPLATE = get_env().from_string(
    PART
    + """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" \
content="script-src 'self' 'nonce-{{ nonce }}' 'unsafe-eval'">
<link rel="icon" href="data:,">
<title>{{ title | e }}</title>
{{ bokeh_css | default("", true) }}
{{ bokeh_js | replace("<script", "<script nonce=\\"" ~ nonce ~ "\\"") }}
<style>{{ css }}</style>
</head>
<body>
<header>
<a class="skip" href="#spaces">Skip to the pictures</a>
<button type="button" id="dark-or-light">Dark or light</button>
<h1>physgrad explorer</h1>
<p>The step is taken in z, where it is easy, and mapped back to x:
<code>x+ = P^-1(z - eta H_L^-1 dL/dz)</code></p>
</header>
<div class="message">{{ part("message") }}</div>
<div class="page">
<section class="controls" aria-label="Problem and methods">
{{ part("controls") }}</section>
<main>
<section aria-labelledby="spaces"><h2 id="spaces">The same runs in every space</h2>
<p>Drag the ring: it is the start, in x or in z. Point at an iterate to mark it
everywhere and to take its step apart.</p>
{{ part("spaces") }}</section>
<section aria-labelledby="one-step"><h2 id="one-step">One step taken apart</h2>
{{ part("chosen") }}{{ part("step") }}{{ part("numbers") }}</section>
<section aria-labelledby="ends"><h2 id="ends">Results</h2>
{{ part("ends") }}</section>
<section aria-labelledby="losses"><h2 id="losses">Loss</h2>
{{ part("losses") }}</section>
<section aria-labelledby="iterates"><h2 id="iterates">Every iterate</h2>
{{ part("table") }}</section>
<section aria-labelledby="take"><h2 id="take">Take it away</h2>
{{ part("links") }}{{ part("copy") }}{{ part("code") }}</section>
</main>
</div>
{{ part("kept") }}
{{ plot_script | replace("<script", "<script nonce=\\"" ~ nonce ~ "\\"") }}
<script nonce="{{ nonce }}">{{ script }}</script>
</body>
</html>
"""
)

LAYOUT = """
header p { margin-bottom: 0.2rem; }
header code { white-space: nowrap; }
.message { /* above the page: what it moved would slip from a dragging hand */
  position: fixed; top: 0.5rem; left: 1rem; right: 1rem; z-index: 5;
  max-width: 60rem; margin: 0 auto; pointer-events: none;
}
.page { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0 2rem; }
main h2:first-child { margin-top: 0.6rem; }
@media (min-width: 1000px) {
  .page { grid-template-columns: 22rem minmax(0, 1fr); }
  .controls {
    position: sticky; top: 0.5rem; align-self: start; max-height: 97vh;
    overflow-y: auto; padding-right: 0.5rem;
  }
}
"""
"""Of this page: controls beside the pictures where there is room, else above them."""
