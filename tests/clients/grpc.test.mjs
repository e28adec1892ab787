// gRPC through Weir: client and server are grpc-js's.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";

import grpc from "@grpc/grpc-js";

import { Weir, sleep, until } from "./weir.mjs";

const { status } = grpc;
const bytes = { serialize: (b) => b, deserialize: (b) => b };

function method(name, requestStream, responseStream) {
  return {
    path: `/test.Echo/${name}`, requestStream, responseStream,
    requestSerialize: bytes.serialize, requestDeserialize: bytes.deserialize,
    responseSerialize: bytes.serialize, responseDeserialize: bytes.deserialize,
  };
}

const service = {
  unary: method("Unary", false, false),
  gather: method("Gather", true, false),
  scatter: method("Scatter", false, true),
  chat: method("Chat", true, true),
};

const Client = grpc.makeGenericClientConstructor(service, "Echo");
const LARGE = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };

// What the server saw, and what it is to do: by the request's text.
class Server {
  static async start(t, more = {}) {
    const s = new Server();
    s.seen = [];
    s.cancelled = 0;
    s.failures = 0;
    s.server = new grpc.Server(LARGE);
    s.server.addService(service, {
      unary: (call, done) => s.unary(call, done),
      gather: (call, done) => s.gather(call, done),
      scatter: (call) => s.scatter(call),
      chat: (call) => s.chat(call),
    });
    const { secure } = more;
    const credentials = secure === undefined ? grpc.ServerCredentials.createInsecure()
      : grpc.ServerCredentials.createSsl(null, [{ private_key: secure.key, cert_chain: secure.cert }]);
    s.port = await new Promise((yes, no) =>
      s.server.bindAsync(`127.0.0.1:${more.port ?? 0}`, credentials, (e, port) => (e ? no(e) : yes(port))));
    s.addr = `127.0.0.1:${s.port}`;
    t.after(() => s.server.forceShutdown());
    return s;
  }

  note(call) {
    this.seen.push({ metadata: call.metadata.getMap(), deadline: call.getDeadline(), at: Date.now() });
    call.on("cancelled", () => this.cancelled++);
  }

  async unary(call, done) {
    const text = call.request.length < 100 ? call.request.toString() : "";
    this.note(call);
    if (text.startsWith("fail ") || (text.startsWith("flaky ") && this.failures-- > 0)) {
      const [, code, ms] = text.split(" ");
      const metadata = new grpc.Metadata();
      metadata.set("why", "asked");
      metadata.set("detail-bin", Buffer.from([0, 255, 1]));
      if (ms !== undefined) metadata.set("grpc-retry-pushback-ms", ms);
      done({ code: Number(code), details: "100% é", metadata });
      return;
    }
    if (text.startsWith("sleep ")) await sleep(Number(text.split(" ")[1]));
    const head = new grpc.Metadata(), trailer = new grpc.Metadata();
    head.set("in-head", "h");
    trailer.set("in-trailer", "t");
    trailer.set("bytes-bin", Buffer.from([1, 2, 3]));
    call.sendMetadata(head);
    done(null, call.request, trailer);
  }

  gather(call, done) {
    let n = 0;
    this.note(call);
    call.on("data", (b) => (n += b.length));
    call.on("end", () => done(null, Buffer.from(String(n))));
  }

  async scatter(call) {
    const [n, size] = call.request.toString().split(" ").map(Number);
    this.note(call);
    for (let i = 0; i < n && !call.cancelled; i++)
      if (!call.write(Buffer.alloc(size, i))) await Promise.race([new Promise((yes) => call.once("drain", yes)), until(() => call.cancelled)]);
    call.end();
  }

  chat(call) {
    this.note(call);
    call.on("data", (b) => call.write(b));
    call.on("end", () => call.end());
  }
}

function client(t, weir, options = {}) {
  const c = new Client(weir.addr, grpc.credentials.createInsecure(), { ...LARGE, ...options });
  t.after(() => c.close());
  return c;
}

const unary = (c, request, metadata = new grpc.Metadata(), options = {}) =>
  new Promise((yes, no) => {
    const out = {};
    const call = c.unary(Buffer.from(request), metadata, options, (e, reply) => (e ? no(e) : ((out.reply = reply), out.trailer && yes(out))));
    call.on("metadata", (m) => (out.head = m));
    call.on("status", (s) => ((out.trailer = s.metadata), out.reply !== undefined && yes(out)));
  });

