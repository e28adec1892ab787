// What goes wrong: nobody answers, tokens, names with HTML in them, five hundred routes.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import test from "node:test";
import { open, traffic, weirWith } from "./browser.mjs";
import { sleep, until } from "./weir.mjs";

const REFUSED = /Failed to load resource: net::ERR_/; // what it is called depends on where the answer was cut
const NO_TOKEN = /Failed to load resource: .*401/;

test("a Weir that is gone is said to be, and found again", async (t) => {
  const w = await weirWith(t);
  const page = await open(w, { mayLog: REFUSED });
  await page.sees(page.panel("events"), "is ready"); // they come after the badges
  w.proc.kill("SIGKILL");
  await page.sees(page.locator("#gone"), /No answer from Weir since (\d\d-\d\d )?\d\d:\d\d:\d\dZ/);
  assert.match(await page.title(), /no answer/);
  assert.equal(await page.locator("#badges").innerText(), "✕ no answer");
  await weirWith(t, { port: w.adminPort });
  await page.locator("#gone").waitFor({ state: "hidden" });
  await page.sees(page.locator("#badges"), "ready");
  await until(async () => (await page.row("events", "is ready").count()) === 1 &&
    (await page.locator("#events tr", { hasText: "is ready" }).count()) === 2, "the events of both");
});

test("one that hangs is said to be gone, too", async (t) => {
  const w = await weirWith(t);
  const page = await open(w, { before: (p) => p.clock.install() });
  await page.sees(page.locator("#badges"), "ready");
  w.proc.kill("SIGSTOP");
  for (let i = 0; i < 4; i++) await page.clock.runFor(5000);
  await page.sees(page.locator("#gone"), "no answer within 10 s");
  w.proc.kill("SIGCONT");
  await page.locator("#gone").waitFor({ state: "hidden" }); // its clock goes on; were it pushed, ten seconds could pass before an answer came
});

test("events that are never answered are asked for again", async (t) => {
  const w = await weirWith(t);
  let asked = 0;
  const page = await open(w, { before: async (p) => (await p.clock.install(), p.route(/\/events/, (r) => asked++ && r.continue())) });
  await until(() => asked, "the question");
  await page.clock.runFor(50_000); // more than it may be silent; what follows is in the page's own time
  await page.row("events", "is ready").waitFor();
});

test("without the token nothing is shown but a place for it", async (t) => {
  const w = await weirWith(t, { admin: { token: "s3cret" } });
  const page = await open(w, { mayLog: NO_TOKEN, before: (p) => p.route(/\/stats\.json/, async (r) => (await sleep(300), r.continue())) }); // typing is faster
  await page.sees(page.locator("#token-form"), "Admin token");
  assert.equal(page.answer.status(), 200);
  assert.equal(await page.locator("#facts").innerText(), "");
  await page.keyboard.type("wrong\n"); // it has the focus
  await page.sees(page.locator("#token-says"), "not accepted");
  await page.keyboard.type("s3cret\n");
  await page.sees(page.locator("#facts"), "generation 1");
  assert.ok(await page.locator("#reload").isVisible());
  assert.equal(await page.evaluate(() => JSON.stringify([sessionStorage, localStorage, document.cookie])), '[{},{},""]');
});

test("a token is kept for the tab only when asked to", async (t) => {
  const w = await weirWith(t, { admin: { token: "s3cret" } });
  const page = await open(w, { mayLog: NO_TOKEN });
  await page.locator("#token-keep").check();
  await page.locator("#token").fill("s3cret");
  await page.keyboard.press("Enter");
  await page.sees(page.locator("#facts"), "generation 1");
  await page.reload();
  await page.sees(page.locator("#facts"), "generation 1");
  await page.locator("#token-open").click();
  await page.locator("#token-forget").click();
  await page.sees(page.locator("#polling"), "waiting for the token");
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  assert.equal(await page.locator("section:visible, #reload:visible, #facts:visible").count(), 0); // nor what it was good for
});

