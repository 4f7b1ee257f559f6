"""What does it cost to train in several processes, and what would many GPUs cost?

    python -m benchmarks.bench_scaling
    python -m benchmarks.bench_scaling --processes=2 --model=paper --image_size=448 --batch_size=2
    python -m benchmarks.bench_scaling --calculate   # the table of docs/scale.md; measures nothing

Starts --processes on this machine and lets them train together over loopback, on data in memory.
They share its cores, so that their number does not make anything faster; what it shows is which
share of a step goes into being together. Weak: each process has --batch_size images; strong: all
of them have so many. Providers take turns in the same processes, a round of --steps each:

alone      each process takes a step of its own: nothing is summed, all of them at once
together   a step of MultiWorkerMirroredStrategy, as --strategy=multi_worker takes it
sum        an all-reduce of the gradients' bytes by itself
sum_half   the same of half of them, as of gradients in bfloat16

The share of communication is what `together` takes longer than `alone`. Rows: results/scaling.csv.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import harness, runner, scaling_model
from benchmarks.scaling_worker import PROVIDERS

SCALINGS = ("weak", "strong")
LINE = "  {processes:2} {scaling:7}{local_batch:3} images each  {provider:9} {ms:9.2f} ms{more}"


def together(job, processes: int) -> list[dict]:
    """What the workers measured, each its seconds a step by provider."""
    with contextlib.ExitStack() as stack:
        free = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(processes)
        ]
        ports = [one.getsockname()[1] for one in free]
    workers = [f"127.0.0.1:{port}" for port in ports]
    started = []
    for index in range(processes):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.scaling_worker", json.dumps(job)],
                cwd=harness.ROOT,
                env=os.environ | {"TF_CONFIG": json.dumps(task)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        said = [process.communicate() for process in started]
    finally:
        for process in started:
            process.kill()
    for process, (_, error) in zip(started, said, strict=True):
        if process.returncode:
            raise SystemExit(f"error: a worker ended with {process.returncode}:\n{error[-2000:]}")
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


def rows_of(config):
    environment = harness.environment()
    for processes in map(int, config.processes):
        for scaling in config.scalings:
            local = config.batch_size // (processes if scaling == "strong" else 1)
            if not local or (processes == 1 and scaling == "strong"):
                continue  # no image for each; or the same as weak
            job = {
                "model": config.model,
                "image_size": config.image_size,
                "batch_size": local * processes,
                "steps": config.steps,
                "rounds": config.rounds,
                "providers": config.providers,
            }
            found = together(job, processes)
            # A step of all has ended when the slowest has.
            seconds = {
                name: np.max([one["seconds"][name] for one in found], axis=0)
                for name in config.providers
            }
            for name, values in seconds.items():
                row = {
                    "benchmark": "scaling",
                    "model": config.model,
                    "image_size": config.image_size,
                    "processes": processes,
                    "scaling": scaling,
                    "local_batch": local,
                    "provider": name,
                    **harness.summary(values),
                    "gradient_bytes": found[0]["gradient_bytes"],
                    **figures(name, seconds, local * processes),
                    **environment,
                }
                show(row)
                yield row


def figures(name, seconds, images) -> dict:
    """Of one that takes steps the images a second, and what `together` has more than `alone`."""
    median = np.median(seconds[name])
    steps = name in ("alone", "together")
    share = ""
    if name == "together" and "alone" in seconds:
        share = round(float(1 - np.median(seconds["alone"]) / median), 3)
    return {"images_per_second": round(images / median, 1) if steps else "", "communication": share}


def show(row):
    more = f"  {row['images_per_second']} images/s" if row["images_per_second"] else ""
    if row["communication"] != "":
        more += f", {row['communication']:.0%} of it communication"
    print(LINE.format(**row, ms=row["median_us"] / 1e3, more=more), flush=True)


def main(argv):
    config = flags.FLAGS
    if config.calculate:
        print(scaling_model.table())
        return
    harness.write_rows(Path(config.output), rows_of(config))
    print(f"rows: {config.output}")


if __name__ == "__main__":
    flags.DEFINE_list("processes", ["1", "2", "4"], "Numbers of processes.")
    runner.define_some("scalings", list(SCALINGS), "What stays as it is with more processes.")
    runner.define_some("providers", list(PROVIDERS), "What to measure.")
    flags.DEFINE_string("model", "laptop", "Network.")
    flags.DEFINE_integer("image_size", 112, "Side of its input.", 1)
    flags.DEFINE_integer("batch_size", 16, "Images: of each process (weak), of all (strong).", 1)
    flags.DEFINE_integer("steps", 10, "Steps of a round.", 1)
    flags.DEFINE_integer("rounds", 7, "Rounds that count.", 1)
    flags.DEFINE_boolean("calculate", False, "Print the calculated table instead.")
    flags.DEFINE_string("output", str(harness.RESULTS / "scaling.csv"), "CSV for the rows.")
    app.run(main)
