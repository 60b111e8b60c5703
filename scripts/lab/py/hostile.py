#!/usr/bin/python3
"""Malformed input for every door of a gateway that a stranger on the wire can reach.

hostile.py frames DOOR OUT SRC_MAC DST_MAC SRC DST [--count N] [--seed N]
    DOOR: ip      IPv4 with lying lengths, options, versions, checksums, fragments
          esp     protocol 50: random, empty, truncated at each length
          natt    UDP 4500: random, short, lying UDP length, zero SPI with garbage behind it
          ike     UDP 500: random, truncated and lying IKE headers and payload chains, SA payloads that overlap
          ah      protocol 51
    Random parts come from the seed alone, so that a failure can be repeated.
hostile.py socket PATH [--count N] [--seed N]
    The same spirit for a Unix stream socket: random bytes, half lines, very long lines, then closed.
"""
import argparse
import random
import socket
import struct
import time

import frames

SIZES = [0, 1, 3, 4, 7, 8, 9, 11, 12, 15, 16, 19, 20, 24, 27, 28, 31, 32, 36, 40, 47, 48, 64, 100, 255, 256, 576, 1200, 1400]


def door_ip(r, src, dst):
    kind = r.randrange(9)
    body = r.randbytes(r.choice(SIZES))
    protocol = r.choice([50, 51, 17, 6, 1, 4, 59, r.randrange(256)])
    if kind == 0:
        return frames.ipv4(src, dst, protocol, body, length=r.randrange(65536))
    if kind == 1:
        return frames.ipv4(src, dst, protocol, body, version=r.randrange(16))
    if kind == 2:
        return frames.ipv4(src, dst, protocol, body, ihl=r.randrange(16))
    if kind == 3:
        return frames.ipv4(src, dst, protocol, body, options=r.randbytes(4 * r.randrange(1, 11)))
    if kind == 4:
        return frames.ipv4(src, dst, protocol, body, check=r.randrange(65536))
    if kind == 5:
        return frames.ipv4(src, dst, protocol, body, fragment=r.randrange(65536))
    if kind == 6:
        return frames.ipv4(src, dst, protocol, body, ttl=r.randrange(2))
    if kind == 7:
        return frames.ipv4(dst, dst, protocol, body)
    return r.randbytes(r.choice(SIZES))


def door_esp(r, src, dst):
    size = r.choice(SIZES)
    spi = r.choice([0, 1, 255, 256, r.randrange(1 << 32)])
    body = (struct.pack("!II", spi, r.randrange(1 << 32)) + r.randbytes(size))[:size]
    return frames.ipv4(src, dst, 50, body, length=r.choice([None, None, None, r.randrange(65536)]))


def door_ah(r, src, dst):
    return frames.ipv4(src, dst, 51, r.randbytes(r.choice(SIZES)))


def door_natt(r, src, dst):
    size = r.choice(SIZES)
    first = r.choice([b"", b"\xff", bytes(4), bytes(3), b"\0\0\0\1", r.randbytes(4)])
    body = first + r.randbytes(size)
    length = r.choice([None, None, None, r.randrange(65536), 0, 7, 8, 9])
    return frames.ipv4(src, dst, 17, frames.udp(r.choice([4500, 500, r.randrange(65536)]), 4500, body, length=length))


def ike_payloads(r):
    """A chain of payloads, some of them telling the truth."""
    chain, kinds = b"", [r.choice([0, 33, 34, 35, 36, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 53, r.randrange(256)])
                         for _ in range(r.randrange(1, 12))]
    for at, kind in enumerate(kinds):
        body = ike_body(r, kind)
        follows = kinds[at + 1] if at + 1 < len(kinds) else r.choice([0, 0, 33, 255])
        length = r.choice([len(body) + 4, len(body) + 4, len(body) + 4, 0, 1, 3, 4, r.randrange(65536)])
        chain += struct.pack("!BBH", follows, r.choice([0, 0, 0x80, 0xFF]), length) + body
    return kinds[0], chain


