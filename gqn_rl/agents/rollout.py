"""Draws what an agent does as an animated GIF: each episode from outside, and below it what the agent sees."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from stable_baselines3.common.vec_env import VecEnv

from gqn_rl.envs.cameras import Camera
from gqn_rl.envs.renderer import DEFAULT_FOVY_DEG, shared_renderer
from gqn_rl.envs.simulation import find_simulation, prepare_picture
from gqn_rl.envs.visual import make_option
from gqn_rl.evaluate import DISTANCE, IN_METRES, Agent, run_episodes
from gqn_rl.runlog import write_atomic

PANEL_PIXELS = 240
FRAME_MS = 100
NUM_COLOURS = 256  # of a frame's palette; with fewer the small bright things lose their colour
AGENTS_PICTURE = "picture"
"""Attribute of `CameraObservation` that holds the last picture."""


def draw_rollout(
    path: pathlib.Path,
    agent: Agent,
    envs: VecEnv,
    seed: int,
    num_shown: int = 3,
    *,
    deterministic: bool = True,
    outside: Camera | str = "",
) -> None:
    """Runs one episode in each environment and draws the first few side by side.

    Args:
        path: the GIF to write.
        agent: chooses the actions.
        envs: environments made with render_mode="rgb_array", unless `outside` is a camera.
        seed: of the first episode.
        num_shown: number of episodes to draw.
        deterministic: as for `run_episodes`.
        outside: a camera that draws MuJoCo environments of this process; a name leaves it to the environments, of
            which Gymnasium's need a display.
    """
    shown = range(min(num_shown, envs.num_envs))
    frames: list[Image.Image] = []

    def draw(infos: Sequence[dict[str, Any]]) -> None:
        if not any("terminal_observation" in infos[i] for i in shown):  # else the next episode is already on stage
            frames.append(_frame(envs, infos, shown, outside))

    run_episodes(agent, envs, envs.num_envs, seed, draw, deterministic=deterministic)
    options = {"save_all": True, "append_images": frames[1:], "duration": FRAME_MS, "loop": 0}
    write_atomic(path, lambda file: frames[0].save(file, format="GIF", **options))


def _frame(envs: VecEnv, infos: Sequence[dict[str, Any]], shown: range, outside: Camera | str) -> Image.Image:
    """Returns the pictures of one moment: from outside, and below them the agent's own where it has one."""
    if isinstance(outside, str):
        rows = [envs.env_method("render", indices=shown)]
    else:
        rows = [[_picture(env, outside) for env in envs.get_attr("unwrapped", indices=shown)]]
    if envs.has_attr(AGENTS_PICTURE):
        rows.append(envs.get_attr(AGENTS_PICTURE, indices=shown))
    sheet = Image.new("RGB", (PANEL_PIXELS * len(shown), PANEL_PIXELS * len(rows)))
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            smooth = Image.Resampling.LANCZOS if len(picture) > PANEL_PIXELS else Image.Resampling.NEAREST
            panel = Image.fromarray(np.asarray(picture)).resize((PANEL_PIXELS, PANEL_PIXELS), smooth)
            sheet.paste(panel, (PANEL_PIXELS * x, PANEL_PIXELS * y))
    for x in shown:
        if DISTANCE in infos[x] and envs.has_attr(IN_METRES):
            text = f"{100 * infos[x][DISTANCE]:.0f} cm"
            ImageDraw.Draw(sheet).text((PANEL_PIXELS * x + 8, 6), text, fill="black", font_size=16)
    return sheet.quantize(NUM_COLOURS, dither=Image.Dither.NONE)


def _picture(env: Any, camera: Camera) -> np.ndarray:
    """Returns what a camera that stands still sees of a MuJoCo environment, uint8 [PANEL_PIXELS, PANEL_PIXELS, 3]."""
    model, data = prepare_picture(find_simulation(env), env)
    pose, fovy_deg = camera.sample(np.random.default_rng(0)), getattr(camera, "fovy_deg", DEFAULT_FOVY_DEG)
    option = make_option(getattr(camera, "visual", None))
    return shared_renderer(model, PANEL_PIXELS, PANEL_PIXELS).render(model, data, pose, fovy_deg, option)
