#!/usr/bin/env bash
# Makes sure that MuJoCo can render off screen: installs OpenGL where it may, else says what to install.
# usage: scripts/ensure_opengl.sh [python]
set -u

python=${1:-.venv/bin/python}
debian_packages="libegl1 libgl1-mesa-dri libosmesa6"
failure=

# Renders one picture of a red ball; on failure keeps the last line that Python said.
can_render() {
    failure=$("$python" - 2>&1 >/dev/null <<'EOF'
import mujoco
from gqn_rl.envs.renderer import shared_renderer
from gqn_rl.views import CameraPose

model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><geom size='0.2' rgba='1 0 0 1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
picture = shared_renderer(model, 32, 32).render(model, data, CameraPose.look_at((1.0, 0.0, 0.5), (0.0, 0.0, 0.0)))
assert picture[16, 16, 0] > picture[16, 16, 1], "the rendered ball is not red"
EOF
    ) && return 0
    failure=$(tail -n 1 <<<"$failure")
    return 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_on_debian() {
    command -v apt-get >/dev/null && as_root true 2>/dev/null || return 1
    echo "OpenGL cannot render off screen yet: installing $debian_packages ..."
    as_root apt-get update -qq
    # shellcheck disable=SC2086  # one argument for each package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $debian_packages >/dev/null
}

can_render && exit 0
install_on_debian && can_render && exit 0

cat >&2 <<EOF
MuJoCo cannot render off screen: no OpenGL backend (EGL or OSMesa) works here. Install one, then try again:
  Debian, Ubuntu   sudo apt-get install $debian_packages
  Fedora, RHEL     sudo dnf install mesa-libEGL mesa-dri-drivers mesa-libOSMesa
  Arch             sudo pacman -S mesa
  conda            conda install -c conda-forge mesalib
Where MUJOCO_GL is set, unset it, or set it to egl, osmesa or glfw (it is: ${MUJOCO_GL:-unset}).
What was said: $failure
EOF
exit 1
