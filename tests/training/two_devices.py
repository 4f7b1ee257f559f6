"""`experiments.train` on a machine that seems to have two CPUs (virtual devices come first)."""

import runpy

import tensorflow as tf

if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    runpy.run_module("experiments.train", run_name="__main__")
