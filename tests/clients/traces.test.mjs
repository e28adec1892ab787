// Traces: what Weir sends a collector, beside what OpenTelemetry's own serializer makes of the same spans.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { test } from "node:test";

import { SpanKind } from "@opentelemetry/api";
import { JsonTraceSerializer } from "@opentelemetry/otlp-transformer";
import { resourceFromAttributes } from "@opentelemetry/resources";

import { Weir, until } from "./weir.mjs";

const PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async function serve(t, handler) {
  const server = http.createServer(handler).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => (server.close(), server.closeAllConnections()));
  return `127.0.0.1:${server.address().port}`;
}

async function start(t) {
  const documents = [];
  const collector = await serve(t, async (req, res) => {
    let body = "";
    for await (const piece of req) body += piece;
    documents.push({ headers: req.headers, body: JSON.parse(body) });
    res.end("{}");
  });
  const app = await serve(t, (req, res) => res.writeHead(req.url === "/bad" ? 503 : 200).end("hello"));
  const weir = await Weir.start(t, () => ({
    tracing: { endpoint: `http://${collector}`, interval: "20ms", attributes: { "deployment.environment.name": "test" } },
    upstreams: { app },
    policies: { again: { retry: 1, when: [503], backoff: { base: "1ms" } }, few: { rate: "4/h", burst: 4 } },
    routes: [{ name: "app", to: "app", use: ["few", "again"] }],
  }));
  return { documents, weir };
}

const value = (v) => (v.intValue !== undefined ? Number(v.intValue) : Object.values(v)[0]);
const plain = (attributes) => Object.fromEntries(attributes.map((a) => [a.key, value(a.value)]));
const time = (text) => [Number(BigInt(text) / 1000000000n), Number(BigInt(text) % 1000000000n)];

// A span of Weir's as the SDK would have it.
function readable(span, resource, scope) {
  const traceState = span.traceState && { serialize: () => span.traceState };
  const isRemote = (span.flags & 0x200) !== 0;
  return {
    name: span.name,
    kind: span.kind - 1, // the API counts from 0 (INTERNAL)
    spanContext: () => ({ traceId: span.traceId, spanId: span.spanId, traceFlags: span.flags & 0xff, traceState }),
    parentSpanContext: span.parentSpanId && { traceId: span.traceId, spanId: span.parentSpanId, traceFlags: 1, isRemote },
    startTime: time(span.startTimeUnixNano),
    endTime: time(span.endTimeUnixNano),
    status: span.status,
    attributes: plain(span.attributes),
    links: [],
    events: [],
    ended: true,
    resource,
    instrumentationScope: scope,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  };
}

// What the mapping lets one say in two ways, or leave out (protobuf.dev/programming-guides/json): 64-bit integers as
// numbers, and what is at its default.  Whole numbers that are doubles have become integers on the way.
function normal(x) {
  if (Array.isArray(x)) return x.map(normal);
  if (x === null || typeof x !== "object") return x;
  if (x.intValue !== undefined) return { number: Number(x.intValue) };
  if (x.doubleValue !== undefined) return { number: x.doubleValue };
  return Object.fromEntries(
    Object.entries(x)
      .map(([k, v]) => [k, normal(v)])
      .filter(([, v]) => v !== undefined && v !== 0 && v !== "" && !(Array.isArray(v) && v.length === 0)),
  );
}

test("a document is what OpenTelemetry's serializer makes of its spans", async (t) => {
  const { documents, weir } = await start(t);
  const spans = () => documents.flatMap((d) => d.body.resourceSpans[0].scopeSpans[0].spans);
  await fetch(`http://${weir.addr}/a?b=c`, { headers: { traceparent: PARENT, tracestate: "a=b" } });
  await fetch(`http://${weir.addr}/bad`);
  await fetch(`http://${weir.addr}/bad`, { method: "POST", body: "x" });
  for (let i = 0; i < 3; i++) await fetch(`http://${weir.addr}/limit`);
  await until(() => spans().length >= 2 + 3 + 2 + 2 + 1 + 1, "all spans");
  for (const { headers, body } of documents) {
    const [{ resource, scopeSpans }] = body.resourceSpans;
    const owner = resourceFromAttributes(plain(resource.attributes));
    const sdk = scopeSpans[0].spans.map((s) => readable(s, owner, scopeSpans[0].scope));
    const theirs = JSON.parse(new TextDecoder().decode(JsonTraceSerializer.serializeRequest(sdk)));
    assert.equal(headers["content-type"], "application/json");
    assert.deepEqual(normal(body), normal(theirs));
  }
  assert.equal(spans().filter((s) => s.kind - 1 === SpanKind.SERVER).length, 6);
  assert.deepEqual(new Set(spans().map((s) => s.status.code)), new Set([0, 2]));
});

test("64-bit integers are strings, ids hex, enums numbers", async (t) => {
  const { documents, weir } = await start(t);
  await fetch(`http://${weir.addr}/`);
  await until(() => documents.length, "a document");
  for (const s of documents[0].body.resourceSpans[0].scopeSpans[0].spans) {
    assert.match(s.traceId, /^[0-9a-f]{32}$/);
    assert.match(s.spanId, /^[0-9a-f]{16}$/);
    assert.match(s.startTimeUnixNano, /^[0-9]{19}$/);
    assert.match(s.endTimeUnixNano, /^[0-9]{19}$/);
    assert.equal(typeof s.kind, "number");
    assert.equal(typeof s.status.code, "number");
    for (const a of s.attributes) assert.ok(a.value.intValue === undefined || /^[0-9]+$/.test(a.value.intValue), a.key);
  }
});
