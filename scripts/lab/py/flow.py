#!/usr/bin/python3
"""A stream of numbered UDP datagrams, and the exact account of what arrived.

flow.py send TARGET PORT --rate PPS --seconds S [--size BYTES] [--df] [--source ADDRESS] [--burst DATAGRAMS]
flow.py receive ADDRESS PORT RESULT [--idle SECONDS]

The sender closes with the number of datagrams sent; the receiver writes RESULT (JSON) when that arrives, or after
`idle` seconds of silence, counting as lost whatever number up to the last one known is missing. Nothing is estimated.
"""
import argparse
import json
import os
import signal
import socket
import struct
import sys
import time

HEADER = struct.Struct("!4sQ")
DATA, END = b"RFLO", b"REND"
IP_MTU_DISCOVER, PMTUDISC_DONT, PMTUDISC_DO = 10, 0, 2
UDP_SEGMENT, AT_ONCE = 103, 64


def send(args):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO if args.df else PMTUDISC_DONT)
    if args.source:
        sock.bind((args.source, 0))
    sock.connect((args.target, args.port))
    padding = bytes(max(0, args.size - HEADER.size))
    total = int(args.rate * args.seconds)
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    start = time.monotonic()
    sent = refused = 0
    if args.burst:
        sent, total = bursts(sock, args, total, padding, start, stop), 0
    for number in range(total):
        if stop:
            break
        wait = start + number / args.rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        try:
            sock.send(HEADER.pack(DATA, number) + padding)
        except OSError:
            # An ICMP error for an earlier datagram is reported here, and this one did not leave: once more.
            refused += 1
            try:
                sock.send(HEADER.pack(DATA, number) + padding)
            except OSError:
                pass
        sent = number + 1
    for _ in range(20):
        time.sleep(0.1)
        try:
            sock.send(HEADER.pack(END, sent))
        except OSError:
            pass
    print(json.dumps({"sent": sent, "refused": refused, "seconds": round(time.monotonic() - start - 2, 3)}))


def bursts(sock, args, total, padding, start, stop):
    """So many datagrams at once, which the kernel cuts out of few system calls, and a pause after them."""
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, HEADER.size + len(padding))
    sent = 0
    while sent < total and not stop:
        wait = start + sent / args.rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        end = min(total, sent + args.burst)
        for first in range(sent, end, AT_ONCE):
            sock.send(b"".join(HEADER.pack(DATA, number) + padding for number in range(first, min(end, first + AT_ONCE))))
        sent = end
    return sent


def receive(args):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUFFORCE if hasattr(socket, "SO_RCVBUFFORCE") else 33, 32 << 20)
    sock.bind((args.address, args.port))
    sock.settimeout(0.2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(finish(args, account)))
    account = {"seen": set(), "received": 0, "duplicates": 0, "reordered": 0, "top": -1, "sent": None, "gap": 0.0}
    last = time.monotonic()
    begun = False
    while True:
        try:
            data = sock.recv(65535)
        except socket.timeout:
            if begun and time.monotonic() - last > args.idle:
                break
            continue
        now = time.monotonic()
        kind, number = HEADER.unpack_from(data)
        if kind == END:
            account["sent"] = number
            break
        if begun:
            account["gap"] = max(account["gap"], now - last)
        begun, last = True, now
        account["received"] += 1
        if number in account["seen"]:
            account["duplicates"] += 1
        elif number < account["top"]:
            account["reordered"] += 1
        account["seen"].add(number)
        account["top"] = max(account["top"], number)
    finish(args, account)


def finish(args, account):
    sent = account["sent"] if account["sent"] is not None else account["top"] + 1
    seen = account["seen"]
    missing = [n for n in range(sent) if n not in seen]
    result = {
        "sent": sent,
        "end_seen": account["sent"] is not None,
        "received": account["received"],
        "lost": len(missing),
        "duplicates": account["duplicates"],
        "reordered": account["reordered"],
        "longest_gap_ms": round(account["gap"] * 1000, 1),
        "missing": missing[:20],
    }
    with open(args.result + ".part", "w") as out:
        json.dump(result, out)
    os.rename(args.result + ".part", args.result)
    return 0


def main():
    parser = argparse.ArgumentParser()
    sub = parser.add_subparsers(required=True)
    one = sub.add_parser("send")
    one.add_argument("target")
    one.add_argument("port", type=int)
    one.add_argument("--rate", type=float, default=1000)
    one.add_argument("--seconds", type=float, default=5)
    one.add_argument("--size", type=int, default=200)
    one.add_argument("--df", action="store_true")
    one.add_argument("--source")
    one.add_argument("--burst", type=int, default=0)
    one.set_defaults(run=send)
    other = sub.add_parser("receive")
    other.add_argument("address")
    other.add_argument("port", type=int)
    other.add_argument("result")
    other.add_argument("--idle", type=float, default=4)
    other.set_defaults(run=receive)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
