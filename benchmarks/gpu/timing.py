"""What `benchmarks.gpu` measures: calls over rotated buffers, by graph replay and by call.

A *batch* runs a function once on each of several buffer sets, which together exceed the
second-level cache where they are not too many; before each batch the cache is overwritten. Its time
over the number of sets is that of one run among others. Three ways:

    graph   the batch is one CUDA graph, timed by events on the device
    chain   the batch is one XLA program, each run after the one before, timed on the host
    call    the runs are called from Python one after another, timed by events (or the host for JAX)
"""

import time

import numpy as np

from benchmarks.gpu import formulas as gpu_formulas

SETS = 4, 256  # of buffers in a batch, at least and at most
CHAINED = 8  # at most in one XLA program, which takes a second or so each to compile


def sets_for(case_bytes, cache_bytes):
    """How many buffer sets a batch takes: twice the cache, within `SETS`."""
    least, most = SETS
    return int(np.clip(-(-2 * cache_bytes // max(case_bytes, 1)), least, most))


class CudaClock:
    """Times batches on a GPU by PyTorch's events, behind a flush of the cache."""

    def __init__(self, device):
        torch = device.torch
        properties = torch.cuda.get_device_properties(0)
        self._torch, self._device = torch, device
        self.cache_bytes = int(getattr(properties, "L2_cache_size", 64 << 20))
        self._rubbish = torch.empty(2 * self.cache_bytes, dtype=torch.uint8, device="cuda")

    def replayed(self, launches):
        """A batch of ``launch(stream)`` as one graph."""

        def queue(stream):
            for launch in launches:
                launch(stream)

        queue(self._torch.cuda.current_stream().cuda_stream)  # loads what is loaded lazily
        graph = self._device.graph(queue)

        def replay(
            kept=launches,
        ):  # the graph has the addresses of their arrays, but not the arrays
            graph.replay()

        return self.on_device(replay)

    def on_device(self, batch):
        """Seconds of a batch by events."""

        def run():
            start, end = (self._torch.cuda.Event(enable_timing=True) for _ in range(2))
            self._rubbish.fill_(1)
            start.record()
            batch()
            end.record()
            end.synchronize()
            return start.elapsed_time(end) / 1e3

        return run

    def on_host(self, batch):
        """Seconds until a batch, which waits for its end, is done."""

        def run():
            self._rubbish.fill_(1)
            self._torch.cuda.synchronize()
            start = time.perf_counter()
            batch()
            return time.perf_counter() - start

        return run


class HostClock:
    """The same where there is no GPU: to try the code that measures, not to measure."""

    cache_bytes = 1 << 20

    def replayed(self, launches):
        return self.on_host(lambda: [launch(0) for launch in launches])

    def on_host(self, batch):
        def run():
            start = time.perf_counter()
            batch()
            return time.perf_counter() - start

        return run

    on_device = on_host


def measure(timers, *, repeats, budget_seconds):
    """Seconds of each run, ``{name: [repeats]}``, in turns that change with the rounds.

    Args:
        timers: ``{name: (function to seconds of a batch, runs in a batch)}``.
        repeats: rounds, at most, behind two that do not count.
        budget_seconds: no round starts after this, from the third on.
    """
    seconds = {name: [] for name in timers}
    names, start = list(timers), time.perf_counter()
    for turn in range(-2, repeats):
        if turn >= 3 and time.perf_counter() - start > budget_seconds:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            run, count = timers[name]
            elapsed = run() / count
            if turn >= 0:
                seconds[name].append(elapsed)
    return {name: np.array(values) for name, values in seconds.items()}


# ------------------------------------------------------------------------------ timers of a kind


def jax_timers(clock, name, function, inputs):
    """`chain` and `call` of a jitted `function` on sets of JAX arrays."""
    import jax

    one = jax.jit(function)
    few = inputs[:CHAINED]

    @jax.jit
    def chain(sets):
        results, before = [], ()
        for arguments in sets:  # the barrier keeps XLA from computing several at once
            arguments, before = jax.lax.optimization_barrier((arguments, before))
            before = function(*arguments)
            results.append(before)
        return results

    def calls():
        jax.block_until_ready([one(*arguments) for arguments in few])

    return {
        (name, "chain"): (clock.on_host(lambda: jax.block_until_ready(chain(few))), len(few)),
        (name, "call"): (clock.on_host(calls), len(few)),
    }


def torch_timers(clock, name, function, inputs):
    """`call` of a `function` on sets of PyTorch tensors."""
    few = inputs[: 4 * CHAINED]
    function(*few[0])  # compiled here

    def calls():
        for arguments in few:
            function(*arguments)

    return {(name, "call"): (clock.on_device(calls), len(few))}


def to_jax(array):
    import jax

    return jax.device_put(np.asarray(array))


def peers(clock, sets, on_jax, on_torch, put, left_out=()):
    """Timers of JAX and PyTorch on the same values; what is missing or fails is said and left out.

    Args:
        sets: NumPy inputs of each run.
        on_jax, on_torch: ``{name: maker of the function to be timed}``, for either library.
        put: NumPy to a PyTorch tensor on the device.
        left_out: names of which nothing is made.
    """
    timers = {}

    def add(name, time, make, put, most):
        if name in left_out:
            return
        try:  # all of it: already `make` imports the library, and asks what it has
            function = make()
            made = time(clock, name, function, [tuple(map(put, x)) for x in sets[:most]])
            for run, _ in made.values():
                run()
            timers.update(made)
        except Exception as error:  # of another library: its row is missing, the others are not
            print(f"left out: {name}: {first_line(error)}")

    for name, make in on_jax.items():
        add(name, jax_timers, make, to_jax, CHAINED)
    for name, make in on_torch.items():
        add(name, torch_timers, make, put, 4 * CHAINED)
    return timers


def first_line(error):
    """An exception in one line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"


def loss_peers(clock, grid, sets, put, left_out=()):
    """`peers` of the loss."""
    on_jax = {
        "xla": lambda: gpu_formulas.jax_loss(grid),
        "fused_jax": lambda: gpu_formulas.fused_jax_loss(grid, sets[0][0].dtype),
    }
    on_torch = {
        "torch": lambda: gpu_formulas.torch_loss(grid, compiled=False),
        "torch_compile": lambda: gpu_formulas.torch_loss(grid, compiled=True),
    }
    return peers(clock, sets, on_jax, on_torch, put, left_out)


def iou_peers(clock, sets, put, mode, left_out=()):
    """`peers` of the IoU: ``forward`` or ``backward``."""
    which = 0 if mode == "forward" else 1
    on_jax = {"xla": lambda: gpu_formulas.jax_iou()[which]}
    on_torch = {
        "torch": lambda: gpu_formulas.torch_iou(compiled=False)[which],
        "torch_compile": lambda: gpu_formulas.torch_iou(compiled=True)[which],
    }
    return peers(clock, sets, on_jax, on_torch, put, left_out)


def nms_peers(clock, sets, put, left_out=()):
    """`peers` of non-maximum suppression: PyTorch's alone, which takes minutes to compile."""
    return peers(clock, sets, {}, {"torch": gpu_formulas.torch_nms}, put, left_out)


def resize_peers(clock, sets, size, put, left_out=()):
    """PyTorch's bilinear resizing of images of one size; `sets` of (pixels,)."""
    on_torch = {"torch": lambda: gpu_formulas.torch_resize(size)}
    return peers(clock, sets, {}, on_torch, put, left_out)
