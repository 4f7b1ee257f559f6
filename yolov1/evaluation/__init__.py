"""Detections against ground truth, or each other: average precision, error analysis, plots. NumPy.

The plots are in `yolov1.evaluation.plots`, which alone needs Matplotlib; files of other programs'
detections in `yolov1.evaluation.result_files`.
"""

from yolov1.evaluation.agreement import agreement
from yolov1.evaluation.average_precision import AveragePrecision, average_precision
from yolov1.evaluation.coco import coco_summary
from yolov1.evaluation.errors import VOC_SIMILAR, error_analysis
from yolov1.evaluation.evaluate import evaluate
from yolov1.evaluation.matching import GroundTruth
from yolov1.evaluation.shortcomings import shortcomings
from yolov1.evaluation.tide import Diagnosis, diagnose, gains

__all__ = [
    "VOC_SIMILAR",
    "AveragePrecision",
    "Diagnosis",
    "GroundTruth",
    "agreement",
    "average_precision",
    "coco_summary",
    "diagnose",
    "error_analysis",
    "evaluate",
    "gains",
    "shortcomings",
]
