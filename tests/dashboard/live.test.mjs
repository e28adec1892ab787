// Under live traffic: numbers move, orders are given and undone, faults are shown.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import test from "node:test";
import { open, serious, traffic, weirWith } from "./browser.mjs";
import { freePort, until } from "./weir.mjs";

const number = async (locator) => parseFloat(await locator.innerText());

test("the page is small, whole, and lets nothing else run", async (t) => {
  const w = await weirWith(t);
  const r = await fetch(w.adminUrl);
  const text = await r.text();
  assert.ok(Buffer.byteLength(text) < 60 * 1024, `${text.length} bytes`);
  assert.match(r.headers.get("content-security-policy"), /^default-src 'none'; script-src 'sha256-[^ ]+'; style-src 'sha256-[^ ]+'; connect-src 'self'; /);
  assert.doesNotMatch(r.headers.get("content-security-policy"), /unsafe|\*/);
  assert.doesNotMatch(text, /transition|animation|@keyframes/); // nothing moves: who wants reduced motion has it
  assert.doesNotMatch(text.replaceAll("http://www.w3.org/", ""), /https?:\/\/|\sstyle=|\son[a-z]+=["']/);
  const page = await open(w, { mayLog: /Applying inline style violates/ });
  await page.sees(page.locator("#facts"), "none since the start");
  await page.evaluate(() => {
    const s = document.createElement("style");
    s.textContent = "body { display: none }";
    document.head.append(s);
  });
  assert.ok(await page.locator("h1").isVisible());
  await until(() => page.evaluate(() => window.violations.length > 0), "it is told of, which it is a little later");
  assert.equal((await page.evaluate(() => window.violations)).length, 1);
  await page.evaluate(() => (window.violations = []));
});

test("numbers move under live traffic", async (t) => {
  const w = await weirWith(t);
  traffic(t, w, ["/a", "/users/1", "/bad", "/spare"]);
  const page = await open(w);
  const requests = page.locator("#traffic figure").first().locator("b");
  await until(async () => (await number(requests)) > 0, "requests per second");
  const before = await page.row("policies", "per-user").innerText();
  await until(async () => (await page.row("policies", "per-user").innerText()) !== before, "the policy's row");
  await until(async () => (await number(page.row("routes", "rest").locator("td").nth(2))) > 0, "the route's requests");
  await page.sees(page.row("routes", "users"), /per-user.*→.*trial \(shadow\).*→.*guard/s);
  await page.sees(page.panel("keys"), /[0-9a-f]{16}/);
  await page.sees(page.row("upstreams", /127\.0\.0\.1:1\D/), /✕ unhealthy/);
  await page.sees(page.panel("concurrency"), /of 2 in use/);
  await page.sees(page.panel("attention"), "trial only counts");
  for (const figure of await page.locator("#traffic figure svg[role=img]").all())
    await until(async () => /Now: .*\d/.test(await figure.getAttribute("aria-label")), "every chart says what it shows");
  const drawn = await page.locator("#traffic figure svg[role=img] .s1").first().getAttribute("d");
  assert.match(drawn, /^M[\d.]+ [\d.]+/);
});

test("what becomes of Redis is seen", async (t) => {
  const port = await freePort();
  const redis = spawn("redis-server", ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--dir", os.tmpdir()], { stdio: "ignore" });
  t.after(() => redis.kill("SIGKILL"));
  const w = await weirWith(t, {
    config: {
      redis: { url: `redis://127.0.0.1:${port}/0` },
      policies: { shared: { rate: "100/h", key: "header.x-user", store: "redis" } },
      routes: [{ name: "rest", to: "app", use: ["shared"] }],
    },
  });
  traffic(t, w, ["/a"]);
  const page = await open(w);
  await page.sees(page.panel("redis"), /✓ up 1 replica share limits/);
  await until(async () => (await number(page.row("redis", "ok").locator("td").last())) > 0, "operations");
  redis.kill("SIGKILL");
  await page.sees(page.panel("redis"), /✕ gone/);
  await page.sees(page.panel("attention"), "redis: gone");
});

test("a full queue is seen", async (t) => {
  const w = await weirWith(t);
  for (let i = 0; i < 6; i++) traffic(t, w, ["/slow"]);
  const page = await open(w);
  await page.sees(page.panel("concurrency"), /2 of 2 in use, full; [1-4] queued/);
});

test("a breaker is forced and released", async (t) => {
  const w = await weirWith(t);
  assert.equal(await w.call("/a"), 200);
  const page = await open(w);
  await page.row("breakers", "guard").getByRole("button", { name: "Open" }).click();
  await page.sure("10m");
  await page.sees(page.row("breakers", "guard"), /open.*forced, (9|10) min/);
  await page.sees(page.locator("#said"), "forced open for 10m");
  await page.sees(page.locator("#badges"), "1 breaker forced");
  assert.equal(await w.call("/a"), 503);
  await page.row("breakers", "guard").getByRole("button", { name: "Auto" }).click();
  await page.sure();
  await page.sees(page.row("breakers", "guard"), /◐ half open/); // until calls went well
  traffic(t, w, ["/a"]);
  await page.sees(page.row("breakers", "guard"), /● closed/);
  assert.equal(await w.call("/a"), 200);
});

test("a breaker that is forced for a while counts down", async (t) => {
  const w = await weirWith(t);
  await w.call("/a");
  const page = await open(w);
  const left = async () => Number(/forced, (\d+) s left/.exec(await page.row("breakers", "guard").innerText())?.[1]);
  await page.row("breakers", "guard").getByRole("button", { name: "Open" }).click();
  await page.sure("1m");
  await until(async () => (await left()) < 60, "less than a minute");
  const first = await left();
  await until(async () => (await left()) < first, "and less");
});

test("the columns of an endpoint", async (t) => {
  const w = await weirWith(t, {
    config: ({ app }) => ({
      upstreams: { app: { endpoints: [app, "127.0.0.1:1"] } },
      policies: { again: { retry: 2 }, inside: { concurrency: 4 } },
      routes: [{ name: "rest", to: "app", use: ["inside", "again"] }],
    }),
  });
  const page = await open(w);
  for (let i = 0; i < 6; i++) assert.equal(await w.call("/a"), 200);
  const heads = await page.locator("#upstreams thead th").allInnerTexts();
  const cell = async (row, head) => (await page.locator("#upstreams tbody tr").nth(row).locator("th, td").nth(heads.indexOf(head)).innerText());
  const sees = (row, head, what) => until(async () => what.test(await cell(row, head)), `${head} of ${row}`);
  await sees(0, "Total", /^6$/);
  await sees(0, "Bytes in / out", /^[1-9][\d.]* (Ki)?B \/ [1-9][\d.]* (Ki)?B$/);
  await sees(1, "Bytes in / out", /^0 B \/ 0 B$/);
  await sees(0, "Err conn / resp", /^0 \/ 0/);
  await sees(1, "Err conn / resp", /^[1-6] \/ 0/);
  await sees(0, "Retr / redis", /^([1-6]) \/ \1$/);
  await sees(1, "Retr / redis", /^0 \/ 0$/);
  await sees(0, "Sess cur / max / limit", /^0 \/ [1-6] \/ –$/);
  await sees(2, "Status", /2 of 2 up/);
  for (const head of ["Status", "LastChk", "Chk", "Dwn / time", "Wght", "Thrtle", "Act/Bck", "Queue cur / max", "Rate cur / max", "Aborted", "Conns / idle"])
    assert.ok(heads.includes(head), head);
});

test("who thinks better of it gives no order", async (t) => {
  const w = await weirWith(t);
  await w.call("/a");
  const page = await open(w);
  await page.row("breakers", "guard").getByRole("button", { name: "Open" }).click();
  await page.keyboard.press("Escape");
  await page.row("breakers", "guard").getByRole("button", { name: "Open" }).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  assert.equal((await w.api("breakers")).breakers[0].forced, false);
});

test("a key is reset", async (t) => {
  const w = await weirWith(t);
  const statuses = [];
  for (let i = 0; i < 3; i++) statuses.push(await w.call("/users/1", "alice"));
  assert.deepEqual(statuses, [200, 200, 429]);
  const page = await open(w);
  await page.row("keys", "per-user").getByRole("button", { name: "Reset" }).click();
  await page.sure();
  await page.sees(page.locator("#said"), /reset, 2 of 2 left/);
  assert.equal(await w.call("/users/1", "alice"), 200);
});

test("a reload with an error shows its line", async (t) => {
  const w = await weirWith(t);
  const page = await open(w, { mayLog: /Failed to load resource: .*422/ });
  const good = fs.readFileSync(w.file, "utf8");
  const bad = good.replace('"2/h"', '\n\n"banana"');
  await page.locator("#reload").click();
  await page.sure();
  await page.sees(page.locator("#said"), /took effect/);
  fs.writeFileSync(w.file, bad);
  await page.locator("#reload").click();
  await page.sure();
  await page.sees(page.locator("#said"), /failed, the running configuration stays.*weir\.yaml:3:\d+: .*rate/s);
  await page.sees(page.locator("#facts"), /failed \(1 time\)/);
  await page.sees(page.locator("#reload-error"), /weir\.yaml:3:/);
  w.proc.kill("SIGHUP"); // nobody waits for that one's answer
  await page.sees(page.panel("events"), /reload \((?!by order).*failed.*weir\.yaml:3:/);
  fs.writeFileSync(w.file, good);
  w.proc.kill("SIGHUP");
  await page.sees(page.locator("#facts"), /took effect/);
  await page.locator("#reload-error").waitFor({ state: "detached" });
});

test("endpoints and the whole are drained and taken back", async (t) => {
  const w = await weirWith(t);
  const page = await open(w);
  await page.row("upstreams", "spare").waitFor();
  const spare = page.locator("#upstreams tbody tr", { hasText: "spare" }).first();
  await spare.getByRole("button", { name: "Drain" }).click();
  await page.sure();
  await page.sees(spare, "◆ drain");
  await page.sees(page.locator("#badges"), "out by order");
  await spare.getByRole("button", { name: "Up" }).click();
  await page.sure();
  await page.sees(spare, "▲ up");
  await page.locator("#drain").click();
  await page.sure("1m");
  await page.sees(page.locator("#badges"), /draining by order, \d+ s left|draining by order, 1 min/);
  await page.locator("#drain").click();
  await page.sure();
  await page.sees(page.locator("#badges"), "ready");
});

test("a request is explained, and costs nothing", async (t) => {
  const w = await weirWith(t);
  const page = await open(w, { mayLog: /Failed to load resource: .*400/ });
  await page.locator("#explain-path").fill("/users/7");
  await page.locator("#explain-headers").fill("x-user: bob\nx-a: 1\nx-a: 2");
  for (let i = 0; i < 3; i++) await page.getByRole("button", { name: "Explain" }).click();
  await page.sees(page.panel("explain"), /Route users: goes to app/);
  await page.sees(page.row("explain", "per-user"), /allow.*2 of 2/s);
  await w.call("/users/7", "bob"), await w.call("/users/7", "bob");
  await page.getByRole("button", { name: "Explain" }).click();
  await page.sees(page.panel("explain"), /refused with 429: rate_limited by per-user; again in/);
  await page.locator("#explain-headers").fill("nonsense");
  await page.getByRole("button", { name: "Explain" }).click();
  await page.sees(page.panel("explain"), /a header is "name: value"/);
  await page.locator("#explain-headers").fill("");
  await page.locator("#explain-client").fill("nobody");
  await page.getByRole("button", { name: "Explain" }).click();
  await page.sees(page.panel("explain"), /error.*client/);
});

test("what was asked last is what is shown", async (t) => {
  const w = await weirWith(t);
  let late;
  const page = await open(w, { before: (p) => p.route(/\/explain/, (r) => (late ? r.continue() : (late = r))) });
  for (const path of ["/users/7", "/slow"]) {
    await page.locator("#explain-path").fill(path);
    await page.getByRole("button", { name: "Explain" }).click();
  }
  await page.sees(page.panel("explain"), /Route slow: goes to app/);
  const [answer] = await Promise.all([page.waitForResponse(/\/explain/), late.continue()]);
  assert.equal((await answer.json()).route, "users");
  await page.waitForResponse(/\/stats\.json/);
  await page.sees(page.panel("explain"), /Route slow: goes to app/);
});

for (const scheme of ["light", "dark"])
  test(`axe finds nothing serious: ${scheme}`, async (t) => {
    const w = await weirWith(t, { admin: { token: "s3cret", anonymous: "read" } });
    traffic(t, w, ["/a", "/users/1", "/bad"]);
    const page = await open(w, { scheme });
    await page.row("keys", "per-user").waitFor();
    await page.row("events", "ready").waitFor();
    assert.deepEqual(await serious(page), []);
    await page.locator("#token-open").click();
    await page.locator("#token").fill("s3cret");
    await page.keyboard.press("Enter");
    await page.locator("#reload").waitFor();
    await page.getByRole("button", { name: "Explain" }).click();
    await page.row("explain", "inside").waitFor();
    assert.deepEqual(await serious(page), []);
    await page.locator("#breakers button", { hasText: "Open" }).first().click();
    assert.deepEqual(await serious(page), []);
    await page.setViewportSize({ width: 420, height: 800 });
    await page.keyboard.press("Escape");
    assert.deepEqual(await serious(page), []);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "it is not scrolled sideways");
  });

test("a breaker is forced with the keyboard alone", async (t) => {
  const w = await weirWith(t);
  await w.call("/a");
  const page = await open(w);
  await page.row("breakers", "guard").waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the panels");
  await page.keyboard.press("Enter");
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press("Tab");
    if (/^Open breaker guard/.test(await page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? ""))) break;
  }
  for (let i = 0; i < 2; i++) await page.waitForResponse((r) => r.url().endsWith("/breakers")); // the row is drawn anew meanwhile
  await page.keyboard.press("Enter");
  await page.locator("#sure").waitFor();
  for (let i = 0; i < 4 && (await page.evaluate(() => document.activeElement.id)) !== "sure-yes"; i++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.sees(page.row("breakers", "guard"), /open.*forced/);
  assert.match(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), /^Open breaker guard/);
});
