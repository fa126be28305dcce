"""The command lines that README and docs show, taken out of their Markdown and of the packages' docstrings."""

import ast
import itertools
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("results/**/README.md"))]
GROUPS = tuple(path.name for path in (ROOT / "gqn_rl/configs").iterdir() if path.is_dir())
"""Choices of files, which a reader's "…" cannot stand for."""
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^    ((?:python|torchrun) .*)$", re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_LOOP = re.compile(r"for (\w+) in ([^;]*); do")
_START = re.compile(r"(?:^|\s)(?:python|torchrun\s\S+|\$python)\s+-m (gqn_rl[\w.]*)\s*(.*)")


def shown_commands():
    """Returns every `python -m gqn_rl.…` of pages and module docstrings as (page, module, words), once each."""
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for line in _lines_of_markdown(text):
            _note(found, page, line)
    for module in sorted((ROOT / "gqn_rl").rglob("*.py")):
        docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
        for line in docstring.replace("\\\n", " ").splitlines():
            _note(found, module, line)
    return [(page, *command) for command, page in found.items()]


def _lines_of_markdown(text):
    for language, block in _FENCE.findall(text):
        if language in ("", "sh", "bash", "shell"):
            yield from _lines_of_shell(block)
    prose = _FENCE.sub("", text)
    yield from _INDENTED.findall(prose)
    yield from (" ".join(code.split()) for code in _INLINE.findall(prose))


def _lines_of_shell(block):
    """Joins continued lines, drops comments, and gives a loop's variables each of their values in turn."""
    lines = re.sub(r"\\\n\s*", " ", block).splitlines()
    loops = {name: values.split() for name, values in _LOOP.findall(block)}
    for values in itertools.product(*loops.values()):
        for line in lines:
            for name, value in zip(loops, values, strict=True):
                line = line.replace(f"${name}", value)
            yield line


def _note(found, page, line):
    if match := _START.search(line):
        words = shlex.split(match[2], comments=True)
        found.setdefault((match[1], tuple(words)), str(page.relative_to(ROOT)))


def completed(words):
    """Puts something in the place of what a reader fills in ("…", "<name>"), and leaves out groups left open."""
    words = [word for word in words if not (word.partition("=")[0] in GROUPS and re.search("…|<", word))]
    return [re.sub(r"…|<\w+>", "mine", word) for word in words]
