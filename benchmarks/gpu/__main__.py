from absl import app

from benchmarks import gpu

__doc__ = gpu.__doc__  # what --help shows

if __name__ == "__main__":
    gpu.define_flags()
    app.run(gpu.main)
