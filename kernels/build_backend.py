"""setuptools' build backend, which also asks for TensorFlow where the target environment has none.

With build isolation, pip installs what `get_requires_for_build_*` names into a throw-away
environment. TensorFlow is large: where one is installed already, that one is used.
"""

import os

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the hooks that need no change)


def _requirements():
    import setup

    if os.environ.get("YOLOV1_TENSORFLOW", "ON") == "OFF" or setup.find_tensorflow():
        return []
    return [setup.TENSORFLOW]


def get_requires_for_build_wheel(config_settings=None):
    return build_meta.get_requires_for_build_wheel(config_settings) + _requirements()


def get_requires_for_build_editable(config_settings=None):
    return build_meta.get_requires_for_build_editable(config_settings) + _requirements()