test("who may only read is offered no orders", async (t) => {
  const w = await weirWith(t, { admin: { token: "s3cret", anonymous: "read" } });
  const page = await open(w, { mayLog: NO_TOKEN });
  await page.sees(page.locator("#badges"), "read only");
  await page.sees(page.panel("breakers"), "closed");
  assert.equal(await page.locator("main td button:visible, #reload:visible, #drain:visible").count(), 0);
  await page.locator("#token-open").click();
  await page.locator("#token").fill("wrong");
  await page.keyboard.press("Enter");
  await page.sees(page.locator("#token-says"), "not accepted");
  await page.sees(page.locator("#badges"), "read only");
  await page.locator("#token").fill("s3cret");
  await page.keyboard.press("Enter");
  await page.locator("#reload").waitFor();
  assert.ok((await page.locator("#breakers td button:visible").count()) >= 3);
});

test("where there is no token nobody gives orders from the page", async (t) => {
  const w = await weirWith(t, { admin: { token: undefined } });
  const page = await open(w);
  await page.sees(page.locator("#badges"), "read only");
  await page.sees(page.panel("breakers"), "closed");
  assert.equal(await page.locator("main td button:visible, #reload:visible, #drain:visible, #token-open:visible").count(), 0);
  await page.getByRole("button", { name: "Explain" }).click();
  await page.row("explain", "inside").waitFor();
});

test("names are text, whatever is in them", async (t) => {
  const w = await weirWith(t);
  const evil = "<img src=x onerror=alert(1)>\"'&amp;<script>alert(2)</script>";
  const named = (v) => typeof v === "string" && ["per-user", "guard", "users", "app", "inside"].includes(v) ? evil + v
    : Array.isArray(v) ? v.map(named) : v && typeof v === "object" ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, named(x)])) : v;
  await w.call("/users/1", "a"), await w.call("/users/1", "a"), await w.call("/users/1", "a");
  let alerts = 0;
  const page = await open(w, {
    before: (p) => p.route(/\/(stats.json|breakers|limits|health)/, async (route) => {
      const r = await route.fetch();
      await route.fulfill({ response: r, json: named(await r.json()) });
    }),
  });
  page.on("dialog", (d) => (alerts++, d.dismiss()));
  for (const id of ["policies", "keys", "concurrency", "breakers", "upstreams", "routes"]) await page.sees(page.panel(id), evil);
  await page.locator("#breakers button", { hasText: "Open" }).first().click();
  await page.sees(page.locator("#sure-text"), evil);
  assert.equal(await page.locator("img, main script, #sure script").count(), 0);
  assert.equal(alerts, 0);
});

const MARKS = "\u202etxet\u200b";
const SEEN = "<U+202E>txet<U+200B>";

test("what comes by the wire is text, and what turns it around is seen", async (t) => {
  const w = await weirWith(t);
  const evil = `<script>alert(3)</script>"'\u0007${MARKS}`;
  const event = (seq, kind, text) => `id: ${seq}\ndata: ${JSON.stringify({ seq, time: new Date().toISOString(), level: "warn", kind, text })}\n\n`;
  let alerts = 0;
  const page = await open(w, {
    before: async (p) => {
      await p.route(/\/events/, (route) => route.fulfill({ contentType: "text/event-stream", body: event(7, evil, evil) + event(8, "other", "after it") }));
      await p.route(/\/limits/, async (route) => {
        const r = await route.fetch(), v = await r.json();
        v.limits[0].top = [{ hash: evil, refused: 3, error: 0 }];
        await route.fulfill({ response: r, json: v });
      });
      await p.route(/\/explain/, (route) => route.fulfill({ status: 400, json: { error: evil } }));
    },
    mayLog: /Failed to load resource: .*400/,
  });
  page.on("dialog", (d) => (alerts++, d.dismiss()));
  const seen = `<script>alert(3)</script>"'<U+0007>${SEEN}`;
  await page.sees(page.row("events", "alert(3)").locator("td").last(), seen);
  await page.sees(page.panel("events"), "after it");
  await page.sees(page.row("keys", "alert(3)"), seen);
  await page.locator("#explain-path").fill(`/${evil.replace("\u0007", "")}`);
  await page.getByRole("button", { name: "Explain" }).click();
  await page.sees(page.panel("explain"), seen);
  assert.equal(await page.locator("main script").count(), 0);
  assert.equal(alerts, 0);
});

// What /stats.json says, changed by `change(value)`.
const changed = (change) => (p) => p.route(/\/stats\.json/, async (route) => {
  const r = await route.fetch(), v = await r.json();
  change(v);
  await route.fulfill({ response: r, json: v });
});

