"""The HTTP/2 ends of the wire, with python3-h2: a client that can also send what no client should, and an upstream.

    h = H2Client(w.client())
    s = h.ask("/x", method="POST", body=b"abc")       # a stream
    h.expect(s, 200, b"ok", x_y="z")
    up = H2Upstream(w.upstream); r = up.expect("GET /x"); up.answer(r.stream, 200, b"ok")
"""

import h2.config
import h2.connection
import h2.events
import h2.settings

from harness import TIMEOUT  # noqa: F401


class Seen:
    """What has come of one stream."""

    def __init__(self, stream):
        self.stream, self.headers, self.body, self.trailers = stream, None, b"", None
        self.interim, self.ended, self.reset, self.conn = [], False, None, None

    def get(self, name, default=None):
        return next((v for k, v in self.headers or [] if k == name), default)

    @property
    def status(self):
        return int(self.get(":status", 0))

    @property
    def line(self):
        return f"{self.get(':method')} {self.get(':path')}"


class H2Wire:
    def __init__(self, wire, client, window=None, **settings):
        self.wire = wire
        self.preface = 0 if client else 24
        states = h2.connection.ConnectionState
        self.open = states.CLIENT_OPEN if client else states.SERVER_OPEN
        config = h2.config.H2Configuration(client_side=client, header_encoding="utf-8", validate_outbound_headers=False,
                                           normalize_outbound_headers=False, validate_inbound_headers=client)
        self.h2 = h2.connection.H2Connection(config)
        self.seen, self.goaway, self.pings, self.credit, self.new = {}, None, [], window is None, []
        if settings or window is not None:
            values = {h2.settings.SettingCodes[k.upper()]: v for k, v in settings.items()}
            if window is not None:
                values[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = window
            self.h2.local_settings = h2.settings.Settings(client=client, initial_values=values)
        self.h2.initiate_connection()
        self.flush()

    def flush(self, maybe=True):
        data = self.h2.data_to_send()
        if data:
            self.wire.send(data, maybe)

    def raw(self, data):
        self.flush()
        self.wire.send(data, True)

    def of(self, stream):
        return self.seen.setdefault(stream, Seen(stream))

    def _take(self, e):
        s = self.of(e.stream_id) if getattr(e, "stream_id", None) else None
        if isinstance(e, (h2.events.ResponseReceived, h2.events.RequestReceived)):
            s.headers = list(e.headers)
            self.new.append(s)
        elif isinstance(e, h2.events.InformationalResponseReceived):
            s.interim.append(dict(e.headers))
        elif isinstance(e, h2.events.DataReceived):
            s.body += e.data
            if self.credit and e.flow_controlled_length:
                self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
        elif isinstance(e, h2.events.TrailersReceived):
            s.trailers = list(e.headers)
        elif isinstance(e, h2.events.StreamEnded):
            s.ended = True
        elif isinstance(e, h2.events.StreamReset):
            s.reset = int(e.error_code)
        elif isinstance(e, h2.events.ConnectionTerminated):
            self.goaway = (e.last_stream_id, int(e.error_code))
        elif isinstance(e, h2.events.PingAckReceived):
            self.pings.append(e.ping_data)

    def _frames(self):
        """One at a time; the preface is one, too."""
        if self.preface and len(self.wire.buf) >= self.preface:
            yield self.wire.take(self.preface)
            self.preface = 0
        while not self.preface and len(self.wire.buf) >= 9:
            n = 9 + int.from_bytes(self.wire.buf[:3], "big")
            if len(self.wire.buf) < n:
                return
            yield self.wire.take(n)

    def pump(self, until=None, what=""):
        """Reads until it is so; False when the wire has ended."""
        while until is None or not until():
            if not self.wire.fill():
                return False
            for data in self._frames():
                for e in self.h2.receive_data(data):
                    self._take(e)
                if self.goaway:  # python3-h2 takes nothing after one, but there is more: a PING, answers
                    self.h2.state_machine.state = self.open
            self.flush()
            if until is None:
                return True
        return True

    def send_body(self, stream, body, end=True, trailers=None):
        """All of it, as windows allow."""
        at = 0
        while at < len(body):
            n = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body) - at)
            if n <= 0:
                assert self.pump(), "the other side has gone"
                continue
            self.h2.send_data(stream, body[at:at + n], end_stream=end and not trailers and at + n == len(body))
            at += n
            self.flush()
        if trailers:
            self.h2.send_headers(stream, trailers, end_stream=True)
        elif end and not body:
            self.h2.end_stream(stream)
        self.flush()

    def sync(self):
        """What was sent before has been taken."""
        n = len(self.pings)
        self.h2.ping(b"sync%04d" % n)
        self.flush()
        assert self.pump(lambda: len(self.pings) > n), "the connection was closed"

    def close(self):
        self.wire.close()


class H2Client(H2Wire):
    def __init__(self, wire, window=None, **settings):
        super().__init__(wire, True, window, **settings)

    def ask(self, target="/", method="GET", headers=(), body=None, host="test", end=True, trailers=None):
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", host), (":path", target),
                *(headers.items() if isinstance(headers, dict) else headers)]
        self.h2.send_headers(stream, head, end_stream=end and body is None and not trailers)
        self.flush()
        if body is not None or trailers:
            self.send_body(stream, body or b"", end, trailers)
        return stream

    def wait(self, stream):
        s = self.of(stream)
        assert self.pump(lambda: s.ended or s.reset is not None), f"closed: {s.headers} {s.body[:200]}, {self.goaway}"
        return s

    def expect(self, stream, status=None, body=None, **fields):
        s = self.wait(stream)
        assert s.ended, f"reset with {s.reset}"
        assert status in (None, s.status), f"{s.status}, wanted {status}: {s.headers} {s.body[:300]}"
        assert body in (None, s.body), f"{s.body[:300]} is not {body[:300]}"
        for k, v in fields.items():
            assert s.get(k.replace("_", "-")) == v, f"{k}: {s.headers}"
        return s

    def fetch(self, target="/", status=None, want=None, **more):
        return self.expect(self.ask(target, **more), status, want)


class H2Upstream:
    """HTTP/2 on the connections of a harness.Upstream, by hand."""

    def __init__(self, upstream, **settings):
        self.upstream, self.settings, self.conns = upstream, settings, []

    def accept(self):
        c = H2Wire(self.upstream.accept(), False, **self.settings)
        self.conns.append(c)
        return c

    def expect(self, line=None, whole=True, conn=None):
        """The next request on the newest connection (or `conn`)."""
        c = conn or (self.conns[-1] if self.conns else self.accept())
        assert c.pump(lambda: c.new), "the connection was closed"
        s = c.new.pop(0)
        s.conn = c
        if whole:
            assert c.pump(lambda: s.ended or s.reset is not None), "the request does not end"
        assert line in (None, s.line), s.line
        return s

    @staticmethod
    def answer(s, status=200, body=b"", headers=(), trailers=None, length=True):
        head = [(":status", str(status)), *headers]
        if length and not trailers:
            head.append(("content-length", str(len(body))))
        s.conn.h2.send_headers(s.stream, head, end_stream=not body and not trailers)
        s.conn.flush()
        if body or trailers:
            s.conn.send_body(s.stream, body, trailers=trailers)

    @staticmethod
    def reset(s, code):
        s.conn.h2.reset_stream(s.stream, code)
        s.conn.flush()
