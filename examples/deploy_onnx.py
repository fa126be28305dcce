"""Runs an exported encoder with NumPy, Pillow and ONNX Runtime alone, as a robot would: neither gqn_rl nor torch.

    python -m gqn_rl.export encoder=jaco out=encoder.onnx
    python examples/deploy_onnx.py encoder.onnx picture.png 1.2 0.0 0.7 3.14 -0.4

The numbers say from where the picture was taken: x, y, z in metres, yaw and pitch in radians.
"""

import os
import sys

import numpy as np
from PIL import Image

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

file, picture, *pose = sys.argv[1:]
x, y, z, yaw, pitch = map(float, pose)
session = onnxruntime.InferenceSession(file)
size = int(session.get_modelmeta().custom_metadata_map["image_size"])
image = np.asarray(Image.open(picture).convert("RGB").resize((size, size)))  # uint8 [size, size, 3]
viewpoint = np.array([x, y, z, np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)], np.float32)
features = session.run(["features"], {"images": image[None], "viewpoints": viewpoint[None]})[0][0]
print(" ".join(f"{feature:.4f}" for feature in features.ravel()))
