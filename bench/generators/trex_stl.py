"""TRex, stateless: the frames of a scenario in their order, again and again.

    tidegate-bench write vxlan-snat --flows 10000 --pcap f.pcap       # here; then beside TRex:
    trex> start -f trex_stl.py -p 0 -m 100% -t --pcap f.pcap

Each frame is a stream that is followed by the next one, so that they leave in the order of the capture. TRex takes some
20,000 streams: for more flows give the capture to `STLClient.push_remote(filename=..., ipg_usec=0.1, count=0)`.
"""

import argparse
import struct

from trex_stl_lib.api import STLPktBuilder, STLStream, STLTXSingleBurst

# Of the first frame on; `-m` multiplies it.
PPS = 1000


def frames(path):
    """The frames of a classic pcap file, as `tidegate-bench write` makes it."""
    with open(path, "rb") as file:
        data = file.read()
    magic = data[:4]
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\xa1\xb2\x3c\x4d": ">"}.get(magic)
    if order is None:
        raise ValueError(f"{path} is no pcap file")
    at = 24
    while at < len(data):
        (length,) = struct.unpack_from(order + "I", data, at + 8)
        yield data[at + 16 : at + 16 + length]
        at += 16 + length


class Capture:
    """A profile as TRex loads it."""

    def get_streams(self, direction=0, tunables=(), **_kwargs):
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--pcap", required=True, help="the capture")
        path = parser.parse_args(list(tunables)).pcap
        if direction != 0:
            return []
        all_frames = list(frames(path))
        return [
            STLStream(
                name=str(n),
                next=str((n + 1) % len(all_frames)),
                self_start=n == 0,
                packet=STLPktBuilder(pkt_buffer=frame),
                mode=STLTXSingleBurst(pps=PPS, total_pkts=1),
            )
            for n, frame in enumerate(all_frames)
        ]


def register():
    return Capture()
