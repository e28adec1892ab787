// A page that is left open for a day, on fake timers: what it keeps does not grow, and hidden it rests.

import assert from "node:assert/strict";
import test from "node:test";
import { open, weirWith } from "./browser.mjs";

// Timers that pass(ms) runs, one after the other, each with all that it awaits: a day takes seconds.
function fakeTime() {
  const RealDate = Date;
  const timers = new Map();
  let mono = 1000, wall = RealDate.now(), next = 1;
  window.setTimeout = (f, ms = 0) => (timers.set(next, { at: mono + ms, f }), next++);
  window.clearTimeout = (id) => timers.delete(id);
  performance.now = () => mono;
  window.Date = class extends RealDate {
    constructor(...given) { super(...(given.length ? given : [wall])); }
    static now() { return wall; }
  };
  Object.defineProperty(navigator, "locks", { value: undefined }); // they come by real time
  window.later = (ms) => ((mono += ms), (wall += ms));
  window.pass = async (ms) => {
    for (const end = mono + ms; mono < end; ) {
      const [id, due] = [...timers].sort((a, b) => a[1].at - b[1].at)[0] ?? [0, { at: end }];
      window.later(Math.max(0, Math.min(due.at, end) - mono));
      if (due.at >= end) return;
      timers.delete(id);
      due.f();
      for (let i = 0; i < 60; i++) await null;
    }
  };
}

// Answers at once (fake timers do not wait for a network) what the real one said, with counters that go on, other keys, other endpoints' names and events.
function pretend(seen) {
  let n = 0;
  const grow = (v) => typeof v === "number" ? v : Array.isArray(v) ? v.map(grow)
    : v && typeof v === "object" ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, ["count", "allow", "deny", "ok"].includes(k) ? x + n * 7 : grow(x)])) : v;
  const more = {
    "/stats.json": (v) => {
      v.upstreams[0].endpoints.push({ ...v.upstreams[0].endpoints[0], endpoint: `10.0.0.${n % 250}:${n}` });
      v.histograms.duration = [[0.001, n * 5], [0.25, n]];
      return v;
    },
    "/limits": (v) => {
      for (const l of v.limits) l.top = [{ hash: n.toString(16).padStart(16, "0"), refused: n, error: 0 }];
      return v;
    },
  };
  window.asked = 0;
  window.slow = 0; // ms that /stats.json takes
  window.fetch = (path) => {
    const name = path.split("?")[0];
    if (name === "/stats.json") window.later(window.slow);
    window.asked++;
    n++;
    if (name === "/events") {
      const from = Number(/since=(\d+)/.exec(path)[1]);
      const text = Array.from({ length: 2 }, (_, i) => `id: ${from + i}\ndata: ${JSON.stringify({ seq: from + i, time: new Date().toISOString(), level: "warn", kind: "test", text: "x".repeat(200) })}\n\n`).join("");
      const parts = [{ value: text, done: false }, { done: true }];
      return Promise.resolve({ status: 200, body: { pipeThrough: () => ({ getReader: () => ({ read: async () => parts.shift() }) }) } });
    }
    const value = grow(seen[name]);
    return Promise.resolve({ status: 200, headers: { get: () => "application/json" }, text: async () => JSON.stringify(more[name]?.(value) ?? value) });
  };
}

async function kept(page) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("HeapProfiler.collectGarbage");
  await cdp.send("HeapProfiler.collectGarbage");
  const heap = await cdp.send("Runtime.getHeapUsage");
  const dom = await cdp.send("Memory.getDOMCounters");
  await cdp.detach();
  return { bytes: heap.usedSize, nodes: dom.nodes, listeners: dom.jsEventListeners };
}

test("a day", async (t) => {
  const w = await weirWith(t);
  const seen = {};
  for (const name of ["stats.json", "limits?top=5", "breakers", "health", "drain", "log-level"]) seen["/" + name.split("?")[0]] = await w.api(name);
  const page = await open(w, {
    before: async (p) => {
      await p.addInitScript(fakeTime);
      await p.addInitScript(pretend, seen);
    },
  });
  const hours = async (n) => { for (let i = 0; i < n * 6; i++) await page.evaluate(() => window.pass(600_000)); };
  await page.evaluate(() => (document.body.style.display = "none")); // laying it out is not what is looked at
  await hours(1); // every 2 s
  await page.evaluate(() => (window.slow = 400)); // and then every 8 s, as of a Weir that has much to do
  const early = await kept(page);
  const before = await page.evaluate(() => window.asked);
  await hours(23);
  const late = await kept(page);
  const asked = (await page.evaluate(() => window.asked)) - before;
  t.diagnostic(JSON.stringify({ early, late, asked }));
  assert.ok(asked > 23 * 3600 / 4, `${asked} questions`);
  assert.ok(late.bytes < early.bytes * 1.25 + 1e6, JSON.stringify({ early, late }));
  assert.ok(late.nodes < early.nodes * 1.25 + 500, JSON.stringify({ early, late }));
  assert.ok(late.listeners < early.listeners + 200, JSON.stringify({ early, late }));
  assert.ok((await page.locator("#events tbody tr").count()) <= 200);

  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: true, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
    window.asked = 0;
  });
  await hours(1);
  assert.equal(await page.evaluate(() => window.asked), 0);
  await page.evaluate(() => {
    delete document.hidden;
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await page.evaluate(() => window.pass(5000));
  assert.ok((await page.evaluate(() => window.asked)) > 0);
});
