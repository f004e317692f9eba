"""The directive `commands`: what `physgrad --help` and each command's help print."""

from __future__ import annotations

from click.testing import CliRunner
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from physgrad.cli import commands

WIDTH = "88"


def help_text(*arguments: str) -> str:
    """What the command line answers, as on a terminal 88 columns wide."""
    runner = CliRunner(env={"COLUMNS": WIDTH, "NO_COLOR": "1"})
    answer = runner.invoke(
        commands, [*arguments, "--help"], prog_name="physgrad", terminal_width=88
    )
    if answer.exit_code != 0:
        raise RuntimeError(f"physgrad {arguments} --help failed: {answer.output}")
    return answer.output


class Commands(SphinxDirective):
    """One section for the command itself, and one for each of its commands."""

    def run(self) -> list[nodes.Node]:
        sections: list[nodes.Node] = [self.section("physgrad")]
        sections += [
            self.section(f"physgrad {name}") for name in sorted(commands.commands)
        ]
        return sections

    def section(self, title: str) -> nodes.section:
        section = nodes.section(ids=[nodes.make_id(title)], names=[title])
        section += nodes.title("", "", nodes.literal("", title))
        text = help_text(*title.split()[1:])
        section += nodes.literal_block(text, text, language="text")
        self.state.document.note_explicit_target(section)
        return section


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
