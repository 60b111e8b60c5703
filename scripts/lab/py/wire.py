#!/usr/bin/python3
"""Takes frames from a wire and puts frames on it. Files hold one frame per line, in hexadecimal.

wire.py capture INTERFACE FILE COUNT SECONDS FILTER     frames that match a tcpdump filter; status 1 when fewer came
wire.py send INTERFACE FILE [--pause MICROSECONDS]      prints how many were sent
wire.py flip IN OUT [--seed N]        one random bit flipped in each octet of the ESP part, after the SPI: one frame each
wire.py spi IN OUT SPI [--count N]    the same frames under another SPI
wire.py too_big OUT SRC_MAC DST_MAC SRC DST SPI MTU     a router's "fragmentation needed" about ESP from DST to SRC
wire.py clear OUT SRC_MAC DST_MAC SRC DST COUNT         UDP datagrams in clear, as a forwarding host would send them
"""
import argparse
import random
import socket
import struct
import sys
import time

import frames
import watch


def capture(args):
    program = watch.compile_filter(args.filter)
    sock = watch.open_socket(socket.if_nametoindex(args.interface), args.interface, program, True)
    end = time.monotonic() + args.seconds
    got = []
    while len(got) < args.count and time.monotonic() < end:
        sock.settimeout(max(0.01, end - time.monotonic()))
        try:
            got.append(sock.recv(65535))
        except socket.timeout:
            break
    frames.write_hex(args.file, got)
    print(len(got))
    return 0 if len(got) >= args.count else 1


def send(args):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((args.interface, 0))
    sent = 0
    for frame in frames.read_hex(args.file):
        for _ in range(100):
            try:
                sock.send(frame)
                sent += 1
                break
            except OSError as error:
                # Longer than the MTU, or no room for the moment.
                if error.errno != 105:
                    break
                time.sleep(0.001)
        if args.pause:
            time.sleep(args.pause / 1e6)
    print(sent)


def flip(args):
    chance = random.Random(args.seed)
    sources = [frames.Parsed(f) for f in frames.read_hex(args.source)]
    out = []
    # Sequence, IV, ciphertext, padding, ICV: each octet of the part that the ICV covers, and the ICV itself.
    length = len(sources[0].esp_part())
    for offset in range(4, length):
        parsed = sources[offset % len(sources)]
        part = bytearray(parsed.esp_part())
        if offset >= len(part):
            continue
        part[offset] ^= 1 << chance.randrange(8)
        out.append(parsed.with_esp(bytes(part)))
    frames.write_hex(args.file, out)
    print(len(out))


def spi(args):
    out = []
    for frame in frames.read_hex(args.source)[:args.count]:
        parsed = frames.Parsed(frame)
        out.append(parsed.with_esp(struct.pack("!I", args.spi) + parsed.esp_part()[4:]))
    frames.write_hex(args.file, out)
    print(len(out))


def clear(args):
    out = []
    for number in range(args.count):
        inner = frames.udp(7000 + number, 7, b"in clear, must not pass")
        out.append(frames.ethernet(args.dst_mac, args.src_mac, frames.ipv4(args.src, args.dst, 17, inner, ident=number)))
    frames.write_hex(args.file, out)
    print(len(out))


def too_big(args):
    quoted = frames.ipv4(args.dst, args.src, 50, frames.esp(args.spi, 1, b""), length=1500, fragment=0x4000)
    body = struct.pack("!BBHHH", 3, 4, 0, 0, args.mtu) + quoted
    body = body[:2] + struct.pack("!H", frames.checksum(body)) + body[4:]
    packet = frames.ipv4(args.src, args.dst, 1, body)
    frames.write_hex(args.file, [frames.ethernet(args.dst_mac, args.src_mac, packet)])
    print(1)


def main():
    parser = argparse.ArgumentParser()
    sub = parser.add_subparsers(required=True)

    def command(run, *names, **types):
        one = sub.add_parser(run.__name__)
        for name in names:
            one.add_argument(name, type=types.get(name, str))
        one.set_defaults(run=run)
        return one

    number = lambda text: int(text, 0)
    command(capture, "interface", "file", "count", "seconds", "filter", count=int, seconds=float)
    command(send, "interface", "file").add_argument("--pause", type=int, default=0)
    command(flip, "source", "file").add_argument("--seed", type=int, default=1)
    command(spi, "source", "file", "spi", spi=number).add_argument("--count", type=int, default=100)
    command(too_big, "file", "src_mac", "dst_mac", "src", "dst", "spi", "mtu", spi=number, mtu=int)
    command(clear, "file", "src_mac", "dst_mac", "src", "dst", "count", count=int)
    args = parser.parse_args()
    sys.exit(args.run(args) or 0)


if __name__ == "__main__":
    main()
