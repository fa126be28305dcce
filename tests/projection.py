"""Where a point of the world lies in a square picture, for tests of scenes."""

import numpy as np


def project(pose, points_w, fovy_deg):
    """Returns where points lie in a picture, [..., 2]: right and up, −1 to 1 inside it; NaN behind the camera."""
    right = np.array([np.sin(pose.yaw_rad), -np.cos(pose.yaw_rad), 0.0])
    up = np.cross(right, pose.forward_w)
    offset = np.asarray(points_w, float) - pose.position_w
    depth = offset @ pose.forward_w
    reach = np.where(depth > 0, depth, np.nan) * np.tan(np.deg2rad(fovy_deg) / 2)
    return np.stack([offset @ right, offset @ up], axis=-1) / reach[..., None]


def pixel(picture, place):
    """Returns the pixel of a picture at a place that `project` returned, float64 [3] in [0, 1]."""
    size = len(picture)
    column, row = np.floor((np.array(place) * (1, -1) + 1) / 2 * size).astype(int)
    return picture[row, column] / 255


def nearest_colour(colour, palette):
    """Returns the name in a palette of the colour that has nearly the direction of `colour`, however bright it is."""
    return max(palette, key=lambda name: np.dot(colour, palette[name]) / np.linalg.norm(palette[name]))
