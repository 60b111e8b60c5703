#!/usr/bin/python3
"""Reads a capture of ESP, plain or in UDP 4500 over IPv4, and says how many packets it holds, how many of them use a
number that their SA had used before (RFC 4303 section 3.3.3: none may), and the highest number: PACKETS TWICE HIGHEST

numbers.py PCAP
"""
import struct
import sys


def esp(frame):
    """Source, SPI and number of a frame, or None."""
    if len(frame) < 42 or frame[12:14] != b"\x08\x00":
        return None
    ip = frame[14:]
    at = (ip[0] & 15) * 4
    if ip[9] == 17 and 4500 in struct.unpack_from("!HH", ip, at):
        at += 8
    elif ip[9] != 50:
        return None
    if len(ip) < at + 8:
        return None
    spi, number = struct.unpack_from("!II", ip, at)
    return (ip[12:16], spi, number) if spi else None


def frames(data):
    at = 24
    while at + 16 <= len(data):
        kept = struct.unpack_from("I", data, at + 8)[0]
        yield data[at + 16:at + 16 + kept]
        at += 16 + kept


def main():
    with open(sys.argv[1], "rb") as pcap:
        found = [key for key in map(esp, frames(pcap.read())) if key]
    print(len(found), len(found) - len(set(found)), max((number for _, _, number in found), default=0))


main()
