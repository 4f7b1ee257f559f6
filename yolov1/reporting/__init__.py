"""A run directory to one HTML page that can be mailed: no other file, no network, no script."""

from yolov1.reporting.report import write_report

__all__ = ["write_report"]
