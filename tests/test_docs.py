"""What README and docs show runs, leads somewhere, and is what the files say."""

import ast
import csv
import functools
import importlib.util
import re
import runpy

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf, open_dict

import gqn_rl
from gqn_rl import cli
from gqn_rl.groups import present_words
from tests.commands import GROUPS, PAGES, ROOT, completed, shown_commands

COMMANDS = shown_commands()


@pytest.fixture(name="composed", scope="module")
def composed_fixture():
    """Returns a function that composes a config as its command line does, and remembers what was asked before."""

    @functools.cache
    def composed(config, overrides):
        cfg = compose(config, present_words(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg

    before = HydraConfig.instance().cfg
    with initialize_config_module("gqn_rl.configs", version_base="1.3", job_name="gqn_rl"):
        yield composed
    HydraConfig.instance().cfg = before


def jobs(words):
    """Returns the overrides of a command's jobs: one, or in a multirun enough for each value between commas."""
    given = OverridesParser.create().parse_overrides([word for word in words if "=" in word])
    swept = {one.key_or_group: list(one.sweep_string_iterator()) for one in given if one.is_sweep_override()}
    fixed = [one.input_line for one in given if not one.is_sweep_override()]
    for job in range(max([1, *map(len, swept.values())])):
        yield fixed + [f"{key}={values[job % len(values)]}" for key, values in swept.items()]


@pytest.mark.parametrize(
    ("page", "module", "words"), COMMANDS, ids=[f"{c[0]}: {c[1]} {' '.join(c[2])}" for c in COMMANDS]
)
def test_every_command_that_is_shown_composes(composed, page, module, words):
    """Its module is there, every setting exists and holds a value of its kind."""
    assert importlib.util.find_spec(module), f"{page} runs {module}, which does not exist."
    config = module.removeprefix("gqn_rl.")
    if not (ROOT / f"gqn_rl/configs/{config}.yaml").exists():
        return
    for overrides in jobs(completed(words)):
        overrides = [word for word in overrides if not word.lstrip("+").startswith("hydra/")]
        groups = [word for word in overrides if word.partition("=")[0] in GROUPS]
        defaults = composed(config, tuple(groups))
        cli.check_types(composed(config, tuple(overrides)), defaults)
        assert OmegaConf.is_config(defaults)


def test_commands_are_found_in_blocks_tables_loops_and_docstrings():
    """At least as many as there are command lines, each of which some page shows; none is cut at a line's end."""
    shown = {module for _, module, _ in COMMANDS}
    configs = {path.stem for path in (ROOT / "gqn_rl/configs").glob("*.yaml")}
    assert {module.removeprefix("gqn_rl.") for module in shown} >= configs | {"doctor", "demo"}
    assert not [words for _, _, words in COMMANDS if "\\" in words]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    """Relative links and pictures exist, and a #fragment is a heading of the page that it names."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        file, _, fragment = target.partition("#")
        other = page if not file else page.parent / file
        assert other.exists(), f"{page.name} links to {target}, which is not there."
        if fragment:
            headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in [_anchor(heading) for heading in headings], f"{page.name} links to {target}."


def _anchor(heading):
    """Returns the fragment that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_script_that_is_shown_exists():
    """`python benchmarks/x.py`, `python -m benchmarks.x`, `studies/x.sh` and `examples/x.py` are files here."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        scripts = re.findall(r"\b((?:benchmarks|examples|studies|scripts)/[\w/]+\.(?:py|sh))", text)
        scripts += [name.replace(".", "/") + ".py" for name in re.findall(r"-m (benchmarks\.\w+)", text)]
        assert not [script for script in scripts if not (ROOT / script).exists()], page.name


GUARDED = [path for path in sorted((ROOT / "examples").glob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", GUARDED, ids=lambda path: path.name)
def test_every_example_finds_what_it_imports_and_says_what_it_does(path, monkeypatch):
    """Without being run: all that it imports from the package is there, and its first lines show how to run it."""
    monkeypatch.syspath_prepend(str(path.parent))
    found = runpy.run_path(str(path), run_name="example")
    assert f"python examples/{path.name}" in found["__doc__"]


def test_the_readmes_quickstart_is_twenty_lines_that_compile():
    """It uses what the package offers by its own name, and nothing else of it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^## Quickstart.*?^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1]
    assert len(block.splitlines()) <= 20
    tree = ast.parse(block)
    names = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "gqn_rl"
    }
    assert names and names <= set(gqn_rl.__all__)


def test_the_readme_is_short():
    """What, why, a quickstart and results; the rest stands behind links."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_the_readmes_table_is_what_its_file_says():
    """Scores and their intervals of r and pixels under every camera, rounded from results/figures/table.csv."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    with (ROOT / "results/figures/table.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["env"], row["agent"]) == ("jaco", "ppo")]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    for row in rows:
        if row["repr"] == "oracle":
            continue
        name = {"gqn": "r", "pixels": "pixels", "random_encoder": "r, untrained (2 directions)"}[row["repr"]]
        final, low, high = (f"{float(row[key]):.0f}" for key in ("final", "final_low", "final_high"))
        start = f"| {row['camera']} | {name} | {final} [{low}, {high}] |"
        (line,) = [line for line in lines if line.startswith(start)]
        if row["repr"] == "gqn":
            bound = int(10 * float(row["gain_on_pixels"])) / 10
            assert line.endswith(
                f"| ≥ {bound} × [{float(row['gain_on_pixels_low']):.1f}, {float(row['gain_on_pixels_high']):.1f}] |"
            )
