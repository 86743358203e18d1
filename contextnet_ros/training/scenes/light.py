"""Weather and light: the sky, the sun, haze, and what the sensor makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from contextnet_ros.training.scenes.camera import Camera
from contextnet_ros.training.scenes.canvas import Canvas
from contextnet_ros.training.scenes.kinds import Array
from contextnet_ros.training.scenes.randomness import noise_tile, pick, stream

SKY_ID = 10


@dataclass(frozen=True)
class Light:
    """One scene's weather; colours are BGR, 0 to 255 for sky and haze, factors for light."""

    seed: int
    kind: str
    sun_direction: tuple[float, float, float]  # towards the sun: x, y up, s
    sun: Array
    ambient: Array
    sky_top: Array
    sky_low: Array
    cloud: Array
    cloud_cover: float
    haze_m: float
    exposure: float
    contrast: float
    saturation: float
    noise: float
    blur: float
    vignette: float

    def shade(self, normal: tuple[float, float, float]) -> Array:
        """Light (3,) that falls on a surface with this normal (x, y up, s)."""
        x, y, s = self.sun_direction
        return self.ambient + self.sun * max(0.0, normal[0] * x + normal[1] * y + normal[2] * s)

    def haze(self, ahead_m: float) -> float:
        """Share of haze in what is seen at a distance."""
        return 1 - math.exp(-max(ahead_m, 0.0) / self.haze_m)

    def gain_offset(
        self, normal: tuple[float, float, float], ahead_m: float
    ) -> tuple[Array, Array]:
        """What turns a surface's own colour into the one seen: colour x gain + offset."""
        haze = self.haze(ahead_m)
        return self.shade(normal) * (1 - haze), self.sky_low * haze

    @property
    def shadow_depth(self) -> float:
        """Share of the light on the ground that the sun brings."""
        up = self.sun * self.sun_direction[1]
        return float(np.mean(up / (up + self.ambient)))


_KINDS = {"sunny": 0.32, "bright": 0.34, "overcast": 0.18, "dusk": 0.09, "hazy": 0.07}


def make_light(seed: int) -> Light:
    """The weather of a seed."""
    rng = stream(seed, "light")
    kind = pick(rng, _KINDS)
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation = np.radians(rng.uniform(18, 55) if kind != "dusk" else rng.uniform(5, 14))
    direction = np.array(
        [
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
            np.cos(elevation) * np.cos(azimuth),
        ]
    )
    warm = rng.uniform(-1, 1)
    sun_colour = np.array([0.90 - 0.05 * warm, 1.0, 1.06 + 0.05 * warm])
    blue = np.array([1.08, 1.0, 0.94]) + 0.04 * warm * np.array([-1, 0, 1])
    cover, haze_m = rng.uniform(0.0, 0.5), rng.uniform(350, 1200)
    if kind == "sunny":
        sun, ambient = 0.75 * sun_colour, 0.47 * blue
        top, low = np.array([205, 150, 85]), np.array([240, 222, 195])
        cloud = np.array([252, 250, 248])
    elif kind == "bright":
        sun, ambient = rng.uniform(0.1, 0.45) * sun_colour, 0.62 * blue
        top, low = np.array([250, 246, 240]), np.array([255, 254, 252])
        cloud, cover = np.array([255, 255, 255]), rng.uniform(0.3, 1.0)
    elif kind == "overcast":
        sun, ambient = 0.06 * sun_colour, 0.72 * blue
        top, low = np.array([165, 158, 150]), np.array([222, 218, 212])
        cloud, cover = np.array([205, 202, 198]), rng.uniform(0.5, 0.9)
    elif kind == "dusk":
        sun, ambient = 0.35 * np.array([0.6, 0.85, 1.2]), 0.5 * np.array([1.12, 1.0, 0.95])
        top, low = np.array([170, 130, 95]), np.array([185, 195, 220])
        cloud, cover = np.array([120, 115, 125]), rng.uniform(0.3, 0.8)
    else:
        sun, ambient = 0.15 * sun_colour, 0.68 * blue
        top, low = np.array([215, 208, 200]), np.array([228, 226, 222])
        cloud, haze_m = np.array([232, 230, 228]), rng.uniform(90, 180)
    tint = rng.uniform(0.94, 1.06, 3)
    if kind != "dusk":
        # The sky is brighter than the street: most cameras show it near white.
        tint *= rng.uniform(1.0, 1.3)
    exposure = float(np.exp(rng.normal(0.08, 0.16)))
    if kind in ("overcast", "dusk"):
        exposure *= rng.uniform(0.7, 1.05)
    return Light(
        seed=seed,
        kind=kind,
        sun_direction=(float(direction[0]), float(direction[1]), float(direction[2])),
        sun=sun,
        ambient=ambient,
        sky_top=np.clip(top * tint, 0, 255),
        sky_low=np.clip(low * tint, 0, 255),
        cloud=np.clip(cloud * tint, 0, 255),
        cloud_cover=float(cover),
        haze_m=float(haze_m),
        exposure=exposure,
        contrast=float(rng.uniform(0.85, 1.12)),
        saturation=float(rng.uniform(0.65, 1.1)),
        noise=float(rng.uniform(0.5, 4.0)),
        blur=float(rng.uniform(0.0, 0.0007)),
        vignette=float(rng.uniform(0.0, 0.25)),
    )


