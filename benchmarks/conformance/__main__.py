from absl import app

from benchmarks import conformance

__doc__ = conformance.__doc__  # what --help shows

if __name__ == "__main__":
    conformance.define_flags()
    app.run(conformance.main)