async function start(t, more = {}, upstream = {}) {
  const server = await Server.start(t);
  const weir = await Weir.start(t, () => ({
    upstreams: { app: { endpoints: [server.addr], http2: true, ...upstream } },
    ...more,
    routes: more.routes ?? [{ to: "app", ...more.route }],
    route: undefined,
  }));
  return { server, weir, c: client(t, weir) };
}

const fails = (promise, code) => assert.rejects(promise, (e) => (assert.equal(e.code, code, e.message), true));

test("unary calls, their metadata and trailers", async (t) => {
  const { server, weir, c } = await start(t);
  const metadata = new grpc.Metadata();
  metadata.set("x-a", "b");
  metadata.set("x-bin", Buffer.from([0, 10, 13, 255]));
  const r = await unary(c, "hello", metadata);
  assert.equal(r.reply.toString(), "hello");
  assert.deepEqual(r.head.get("in-head"), ["h"]);
  assert.deepEqual(r.trailer.get("in-trailer"), ["t"]);
  assert.deepEqual(r.trailer.get("bytes-bin"), [Buffer.from([1, 2, 3])]);
  assert.equal(server.seen[0].metadata["x-a"], "b");
  assert.deepEqual(server.seen[0].metadata["x-bin"], Buffer.from([0, 10, 13, 255]));
  assert.equal((await weir.access())[0]["rpc.grpc.status_code"], 0);
});

test("a status with its message and metadata", async (t) => {
  const { c } = await start(t);
  await assert.rejects(unary(c, "fail 5"), (e) => {
    assert.equal(e.code, status.NOT_FOUND);
    assert.equal(e.details, "100% é");
    assert.deepEqual(e.metadata.get("detail-bin"), [Buffer.from([0, 255, 1])]);
    return true;
  });
});

test("streams: one way, the other, and both", async (t) => {
  const { c } = await start(t);
  const gathered = await new Promise((yes, no) => {
    const call = c.gather((e, r) => (e ? no(e) : yes(r)));
    for (let i = 0; i < 200; i++) call.write(Buffer.alloc(5000));
    call.end();
  });
  assert.equal(gathered.toString(), "1000000");
  let n = 0, bytesSeen = 0;
  for await (const b of c.scatter(Buffer.from("300 10000"))) {
    assert.equal(b[0], n++ & 255);
    bytesSeen += b.length;
  }
  assert.equal(bytesSeen, 3_000_000);
  const call = c.chat();
  const heard = [];
  call.on("data", (b) => heard.push(b.toString()));
  for (let i = 0; i < 50; i++) {
    call.write(Buffer.from(`m${i}`));
    await until(() => heard.length === i + 1, "the echo");
    assert.equal(heard[i], `m${i}`);
  }
  call.end();
  await new Promise((yes) => call.on("end", yes));
});

test("large messages", async (t) => {
  const { c } = await start(t);
  const large = Buffer.alloc(20 * 1024 * 1024);
  for (let i = 0; i < large.length; i += 1000) large[i] = i / 1000;
  assert.ok((await unary(c, large)).reply.equals(large));
});

test("many at once", async (t) => {
  const { c } = await start(t);
  const replies = await Promise.all(Array.from({ length: 500 }, (_, i) => unary(c, `call ${i}`)));
  replies.forEach((r, i) => assert.equal(r.reply.toString(), `call ${i}`));
});

test("a deadline reaches the server, and passes", async (t) => {
  const { server, weir, c } = await start(t);
  await until(async () => { // it may pass before the server hears of the call
    const metadata = new grpc.Metadata(), now = Date.now();
    metadata.set("now", String(now));
    await fails(unary(c, "sleep 5000", metadata, { deadline: now + 400 }), status.DEADLINE_EXCEEDED);
    return server.seen.length;
  }, "a call that the server hears of");
  const { metadata: { now }, deadline, at } = server.seen[0];
  assert.ok(deadline >= Number(now) + 380 && deadline <= at + 400, `${deadline - now} after ${at - now}`); // it is sent as what is left
  await until(() => server.cancelled > 0, "the server's cancellation");
  const line = (await weir.access(server.seen.length)).at(-1);
  assert.ok(["deadline_exceeded", "client_abort"].includes(line.reason), line.reason); // whose timer was first
});

