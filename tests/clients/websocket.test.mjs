// WebSocket through Weir: client and server are ws's; over HTTP/2 on streams of Node's own (RFC 8441).

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import { test } from "node:test";

import { WebSocket, WebSocketServer } from "ws";

import { Weir, until } from "./weir.mjs";

// ws on a stream that is open already: what its own handshake ends with.
function overStream(stream, isServer) {
  const ws = new WebSocket(null, undefined, { autoPong: true, closeTimeout: 5000 });
  ws._isServer = isServer;
  stream.setNoDelay ??= () => {};
  stream.setKeepAlive ??= () => {};
  ws.setSocket(stream, Buffer.alloc(0), { maxPayload: 64 << 20, skipUTF8Validation: false, allowSynchronousEvents: true });
  return ws;
}

const echo = (ws) => {
  ws.on("message", (data, binary) => ws.send(data, { binary }));
  ws.on("error", () => {});
};

async function upstreamOf1(t) {
  const server = http.createServer((req, res) => res.end("plain"));
  const wss = new WebSocketServer({ server, handleProtocols: () => "b", perMessageDeflate: true });
  wss.on("connection", echo);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => (wss.clients.forEach((c) => c.terminate()), server.close(), server.closeAllConnections()));
  return { addr: `127.0.0.1:${server.address().port}` };
}

async function upstreamOf2(t) {
  const sessions = new Set();
  const server = http2.createServer({ settings: { enableConnectProtocol: true } });
  server.on("session", (s) => sessions.add(s));
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    if (headers[":method"] !== "CONNECT") return stream.respond({ ":status": 200 }, { endStream: true });
    assert.equal(headers[":protocol"], "websocket");
    stream.respond({ ":status": 200, "sec-websocket-protocol": "b" });
    echo(overStream(stream, true));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => (sessions.forEach((s) => s.destroy()), server.close()));
  return { addr: `127.0.0.1:${server.address().port}`, http2: true };
}

async function clientOf1(t, weir) {
  const ws = new WebSocket(`ws://${weir.addr}/chat`, ["a", "b"]);
  t.after(() => ws.terminate());
  await once(ws, "open");
  assert.equal(ws.protocol, "b");
  return ws;
}

async function clientOf2(t, weir) {
  const session = http2.connect(`http://${weir.addr}`);
  t.after(() => session.destroy());
  await once(session, "remoteSettings");
  assert.equal(session.remoteSettings.enableConnectProtocol, true);
  const stream = session.request({ ":method": "CONNECT", ":protocol": "websocket", ":path": "/chat", "sec-websocket-version": "13",
    "sec-websocket-protocol": "a, b" });
  stream.on("error", () => {});
  const [headers] = await once(stream, "response");
  assert.equal(headers[":status"], 200);
  assert.equal(headers["sec-websocket-protocol"], "b");
  return overStream(stream, false);
}

async function start(t, upstream) {
  const { addr, ...more } = await upstream(t);
  return Weir.start(t, () => ({ upstreams: { app: { endpoints: [addr], ...more } }, routes: [{ to: "app", upgrade: true }] }));
}

const inboxes = new WeakMap(); // several messages may come at once
function inbox(ws) {
  if (!inboxes.has(ws)) {
    inboxes.set(ws, []);
    ws.on("message", (data) => inboxes.get(ws).push(data));
  }
  return inboxes.get(ws);
}

const heard = async (ws, what) => {
  await until(() => inbox(ws).length > 0, `message ${String(what).slice(0, 20)}`);
  assert.ok(Buffer.from(inbox(ws).shift()).equals(Buffer.from(what)));
};

for (const [from, client] of [["HTTP/1", clientOf1], ["HTTP/2", clientOf2]])
  for (const [to, upstream] of [["HTTP/1", upstreamOf1], ["HTTP/2", upstreamOf2]])
    test(`${from} to ${to}`, async (t) => {
      const weir = await start(t, upstream);
      const ws = await client(t, weir);
      inbox(ws);
      const large = Buffer.alloc(3_000_000, "0123456789");
      for (const what of ["hello", "", "é".repeat(40000), large]) {
        ws.send(what);
        await heard(ws, what);
      }
      for (let i = 0; i < 100; i++) ws.send(`m${i}`);
      for (let i = 0; i < 100; i++) await heard(ws, `m${i}`);
      ws.ping();
      await once(ws, "pong");
      ws.close(4001, "done");
      const [code] = await once(ws, "close");
      assert.equal(code, 4001);
      const [line] = await weir.access();
      assert.equal(line["http.request.method"], "GET");
      assert.equal(line.reason, "ok");
    });

test("a reload leaves it be", async (t) => {
  const { addr } = await upstreamOf1(t);
  const make = (rate) => () => ({
    upstreams: { app: { endpoints: [addr] } }, policies: { p: { rate } }, routes: [{ to: "app", upgrade: true, use: ["p"] }],
  });
  const weir = await Weir.start(t, make("10/s"));
  const sockets = [await clientOf1(t, weir), await clientOf2(t, weir)];
  for (const rate of ["20/s", "30/s"]) {
    await weir.reload(make(rate));
    for (const ws of sockets) {
      inbox(ws);
      ws.send(rate);
      await heard(ws, rate);
    }
  }
});

test("a refusal is an ordinary answer", async (t) => {
  const { addr } = await upstreamOf1(t);
  const weir = await Weir.start(t, () => ({
    upstreams: { app: { endpoints: [addr] } },
    policies: { p: { rate: "1/h", burst: 1 } },
    routes: [{ to: "app", upgrade: true, use: ["p"] }],
  }));
  await clientOf1(t, weir);
  const ws = new WebSocket(`ws://${weir.addr}/chat`);
  const [, response] = await once(ws, "unexpected-response");
  assert.equal(response.statusCode, 429);
  ws.on("error", () => {});
  ws.terminate();
  await assert.rejects(clientOf2(t, weir), /429/);
});

test("one side goes away", async (t) => {
  const { addr } = await upstreamOf1(t);
  const weir = await Weir.start(t, () => ({ upstreams: { app: { endpoints: [addr] } }, routes: [{ to: "app", upgrade: true }] }));
  for (const client of [clientOf1, clientOf2]) (await client(t, weir)).terminate();
  await weir.access(2);
  await until(() => true);
});