class Sky:
    """The sky of one scene; clouds stand still while the street turns under them."""

    def __init__(self, light: Light) -> None:
        self.light = light
        rng = stream(light.seed, "clouds")
        self.clouds = noise_tile(rng, cells=7, octaves=6)

    def paint(self, canvas: Canvas, camera: Camera) -> None:
        """Fill all above the horizon."""
        rows = int(np.clip(np.ceil(camera.horizon_px) + 2, 1, canvas.height))
        light = self.light
        # Clouds are soft: large frames take them from half the pixels.
        step = 2 if canvas.width >= 1000 else 1
        # Angle above the horizon decides the colour, so that a size does not change it.
        up = (camera.horizon_px - np.arange(0, rows, step)) / camera.focal_px
        columns = np.arange(0, canvas.width, step) - camera.centre_px
        shape = (len(up), len(columns))
        share = np.clip(up / 0.45, 0, 1)[:, None] ** 0.8
        column = np.asarray(light.sky_low) * (1 - share) + np.asarray(light.sky_top) * share
        heading = camera.bend.slope(camera.s) * 420
        map_x = (columns / camera.focal_px * 420 + heading + 4096)[None] % 512
        map_y = (260 * (np.log(np.maximum(up, 0.0) + 0.15) + 2))[:, None] % 512
        noise = cv2.remap(
            self.clouds,
            np.ascontiguousarray(np.broadcast_to(map_x.astype(np.float32), shape)),
            np.ascontiguousarray(np.broadcast_to(map_y.astype(np.float32), shape)),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
        amount = np.clip((noise + 3.2 * light.cloud_cover - 1.6) * 0.7 + 0.1, 0, 1)
        depth = np.clip(1.0 - 0.07 * noise * (light.kind != "bright"), 0.8, 1.1)
        image = column[:, None].astype(np.float32) * (1 - amount[:, :, None])
        image += (amount * depth)[:, :, None] * np.asarray(light.cloud, np.float32)
        image = np.clip(image, 0, 255).astype(np.uint8)
        if step > 1:
            image = cv2.resize(image, (canvas.width, rows), interpolation=cv2.INTER_LINEAR)
        canvas.image[:rows] = image
        canvas.label[:rows] = SKY_ID


def develop(image: Array, light: Light, index: int) -> Array:
    """What the sensor gives: exposure, contrast, blur, vignetting and noise, for a frame (H, W, 3).

    Noise is white on the sensor, and softer the larger the frame, as after a lens and JPEG.
    """
    height, width = image.shape[:2]
    levels = np.arange(256, dtype=np.float64) / 255
    curve = np.clip(levels * light.exposure, 0, 1.6)
    curve = curve**light.contrast
    curve = np.where(curve > 0.75, 0.75 + 0.25 * np.tanh((curve - 0.75) / 0.25), curve)
    table = np.clip(np.round(255 * curve), 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table)
    grey = np.array([0.114, 0.587, 0.299])
    mix = light.saturation * np.eye(3) + (1 - light.saturation) * grey[None].repeat(3, axis=0)
    image = cv2.transform(image, mix)
    sigma = light.blur * width
    if sigma > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    if light.vignette > 0.02:
        across = (np.arange(width, dtype=np.float32) / width - 0.5) ** 2
        down = (np.arange(height, dtype=np.float32) / height - 0.5) ** 2
        dim = np.round(255 * (1 - light.vignette * 2 * (across[None] + down[:, None])))
        dim = dim.astype(np.uint8)
        image = cv2.multiply(image, cv2.merge([dim] * 3), scale=1 / 255)
    rng = stream(light.seed, "sensor", index)
    grey_noise = (light.noise * rng.standard_normal((256, 256), dtype=np.float32))[:, :, None]
    # Colour noise: the same numbers from elsewhere, another place for every channel.
    block = 0.8 * grey_noise
    block = np.dstack([block + 0.35 * np.roll(grey_noise, 61 * n + 40, 0) for n in range(3)])
    block = np.round(block).astype(np.int16)
    turns_y, turns_x = -(-height // 256), -(-width // 256)
    grain = np.tile(block, (turns_y, turns_x, 1))[:height, :width]
    noisy: Array = cv2.add(image, grain, dtype=cv2.CV_8U)
    return noisy