test("the route's total is a deadline, too", async (t) => {
  const { server, weir, c } = await start(t, { route: { timeout: { total: "300ms" } } });
  await until(async () => { // it may pass before the server hears of the call
    await fails(unary(c, "sleep 5000"), status.DEADLINE_EXCEEDED);
    return server.seen.length;
  }, "a call that the server hears of");
  await until(() => server.cancelled > 0, "the server's cancellation");
  const line = (await weir.access(server.seen.length)).at(-1);
  assert.ok(["total_timeout", "ok"].includes(line.reason), line.reason); // the server has a timer of its own
  assert.equal(line["rpc.grpc.status_code"], status.DEADLINE_EXCEEDED);
});

test("a cancelled call is cancelled there", async (t) => {
  const { server, c } = await start(t);
  const call = c.chat();
  call.on("error", () => {});
  call.write(Buffer.from("x"));
  await new Promise((yes) => call.once("data", yes));
  call.cancel();
  await until(() => server.cancelled === 1, "the server's cancellation");
});

test("a slow reader holds the server back", async (t) => {
  const { c } = await start(t);
  const call = c.scatter(Buffer.from("2000 16384"));
  call.pause();
  await sleep(300);
  let n = 0;
  for await (const b of call) n += b.length;
  assert.equal(n, 2000 * 16384);
});

test("a limit refuses, and says for how long", async (t) => {
  const { c } = await start(t, { policies: { p: { rate: "1/10s", burst: 1 } }, route: { use: ["p"] } });
  const began = Date.now();
  await unary(c, "a");
  await assert.rejects(unary(c, "b"), (e) => {
    const ms = Number(e.metadata.get("grpc-retry-pushback-ms")[0]);
    assert.equal(e.code, status.RESOURCE_EXHAUSTED);
    assert.match(e.details, /rate limit exceeded \(policy p\)/);
    assert.ok(ms > 10000 - (Date.now() - began) - 5 && ms <= 10000, String(ms));
    return true;
  });
});

const RETRYING = {
  "grpc.service_config": JSON.stringify({
    methodConfig: [{
      name: [{}],
      retryPolicy: { maxAttempts: 3, initialBackoff: "0.01s", maxBackoff: "0.02s", backoffMultiplier: 1,
        retryableStatusCodes: ["RESOURCE_EXHAUSTED", "UNAVAILABLE"] },
    }],
  }),
};

test("the client comes back when it is told to, and then it passes", async (t) => {
  const { weir } = await start(t, { policies: { p: { rate: "1/s", burst: 1 } }, route: { use: ["p"] } });
  const c = client(t, weir, RETRYING);
  const codes = async (n) => (await weir.access(n)).map((l) => l["rpc.grpc.status_code"]).join(" ");
  let last, began = Date.now(), n = 1;
  await unary(c, "a");
  do { // on a busy machine the next call can come too late to be refused
    [last, began] = [began, Date.now()];
    await unary(c, "b");
  } while (!(await codes(++n)).includes("8"));
  assert.ok(Date.now() - last > 990, `${Date.now() - last} ms`);
  assert.match(await codes(n + 1), /^(0 )+8 0$/);
});

test("and not at all where it would be of no use", async (t) => {
  const { weir } = await start(t, { policies: { p: { rate: "1/h", burst: 1 } }, route: { use: ["p"] } });
  const c = client(t, weir, RETRYING);
  await unary(c, "a");
  await fails(unary(c, "b"), status.RESOURCE_EXHAUSTED);
  await sleep(200);
  assert.equal((await weir.access(2)).length, 2);
});

test("an upstream that is down is unavailable", async (t) => {
  const { server, weir, c } = await start(t);
  server.server.forceShutdown();
  await fails(unary(c, "a"), status.UNAVAILABLE);
  assert.equal((await weir.access())[0]["rpc.grpc.status_code"], 14);
});

test("Weir tries again in the client's place", async (t) => {
  const { server, weir, c } = await start(t, {
    policies: { r: { retry: 2, when: [503], methods: ["POST"], backoff: { base: "1ms", max: "1s" }, budget: "100%" } },
    route: { use: ["r"] },
  });
  server.failures = 2;
  await unary(c, "flaky 14");
  assert.equal((await weir.access())[0].attempts, 3);
  server.failures = 1;
  await fails(unary(c, "flaky 14 -1"), status.UNAVAILABLE);
});

