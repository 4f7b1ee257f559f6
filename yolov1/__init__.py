"""YOLOv1 on TensorFlow and Keras with a fused C++ YOLO loss. See README.md."""

__version__ = "0.2.0"
