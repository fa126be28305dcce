"""MazeNavEnv: find the red ball in a maze seen from within, again and again; a new maze every episode."""

from __future__ import annotations

from typing import Any

import gymnasium
import mujoco
import numpy as np

from gqn_rl.envs.cameras import Camera
from gqn_rl.envs.maze.cameras import EYE_HEIGHT_M, HELDOUT_EYE_HEIGHT_M, Eye
from gqn_rl.envs.maze.motion import Body, free_position
from gqn_rl.envs.maze.panels import SHOWN
from gqn_rl.envs.maze.scene import GOAL, OBJECT_JITTER_M, MazeScene

MOVE_M = 0.3
TURN_RAD = float(np.deg2rad(30.0))
DISCRETE_ACTIONS = {
    "forward": (1.0, 0.0, 0.0),
    "back": (-1.0, 0.0, 0.0),
    "turn_left": (0.0, 0.0, 1.0),
    "turn_right": (0.0, 0.0, -1.0),
    "strafe_left": (0.0, 1.0, 0.0),
    "strafe_right": (0.0, -1.0, 0.0),
}
"""What each discrete action does, by number: forward, strafe to the left, turn to the left, as continuous actions."""
GOAL_DISTANCE_M = 0.4
"""The goal is reached within this distance of its middle."""
NEW_GOAL_DISTANCE_M = 1.5
"""A new goal lies in a cell whose middle is farther than this from the agent."""
ACTIONS_PER_CELL = 30  # an episode's length, for each cell of a side
WINDOW_SIZE = 480
"""Height in pixels of what `render()` returns, and width of each of its two pictures."""


