"""Who is calling: a server tells each caller the address and port that it sees, by TCP and by UDP.

    who.py serve PORT [ADDRESS]             by UDP at this address alone
    who.py serve-udp FIRST LAST             by UDP at all these ports
    who.py same ADDRESS FIRST LAST SOCKETS  each socket asks all these ports: the most different answers that one got, and
                                            how many different ones there were in all
    who.py ask tcp|udp ADDRESS PORT [BYTES]    prints the answer: ADDRESS PORT

With BYTES a TCP caller sends so many first, and the server tells the number of those that came, too.
"""

import socket
import sys
import threading

TIMEOUT = 5


def serve_udp(port, address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, port))
    while True:
        _, peer = s.recvfrom(2048)
        s.sendto(f"{peer[0]} {peer[1]}".encode(), peer)


def serve_range(first, last):
    threads = [threading.Thread(target=serve_udp, args=(port, "0.0.0.0")) for port in range(first, last + 1)]
    for thread in threads:
        thread.start()


def same(address, first, last, sockets):
    most, seen = 0, set()
    for _ in range(sockets):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(TIMEOUT)
            for port in range(first, last + 1):
                s.sendto(b"who", (address, port))
            answers = {s.recv(2048) for _ in range(first, last + 1)}
        most = max(most, len(answers))
        seen |= answers
    print(most, len(seen))


def answer(conn, peer):
    with conn:
        conn.settimeout(TIMEOUT)
        count = 0
        while data := conn.recv(65536):
            count += len(data)
        conn.sendall(f"{peer[0]} {peer[1]} {count}".encode())


def serve(port, address):
    threading.Thread(target=serve_udp, args=(port, address), daemon=True).start()
    with socket.create_server(("0.0.0.0", port)) as server:
        while True:
            threading.Thread(target=answer, args=server.accept(), daemon=True).start()


def ask(kind, address, port, size):
    if kind == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(TIMEOUT)
            s.sendto(b"who", (address, port))
            return s.recv(2048).decode()
    with socket.create_connection((address, port), TIMEOUT) as s:
        s.settimeout(TIMEOUT)
        s.sendall(b"x" * size)
        s.shutdown(socket.SHUT_WR)
        return s.recv(2048).decode()


def main():
    if sys.argv[1] == "serve-udp":
        serve_range(int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1] == "same":
        same(sys.argv[2], *map(int, sys.argv[3:6]))
    elif sys.argv[1] == "serve":
        serve(int(sys.argv[2]), (sys.argv[3:] or ["0.0.0.0"])[0])
    else:
        print(ask(sys.argv[2], sys.argv[3], int(sys.argv[4]), int((sys.argv[5:] or ["0"])[0])))


if __name__ == "__main__":
    main()
