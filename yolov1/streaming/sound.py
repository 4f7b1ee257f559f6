"""The sound of a film, past the network from one file to another."""

import collections

# By the format of the target: codecs of which it takes the packets as they are, and the encoder for
# the sound of any other.
_TAKES = {
    "mp4": (("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"), "aac"),
    "webm": (("opus", "vorbis"), "libopus"),
    "matroska": (("aac", "mp3", "ac3", "eac3", "opus", "vorbis", "flac", "dts"), "aac"),
}
_RATES = {"libopus": 48000}  # others take the rate that the sound has


class Sound:
    """What lies between the thread that reads a film and the one that writes.

    It is bounded because the frames beside it are: neither thread is far ahead of the other.

    Args:
        stream: the source's audio stream.
        format: of the target.
    """

    def __init__(self, stream, format):
        takes, encoder = _TAKES[format]
        self.encoder = None if stream.codec_context.codec.canonical_name in takes else encoder
        self._from, self._to = stream, None
        self._last = None
        self._items = collections.deque()

    def add(self, packet, begin):
        """In the thread that reads: a packet, and the time in seconds that the film begins with."""
        if self.encoder is not None:
            items = packet.decode()
        else:
            items = [packet] if packet.dts is not None else []  # none: the end
        for item in items:
            shift = round(begin / item.time_base)
            item.pts = None if item.pts is None else item.pts - shift
            item.dts = None if item.dts is None else item.dts - shift
            self._items.append(item)

    def begin(self, container):
        """In the thread that writes, as all below: adds a stream for the sound."""
        if self.encoder is None:
            self._to = container.add_stream_from_template(self._from)
            return
        rate = _RATES.get(self.encoder, self._from.codec_context.sample_rate)
        self._to = container.add_stream(self.encoder, rate=rate)
        self._to.layout = "mono" if self._from.codec_context.channels == 1 else "stereo"

    def write(self, container):
        """What has come until now."""
        while self._items:
            item = self._items.popleft()
            if self.encoder is None:
                self._mux(container, [item])
            else:
                self._mux(container, self._to.encode(item))

    def end(self, container):
        self.write(container)
        if self.encoder is not None:
            self._mux(container, self._to.encode(None))

    def _mux(self, container, packets):
        for packet in packets:
            # Of a stream that its sender started anew, the sound may go back for a moment.
            if self._last is None or packet.dts is None or packet.dts > self._last:
                self._last = packet.dts
                packet.stream = self._to
                container.mux(packet)
