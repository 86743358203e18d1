"""ContextNet (Poudel et al. 2018) for ROS 2: segmentation of camera streams."""

__version__ = "0.1.0"
