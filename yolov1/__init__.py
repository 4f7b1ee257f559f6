"""YOLOv1 on TensorFlow and Keras with fused C++/CUDA loss and IoU ops. See README.md."""

__version__ = "0.1.0"
