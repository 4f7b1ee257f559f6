"""Darknet's files to Keras models and back.

Images ``[N, H, W, channels]`` in [0, 1] to predictions ``[N, S, S, D]``, as every network here has
them (a classifier's are ``[N, classes]``). A model carries its cfg's text in its last layer, so
that it can be written again, also after it was saved and loaded by Keras.
"""

import os

import keras

from yolov1.darknet.assembly import assemble, is_normalized, name_of
from yolov1.darknet.cfg import Cfg, parse_cfg, read_cfg
from yolov1.darknet.describe import describe
from yolov1.darknet.errors import DarknetError
from yolov1.darknet.plan import Plan, plan
from yolov1.darknet.transfer import Parameters, arrays_of, assign
from yolov1.darknet.weights import WeightsFile, write_weights
from yolov1.files import replacing, user_path
from yolov1.grid import GridSpec


def build(
    cfg, *, batch_norm="cpu", batch_norm_gradient="darknet", name: str | None = None
) -> keras.Model:
    """An untrained network of a cfg, its weights drawn as Darknet draws them.

    (But for [local] layers, of which Darknet draws the weights of the first place and leaves those
    of all others 0.)

    Args:
        cfg: path of a file, `Cfg` or `Plan`.
        batch_norm: ``cpu``: divides by ``sqrt(variance) + 1e-6``, as Darknet does on a CPU, and on
            a GPU until 2017; ``gpu``: by ``sqrt(variance + 1e-5)``, as its GPU builds since.
        batch_norm_gradient: ``darknet`` or ``exact``, see `layers.DarknetBatchNormalization`.
        name: of the model.

    Raises:
        DarknetError: as `read_cfg` and `plan`, or a layer that is not built here.
        ValueError: an unknown word.
    """
    return assemble(_plan(cfg), batch_norm, batch_norm_gradient, name=name)


def build_for_grid(
    *,
    grid: GridSpec | None = None,
    cfg: str,
    batch_norm: str = "cpu",
    batch_norm_gradient: str = "darknet",
) -> keras.Model:
    """`build`, as ``models.build("darknet:CFG")`` calls it.

    Args:
        grid: None, or the cfg's own.
        cfg, batch_norm, batch_norm_gradient: as `build` takes them.

    Raises:
        ValueError: a grid that is not the cfg's; and as `build` does.
    """
    network = _plan(user_path(cfg))
    if grid is not None and grid != network.grid:
        own = network.grid or f"none: it is a {network.head}"
        raise ValueError(f"models.build: the grid of {cfg} is {own}; got {grid}. Leave it out.")
    return build(network, batch_norm=batch_norm, batch_norm_gradient=batch_norm_gradient)


def load(
    cfg,
    weights=None,
    *,
    partial: bool = False,
    trailing: bool = False,
    batch_norm="cpu",
    batch_norm_gradient="darknet",
    name: str | None = None,
) -> keras.Model:
    """A network of a cfg with the weights of a file, which is read one layer at a time.

    Args:
        cfg, batch_norm, batch_norm_gradient, name: as `build` takes them.
        weights: path of the weights; None gives what `build` gives.
        partial, trailing: as `read_blocks` takes them; layers that a partial file does not hold
            are drawn.

    Raises:
        DarknetError: as `build` and `read_blocks`.
        OSError: a file cannot be read.
    """
    network = _plan(cfg)
    if weights is None:
        return assemble(network, batch_norm, batch_norm_gradient, name=name)
    file = WeightsFile(weights, network)
    blocks = file.blocks(partial, trailing)
    given = {layer.index for layer in file.complete}
    model = assemble(network, batch_norm, batch_norm_gradient, given, name)
    _assign(model, network, blocks)
    return model


def load_weights(
    model: keras.Model, path, *, partial: bool = False, trailing: bool = False
) -> WeightsFile:
    """Reads a weights file into a network that carries its cfg.

    Args:
        model: of `load`, `build` or ``models.build("darknet:...")``, saved and loaded or not.
        path: the file.
        partial, trailing: as `read_blocks` takes them.

    Returns:
        The file, whose `complete` are the layers that were read.

    Raises:
        DarknetError: the model carries no cfg, or the file does not fit; nothing is read then.
    """
    carried = _carried(model)
    if carried is None:
        raise DarknetError(
            f"load_weights: model {model.name!r} carries no cfg, so that nothing says what stands "
            "where in the file. Give a model of yolov1.darknet.load or models.build('darknet:...')."
        )
    network = plan(carried)
    file = WeightsFile(path, network)
    _assign(model, network, file.blocks(partial, trailing))
    return file


def cfg_of(model: keras.Model, semantics=None) -> Cfg:
    """The cfg of a network: the one it was built from, else one made from its layers.

    Args:
        model: of `load` or ``models.build("darknet:...")``, or such as ``paper`` and ``fast``.
        semantics: `LossSemantics` or a preset's name, for a network without a cfg: what its w and h
            mean, and the scales of the loss; by default Darknet's.

    Raises:
        DarknetError: a network that Darknet cannot express; names the first layer that it lacks.
    """
    carried = _carried(model)
    return describe(model, semantics)[0] if carried is None else carried


def save(model: keras.Model, cfg_path, weights_path, seen: int = 0, semantics=None) -> None:
    """Writes a network as a cfg and weights that Darknet reads (version 0.2.0).

    What `load` read comes out as it was: the cfg key for key, the weights of a file of version
    0.2.0 byte for byte. Neither file takes its place before it is whole.

    Args:
        model: see `cfg_of`.
        cfg_path, weights_path: where.
        seen: images of its training, from which Darknet's goes on.
        semantics: see `cfg_of`.

    Raises:
        DarknetError: a network that Darknet cannot express; names the first layer that it lacks.
            Nothing is written then.
    """
    carried = _carried(model)
    if carried is None:
        cfg, parameters = describe(model, semantics)
        network = plan(cfg)
    else:
        cfg, network = carried, plan(carried)
        parameters = _parameters(model, network)
    with replacing(cfg_path) as file:  # takes its place after the weights, or neither does
        file.write(cfg.text())
        write_weights(
            weights_path, network, lambda layer: arrays_of(layer, parameters[layer.index]), seen
        )


def _plan(cfg) -> Plan:
    return plan(read_cfg(cfg) if isinstance(cfg, str | os.PathLike) else cfg)


def _carried(model):
    text = getattr(model.layers[-1], "cfg", "")
    return parse_cfg(text, f"the cfg of model {model.name!r}") if text else None


def _assign(model, network, blocks):
    parameters = _parameters(model, network)
    for layer, arrays in blocks:
        assign(layer, parameters[layer.index], arrays)


def _parameters(model, network):
    """{index of a section: `Parameters`} of a network of `assemble`, by its layers' names."""
    layers = {layer.name: layer for layer in model.layers}
    found = {}
    for layer in network.layers:
        if not layer.blocks:
            continue
        names = [name_of(layer.index, layer.kind)]
        if is_normalized(layer):
            names.append(name_of(layer.index, "batch_normalization"))
        absent = [name for name in names if name not in layers]
        if absent:
            raise DarknetError(
                f"model {model.name!r} carries a cfg but has no layer {absent[0]!r}, which would "
                f"hold the parameters of {layer}: its layers were changed after it was built."
            )
        found[layer.index] = Parameters(*[layers[name] for name in names])
    return found