test("a breaker opens by what gRPC says", async (t) => {
  const { c } = await start(t, { policies: { b: { breaker: 2, open_for: "30s" } }, route: { use: ["b"] } });
  for (let i = 0; i < 2; i++) await fails(unary(c, "fail 14"), status.UNAVAILABLE);
  await assert.rejects(unary(c, "a"), (e) => {
    assert.match(e.details, /circuit breaker/);
    return e.code === status.UNAVAILABLE;
  });
});

test("a drain loses no call", async (t) => {
  const { server, weir, c } = await start(t);
  const chat = c.chat();
  chat.write(Buffer.from("1"));
  await new Promise((yes) => chat.once("data", yes));
  const calls = Array.from({ length: 50 }, () => unary(c, "sleep 500"));
  await until(() => server.seen.length === 51, "all calls are there");
  weir.proc.kill("SIGTERM");
  await until(() => weir.errors.includes("shutting down"), "Weir has heard it");
  chat.write(Buffer.from("2")); // a stream goes on while there is time
  await new Promise((yes) => chat.once("data", yes));
  chat.end();
  chat.resume();
  await Promise.all(calls);
  await until(() => weir.proc.exitCode === 0, "the end of Weir");
});

test("a reload disturbs no stream", async (t) => {
  const { server, weir, c } = await start(t);
  const chat = c.chat();
  const heard = [];
  chat.on("data", (b) => heard.push(b.toString()));
  for (let i = 0; i < 4; i++) {
    chat.write(Buffer.from(String(i)));
    await until(() => heard.length === i + 1, "the echo");
    await weir.reload(() => ({
      upstreams: { app: { endpoints: [server.addr], http2: true } },
      policies: { p: { rate: `${i + 1}/h`, burst: 1 } },
      routes: [{ to: "app", use: i < 3 ? ["p"] : [] }],
    }));
  }
  chat.end();
  await new Promise((yes) => chat.on("end", yes));
  assert.deepEqual(heard, ["0", "1", "2", "3"]);
  await unary(c, "x");
});

test("over TLS at both ends", async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "weir-clients-"));
  const pem = path.join(dir, "pem"), cert = path.join(dir, "cert");
  t.after(() => fs.rmSync(dir, { recursive: true }));
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", pem, "-out", cert], { stdio: "ignore" });
  fs.appendFileSync(pem, fs.readFileSync(cert));
  const server = await Server.start(t, { secure: { key: fs.readFileSync(pem), cert: fs.readFileSync(cert) } });
  for (const http2 of [true, "auto"]) {
    const weir = await Weir.start(t, (addr) => ({
      listen: { addr, tls: { cert: pem } },
      upstreams: { app: { endpoints: `https://localhost:${server.port}`, http2, tls: { ca: cert } } },
      routes: [{ to: "app" }],
    }));
    const c = new Client(`localhost:${weir.port}`, grpc.credentials.createSsl(fs.readFileSync(cert)), LARGE);
    t.after(() => c.close());
    assert.equal((await unary(c, "hello")).reply.toString(), "hello");
    const large = Buffer.alloc(3_000_000, "0123456789");
    assert.ok((await unary(c, large)).reply.equals(large));
    await fails(unary(c, "fail 9"), status.FAILED_PRECONDITION);
  }
});

test("a server that goes away in peace loses no call", async (t) => {
  const a = await Server.start(t), b = await Server.start(t);
  const weir = await Weir.start(t, () => ({
    upstreams: { app: { endpoints: [a.addr, b.addr], http2: true } },
    routes: [{ to: "app" }],
  }));
  const c = client(t, weir);
  let stop = false;
  const crowd = Promise.all(Array.from({ length: 20 }, async () => {
    while (!stop) await unary(c, "sleep 5");
  }));
  const after = (s, n) => Promise.race([crowd, until(() => s.seen.length >= n, `call ${n}`)]); // one that is lost is told at once
  await after(a, 100);
  let gone = false;
  a.server.tryShutdown(() => (gone = true)); // GOAWAY
  const before = b.seen.length;
  await after(b, before + 200);
  await until(() => gone, "it is gone");
  stop = true;
  await crowd;
});