def ike_body(r, kind):
    if kind == 33:  # proposals with transforms, each length field a chance to lie
        out = b""
        for number in range(r.randrange(1, 5)):
            transforms = b"".join(
                struct.pack("!BBHBBH", r.choice([0, 3]), 0, r.choice([8, 8, 12, 0, 5, 65535]), r.randrange(1, 7), 0,
                            r.randrange(64)) + r.choice([b"", b"\x80\x0e\x01\x00", r.randbytes(4)])
                for _ in range(r.randrange(0, 9)))
            size = r.choice([8 + len(transforms), 8 + len(transforms), 0, 7, 65535])
            out += struct.pack("!BBHBBBB", r.choice([0, 2]), 0, size, number + 1, r.choice([1, 3, 0, 9]),
                               r.choice([0, 4, 8, 255]), r.randrange(256)) + transforms
        return out
    if kind in (44, 45):
        return struct.pack("!BBH", r.randrange(256), 0, 0) + b"".join(
            struct.pack("!BBHHH", r.choice([7, 8, 9]), 0, r.choice([16, 16, 0, 15, 65535]), 0, 65535) + r.randbytes(8)
            for _ in range(r.randrange(4)))
    if kind in (41, 42):
        return r.randbytes(r.choice([0, 1, 3, 4, 8, 20, 28]))
    return r.randbytes(r.choice([0, 1, 4, 8, 16, 32, 36, 64, 256, 260]))


def ike_message(r):
    kind = r.randrange(5)
    if kind == 0:
        return r.randbytes(r.choice(SIZES))
    responder = r.choice([bytes(8), bytes(8), r.randbytes(8)])
    exchange = r.choice([34, 34, 34, 35, 36, 37, 2, 4, r.randrange(256)])
    flags = r.choice([0x08, 0x08, 0x08, 0x20, 0x28, 0x00, r.randrange(256)])
    version = r.choice([0x20, 0x20, 0x20, 0x10, 0x30, r.randrange(256)])
    first, chain = ike_payloads(r)
    length = r.choice([28 + len(chain)] * 4 + [0, 27, 28, 0xFFFFFFFF, r.randrange(1 << 32)])
    message = frames.ike_header(r.choice([r.randbytes(8), bytes(8)]), responder, first, exchange, flags,
                                r.choice([0, 0, 1, 0xFFFFFFFF]), length, version) + chain
    return message[:r.randrange(len(message) + 1)] if kind == 1 else message


def door_ike(r, src, dst):
    message = ike_message(r)[:1400]
    if r.randrange(4) == 0:
        return frames.ipv4(src, dst, 17, frames.udp(4500, 4500, bytes(4) + message))
    return frames.ipv4(src, dst, 17, frames.udp(r.choice([500, r.randrange(1, 65536)]), 500, message))


DOORS = {"ip": door_ip, "esp": door_esp, "ah": door_ah, "natt": door_natt, "ike": door_ike}


def make_frames(args):
    r = random.Random(args.seed)
    out = []
    for _ in range(args.count):
        packet = DOORS[args.door](r, args.src, args.dst)[:1500]
        out.append(frames.ethernet(args.dst_mac, args.src_mac, packet.ljust(46, b"\0") if r.randrange(2) else packet))
    frames.write_hex(args.out, out)
    print(len(out))


def to_socket(args):
    r = random.Random(args.seed)
    done = 0
    for number in range(args.count):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(1)
        shape = number % 6
        try:
            sock.connect(args.path)
            if shape == 0:
                sock.sendall(r.randbytes(r.randrange(1, 4096)))
            elif shape == 1:
                sock.sendall(b'{"show":')
            elif shape == 2:
                sock.sendall(b"x" * (1 << 20))
            elif shape == 3:
                sock.sendall(b"[" * 100000 + b"\n")
            elif shape == 4:
                sock.sendall(b'{"no-such-command":{}}\n' * 20)
            else:
                sock.sendall(struct.pack("!I", 0xFFFFFFFF) + r.randbytes(64) + b"\n")
            if r.randrange(2):
                sock.shutdown(socket.SHUT_WR)
                sock.recv(65536)
        except OSError:
            pass
        finally:
            sock.close()
        done += 1
        time.sleep(0.002)
    print(done)


def main():
    parser = argparse.ArgumentParser()
    sub = parser.add_subparsers(required=True)
    one = sub.add_parser("frames")
    one.add_argument("door", choices=sorted(DOORS))
    for name in ("out", "src_mac", "dst_mac", "src", "dst"):
        one.add_argument(name)
    one.set_defaults(run=make_frames)
    other = sub.add_parser("socket")
    other.add_argument("path")
    other.set_defaults(run=to_socket)
    for each in (one, other):
        each.add_argument("--count", type=int, default=1000)
        each.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