test("the numbers of another process are not compared with those of the one before", async (t) => {
  const w = await weirWith(t);
  traffic(t, w, ["/a"]);
  let process = 0;
  const page = await open(w, {
    before: changed((v) => { // fewer than before, and then far more
      v.version = `process ${process}`;
      v.start_time += process;
      for (const r of v.routes) for (const q of r.requests) q.count += [1e6, 0, 1e9][process];
      for (const p of v.policies) p.allow += [1e6, 0, 1e9][process];
    }),
  });
  const shown = () => page.evaluate(() => [...document.querySelectorAll("#traffic svg[role=img], #policies td:nth-child(3)")].map((e) => e.getAttribute("aria-label") ?? e.textContent));
  for (; process < 3; process++) {
    await page.sees(page.locator("#version"), `process ${process}`);
    for (const text of await shown()) assert.doesNotMatch(text, /-\d|\d[kMGT]/);
    await until(async () => /requests [\d.]+$/.test((await shown())[0]), "rates again");
    for (const text of await shown()) assert.doesNotMatch(text, /-\d|\d[kMGT]/);
  }
});

test("times are Weir's, whatever the clock of who looks says", async (t) => {
  const w = await weirWith(t);
  const page = await open(w, { mayLog: REFUSED, before: (p) => p.clock.install({ time: "2001-02-03T04:05:06Z" }) });
  await page.row("events", "is ready").waitFor();
  assert.match(await page.locator("#facts").innerText(), /Up\s+(\d+ min )?\d+ s/);
  w.proc.kill("SIGKILL");
  await page.sees(page.locator("#gone"), "No answer from Weir");
  const times = [await page.row("events", "is ready").locator("th").innerText(), /since (.*?Z) /.exec(await page.locator("#gone").innerText())[1]];
  const today = (Date.now() / 1000) % 86400;
  for (const time of times) {
    const [h, m, s] = /^(?:\d\d-\d\d )?(\d\d):(\d\d):(\d\d)Z$/.exec(time).slice(1).map(Number);
    const off = (today - (h * 3600 + m * 60 + s) + 86400) % 86400;
    assert.ok(off < 600 || off > 85800, `${time} is ${off} s off`);
  }
});

test("that memory is short is said", async (t) => {
  const w = await weirWith(t);
  const page = await open(w, { before: changed((v) => (v.memory = { limit_bytes: 2 ** 30, used_bytes: 2 ** 29, refusing: true })) });
  await page.sees(page.locator("#badges"), "memory short: new calls are refused");
  await page.sees(page.locator("#facts"), "512.0 MiB of 1.0 GiB");
});

test("ten tabs are followed all the same", async (t) => {
  const w = await weirWith(t);
  const first = await open(w);
  await first.row("events", "is ready").waitFor();
  for (let i = 0; i < 9; i++) {
    const page = await first.context().newPage();
    await page.goto(w.adminUrl);
    await page.locator("#badges", { hasText: "ready" }).waitFor();
    await page.locator("#events tr", { hasText: "is ready" }).waitFor();
  }
  assert.ok(await first.locator("#gone").isHidden());
});

test("of five hundred routes the busiest are shown, and a filter finds the others", async (t) => {
  const routes = Array.from({ length: 500 }, (_, i) => ({ name: `route-${i}`, match: { path: `/r${i}/*` }, to: "app", use: ["guard"] }));
  const w = await weirWith(t, { config: { routes: [...routes, { name: "rest", to: "app" }] } });
  traffic(t, w, ["/r497/a"]);
  const page = await open(w);
  await page.sees(page.panel("routes"), "50 of 501");
  await page.row("routes", "route-497").waitFor();
  assert.equal(await page.locator("#routes tbody tr").count(), 50);
  await page.locator("#routes input").fill("route-321");
  await page.sees(page.panel("routes"), "1 of 501");
});

test("a full house of followers does not keep events from being shown", async (t) => {
  const w = await weirWith(t, { admin: { streams: 1 } });
  const busy = http.get(`${w.adminUrl}events`).on("error", () => {});
  await once(busy, "response");
  const page = await open(w, { mayLog: /Failed to load resource: .*503/ });
  await page.row("events", "is ready").waitFor();
  busy.destroy();
});
