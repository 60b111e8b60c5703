#!/usr/bin/python3
"""Counts what crosses a wire, by kind, and keeps a copy of every frame that should not be there.

watch.py INTERFACE GATEWAY GATEWAY RESULT UNEXPECTED      each GATEWAY is its IPv4 and its IPv6 address: ADDRESS,ADDRESS

Each kind has a packet socket with a filter that the kernel runs on every frame; the kernel counts matches whether or
not anybody reads them, so that the figures are exact under any load. The kinds exclude one another, and together with
`unexpected` they are everything: RESULT (JSON, rewritten several times a second, and on TERM) proves it by `total`.
UNEXPECTED is a pcap file of the frames in clear and of those of no kind.
"""
import ctypes
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

ETH_P_ALL = 3
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_STATISTICS, PACKET_MR_PROMISC = 263, 1, 6, 1
SO_ATTACH_FILTER = 26


# Copies of these go to the pcap file.
KEPT = ("clear", "unexpected")


def between_hosts(a, b):
    return f"((src host {a} and dst host {b}) or (src host {b} and dst host {a}))"


def kinds_v6(a, b):
    """As `kinds`, for IPv6 without extension headers, whose payload this language only reaches by offset."""
    between = between_hosts(a, b)
    marker = "ip6[48:4] = 0"
    keepalive = "(ip6[44:2] = 9 and ip6[48] = 0xff)"
    port = lambda n: f"(ip6[6] = 17 and (ip6[40:2] = {n} or ip6[42:2] = {n}))"
    natt = f"{port(4500)} and {between}"
    return {
        # Neighbour discovery, and reports of multicast listeners (RFC 3810) behind a hop-by-hop header.
        "nd": "ip6 and ((ip6[6] = 58 and ip6[40] >= 133 and ip6[40] <= 136)"
              " or (ip6[6] = 0 and ip6[40] = 58 and ip6[48] = 143))",
        "ike": f"ip6 and {between} and ({port(500)} or ({port(4500)} and {marker} and not {keepalive}))",
        "keepalive": f"ip6 and {natt} and {keepalive}",
        "esp_udp": f"ip6 and {natt} and not ({marker}) and not {keepalive} and ip6[44:2] >= 20",
        # Of a datagram that was cut, what tells no ports any more: here of any port, the first one too.
        "udp_part": f"ip6 and ip6[6] = 44 and ip6[40] = 17 and {between}",
        # Whole, or cut: then the fragment header names it, in the later fragments too.
        "esp": f"ip6 and (ip6[6] = 50 or (ip6[6] = 44 and ip6[40] = 50)) and {between}",
        "ah": f"ip6 and (ip6[6] = 51 or (ip6[6] = 44 and ip6[40] = 51)) and {between}",
        "clear": "ip6 net fd00::/16",
        "icmp_error": f"ip6 and ip6[6] = 58 and {between} and ip6[40] < 128",
    }


def kinds(a, b):
    """Filters in tcpdump's language; `between` pins both ends to the gateways."""
    (a, a6), (b, b6) = a.split(","), b.split(",")
    between = between_hosts(a, b)
    marker = "udp[8:4] = 0"
    keepalive = "(udp[4:2] = 9 and udp[8] = 0xff)"
    # Multipath ESP in UDP goes to 4565 from any port.
    natt = f"(udp port 4500 or udp dst port 4565) and {between}"
    known = {
        "arp": "arp",
        "ike": f"ip and {between} and ((udp port 500) or (udp port 4500 and {marker} and not {keepalive}))",
        "keepalive": f"ip and {natt} and {keepalive}",
        "esp_udp": f"ip and {natt} and not ({marker}) and not {keepalive} and udp[4:2] >= 20",
        "udp_part": f"ip proto 17 and ip[6:2] & 0x1fff != 0 and {between}",
        "esp": f"ip proto 50 and {between}",
        "ah": f"ip proto 51 and {between}",
        "clear": "ip net 10.0.0.0/8",
        "icmp_error": f"icmp and {between} and (icmp[0] = 3 or icmp[0] = 11)",
    }
    for kind, text in kinds_v6(a6, b6).items():
        known[kind] = f"({known[kind]}) or ({text})" if kind in known else text
    # Inside addresses belong into ESP; seeing one here is the fault that the whole product is against.
    known["unexpected"] = " and ".join(f"not ({f})" for f in known.values())
    known["total"] = ""
    return known


def compile_filter(text):
    out = subprocess.run(["tcpdump", "-y", "EN10MB", "-s", "65535", "-ddd", text], capture_output=True, text=True)
    if out.returncode:
        sys.exit(f"watch: cannot compile {text!r}: {out.stderr.strip()}")
    lines = [l for l in out.stdout.split("\n") if l and l[0].isdigit()]
    return [tuple(map(int, l.split())) for l in lines[1:]]


def open_socket(ifindex, name, program, receive):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(buffer)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, (8 << 20) if receive else 1)
    sock.bind((name, ETH_P_ALL))
    request = struct.pack("IHH8s", ifindex, PACKET_MR_PROMISC, 0, b"")
    sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, request)
    return sock


class Watch:
    def __init__(self, interface, a, b, result, pcap):
        ifindex = socket.if_nametoindex(interface)
        self.result = result
        self.counts = {}
        self.sockets = {}
        self.missed = 0
        programs = {kind: compile_filter(text) for kind, text in kinds(a, b).items()}
        for kind, program in programs.items():
            self.sockets[kind] = open_socket(ifindex, interface, program, kind in KEPT)
        self.settle()
        self.counts = dict.fromkeys(self.sockets, 0)
        self.pcap = open(pcap, "wb")
        self.pcap.write(struct.pack("IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        self.pcap.flush()

    def read(self):
        """One pass over the sockets: adds to the counts, and says whether any frame was counted."""
        seen = 0
        for kind, sock in self.sockets.items():
            # Reading resets the kernel's figure; `packets` includes those dropped for want of room.
            packets, _ = struct.unpack("II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
            self.counts[kind] = self.counts.get(kind, 0) + packets
            seen += packets
        return seen > 0

    def settle(self):
        """Sockets open and are read one after another; a pass that counts nothing shows that no frame fell in between,
        so that the kinds add up to the total on both sides of it."""
        for _ in range(1000):
            if not self.read():
                return
        sys.exit("watch: the wire is never quiet: kinds and total cannot be compared")

    def collect(self):
        self.read()
        self.write()

    def write(self):
        with open(self.result + ".part", "w") as out:
            json.dump(self.counts, out)
        os.rename(self.result + ".part", self.result)

    def keep(self, wait):
        ready, _, _ = select.select([self.sockets[k] for k in KEPT], [], [], wait)
        for sock in ready:
            while frame := self.next_frame(sock):
                now = time.time()
                self.pcap.write(struct.pack("IIII", int(now), int(now % 1 * 1e6), len(frame), len(frame)) + frame)
            self.pcap.flush()

    @staticmethod
    def next_frame(sock):
        try:
            return sock.recv(65535, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None


def main():
    watch = Watch(*sys.argv[1:6])
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while not stop:
        watch.collect()
        watch.keep(0.2)
    watch.keep(0)
    watch.settle()
    watch.write()


if __name__ == "__main__":
    main()
