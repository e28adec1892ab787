"""An app as a pod has one: port, seconds for its calls to end. TERM: no new connections, calls under way end, exit 0.

    GET /healthz, /    200          GET /sse?n=20&ms=20    that many events, so far apart
"""

import os
import re
import signal
import socket
import sys
import threading
import time

ending = threading.Event()
busy = 0
lock = threading.Lock()


def count(n):
    global busy  # pylint: disable=global-statement
    with lock:
        busy += n


def answer(sock, head):
    query = re.match(rb"GET /sse\?n=(\d+)&ms=(\d+)", head)
    close = b"Connection: close\r\n" if ending.is_set() else b""
    if not query:
        sock.sendall(b"HTTP/1.1 200 OK\r\n" + close + b"Content-Length: 2\r\n\r\nok")
        return
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + close + b"Transfer-Encoding: chunked\r\n\r\n")
    for i in range(int(query[1])):
        event = b"data: %d\n\n" % i
        sock.sendall(b"%x\r\n%s\r\n" % (len(event), event))
        time.sleep(int(query[2]) / 1000)
    sock.sendall(b"0\r\n\r\n")


def serve(sock):
    rest = b""
    with sock:
        while not ending.is_set():
            while b"\r\n\r\n" not in rest:
                data = sock.recv(65536)
                if not data:
                    return
                rest += data
            head, _, rest = rest.partition(b"\r\n\r\n")
            count(1)
            try:
                answer(sock, head)
            except OSError:
                return
            finally:
                count(-1)


def end(listener, limit):
    until = time.monotonic() + limit
    while time.monotonic() < until and busy:
        time.sleep(0.005)
    listener.close()
    os._exit(0 if busy == 0 else 1)


def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)

    def on_term(*_):
        ending.set()
        listener.shutdown(socket.SHUT_RDWR)
        threading.Thread(target=end, args=(listener, float(sys.argv[2]))).start()

    signal.signal(signal.SIGTERM, on_term)
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            signal.pause()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


main()