class MazeNavEnv(gymnasium.Env):
    """Navigation in a maze (`gqn_rl/MazeNav-v0`, and by size `gqn_rl/MazeNav-7x7-v0`, `-9x9-`, `-11x11-`).

    The agent is an eye on a body of 0.2 m radius that slides along walls and walks over objects; it moves by kinematics
    worked out on the grid (`maze_motion.py`). Discrete actions are those of `DISCRETE_ACTIONS`; continuous ones are
    [forward, strafe to the left, turn to the left] in [-1, 1], fractions of 0.3 m, 0.3 m and 30°. Turning comes first.
    Coming within 0.4 m of the goal, the only red thing, gives a reward of 1 and moves the goal to another cell.
    Episodes last 30 actions for each cell of a side (210 in 7×7) and are truncated, never terminated. Observations are
    the true state, an entry for each of `observation_names`: metres in the world frame, the goal ahead and to the left
    of the agent, inner cells 1 where wall; `CameraObservation` replaces them by pictures.

    Args:
        cells: inner cells on a side, odd and at least 5; None takes what `scene` says, or 7.
        action: "discrete" or "continuous".
        render_mode: None or "rgb_array".
        scene: keyword arguments of `MazeScene`.

    Attributes:
        cameras: "moving" is the agent's eye, "heldout" the same eye higher up, where no pretraining camera ever is,
            "fixed" sees the whole maze and the agent from above.
    """

    distance_in_metres = True
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        cells: int | None = None,
        action: str = "discrete",
        render_mode: str | None = None,
        scene: dict[str, Any] | None = None,
    ):
        if action not in ("discrete", "continuous"):
            raise ValueError(f"`action` must be 'discrete' or 'continuous', got {action!r}.")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"`render_mode` must be None or 'rgb_array', got {render_mode!r}.")
        scene = dict(scene or {})
        if cells is not None and scene.setdefault("cells", cells) != cells:
            raise ValueError(f"`scene.cells` must be `cells`, {cells}, got {scene['cells']}; leave one of them out.")
        self.render_mode = render_mode
        self.scene = MazeScene(**scene)
        self.model, self.data, self.fovy_deg = self.scene.model, self.scene.data, self.scene.fovy_deg
        self.body = Body()
        self.cameras: dict[str, Camera] = {
            "fixed": self.scene.overhead,
            "moving": Eye(self.body, EYE_HEIGHT_M),
            "heldout": Eye(self.body, HELDOUT_EYE_HEIGHT_M),
        }
        self._mark = self.model.body("agent").mocapid[0]
        self.model.geom_group[[self.model.geom(name).id for name in ("agent_body", "agent_nose")]] = SHOWN
        self._discrete = action == "discrete"
        self.action_space: gymnasium.Space = (
            gymnasium.spaces.Discrete(len(DISCRETE_ACTIONS))
            if self._discrete
            else gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
        )
        self.observation_names = (
            *("agent_x", "agent_y", "sin_heading", "cos_heading", "goal_x", "goal_y", "goal_ahead", "goal_left"),
            *(name for name in self.scene.state_names if name.startswith("wall_")),
        )
        size = len(self.observation_names)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.episode_actions = ACTIONS_PER_CELL * self.scene.cells
        self._num_actions = self._num_goals = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draws a new maze, and puts the agent at a random free place, the goal away from it."""
        super().reset(seed=seed)
        self.scene.sample(self.np_random)
        self.body.position_w = free_position(self.scene.layout, self.np_random)
        self.body.heading_rad = float(self.np_random.uniform(-np.pi, np.pi))
        self._move_goal()
        self._num_actions = self._num_goals = 0
        self._show_agent()
        return self._observation(), self._info(reached=False)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Turns and moves the agent once."""
        fractions = _FRACTIONS[int(action)] if self._discrete else np.clip(action, -1.0, 1.0)
        forward, left, turn = (float(fraction) for fraction in fractions)
        self.body.move(self.scene.layout, forward * MOVE_M, left * MOVE_M, turn * TURN_RAD)
        self._num_actions += 1
        reached = bool(np.linalg.norm(self._to_goal_w()) < GOAL_DISTANCE_M)
        if reached:
            self._num_goals += 1
            self._move_goal()
        self._show_agent()
        info = self._info(reached)
        truncated = self._num_actions >= self.episode_actions
        return self._observation(), info["reward_terms"]["goal"], False, truncated, info

    def _move_goal(self) -> None:
        """Puts the goal into a cell without an object, away from the agent."""
        cells = self.scene.layout.free_cells_w
        others = [place for name, place in self.scene.object_positions_w.items() if name != GOAL]
        taken = np.abs(cells[:, None] - np.array(others)).max(axis=2).min(axis=1) < 0.5
        far = np.linalg.norm(cells - self.body.position_w, axis=1) > NEW_GOAL_DISTANCE_M
        cell = self.np_random.choice(cells[far & ~taken])
        self.scene.place_object(GOAL, cell + self.np_random.uniform(-OBJECT_JITTER_M, OBJECT_JITTER_M, 2))

    def _show_agent(self) -> None:
        """Moves the agent's mark, which only cameras above see, and makes MuJoCo's positions those of the present."""
        half_turn = self.body.heading_rad / 2
        self.data.mocap_pos[self._mark, :2] = self.body.position_w
        self.data.mocap_quat[self._mark] = np.cos(half_turn), 0.0, 0.0, np.sin(half_turn)
        mujoco.mj_kinematics(self.model, self.data)

    def _to_goal_w(self) -> np.ndarray:
        return self.scene.object_positions_w[GOAL] - self.body.position_w

    def _info(self, reached: bool) -> dict[str, Any]:
        """Returns the distance to the present goal in metres, whether any was reached so far, and how many were."""
        return {
            "distance": float(np.linalg.norm(self._to_goal_w())),
            "success": self._num_goals > 0,
            "goals_reached": self._num_goals,
            "reward_terms": {"goal": float(reached)},
        }

    def _observation(self) -> np.ndarray:
        """Returns the true state, float32, in the order of `observation_names`."""
        sin, cos = np.sin(self.body.heading_rad), np.cos(self.body.heading_rad)
        x, y = self._to_goal_w()
        pose = [*self.body.position_w, sin, cos, *self.scene.object_positions_w[GOAL]]
        relative = [x * cos + y * sin, y * cos - x * sin]
        return np.concatenate([pose, relative, self.scene.walls.ravel()]).astype(np.float32)

    def render(self) -> np.ndarray | None:
        """Returns what the agent sees, and beside it the maze from above, uint8 [480, 960, 3]."""
        if self.render_mode is None:
            gymnasium.logger.warn("`render()` needs `render_mode`; pass render_mode='rgb_array' to `gymnasium.make`.")
            return None
        eye = self.scene.render_size(self.cameras["moving"].sample(self.np_random), WINDOW_SIZE, WINDOW_SIZE)
        return np.concatenate([eye, self.scene.top_view(WINDOW_SIZE)], axis=1)

    def close(self) -> None:
        """Lets go of the scene."""
        self.scene.close()


_FRACTIONS = tuple(DISCRETE_ACTIONS.values())
