// What goes wrong: nobody answers, tokens, names with HTML in them, five hundred routes.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import test from "node:test";
import { open, traffic, weirWith } from "./browser.mjs";
import { until } from "./weir.mjs";

const REFUSED = /Failed to load resource: .*(ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|ERR_INCOMPLETE_CHUNKED)/;
const NO_TOKEN = /Failed to load resource: .*401/;

test("a Weir that is gone is said to be, and found again", async (t) => {
  const w = await weirWith(t);
  const page = await open(w, { mayLog: REFUSED });
  await page.sees(page.locator("#badges"), "ready");
  w.proc.kill("SIGKILL");
  await page.sees(page.locator("#gone"), /No answer from Weir since \d\d:\d\d:\d\dZ/);
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
  await until(async () => (await page.clock.runFor(5000), page.locator("#gone").isHidden()), "it is there again");
});

test("without the token nothing is shown but a place for it", async (t) => {
  const w = await weirWith(t, { admin: { token: "s3cret" } });
  const page = await open(w, { mayLog: NO_TOKEN });
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
  const ms = await page.evaluate(() => {
    const began = performance.now();
    drawPanels();
    return performance.now() - began;
  });
  assert.ok(ms < 500, `${ms} ms to draw`);
});

test("a full house of followers does not keep events from being shown", async (t) => {
  const w = await weirWith(t, { admin: { streams: 1 } });
  const busy = http.get(`${w.adminUrl}events`).on("error", () => {});
  await once(busy, "response");
  const page = await open(w, { mayLog: /Failed to load resource: .*503/ });
  await page.row("events", "is ready").waitFor();
  busy.destroy();
});
