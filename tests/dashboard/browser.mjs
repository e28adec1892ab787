// A browser on the dashboard of a Weir, for one test; at its end nothing may have gone wrong unseen.

import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import { after } from "node:test";
import { chromium } from "playwright-core";
import { Weir, freePort } from "./weir.mjs";

const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// Answers 200, under /bad 500, under /slow after a second.
export async function upstream(t) {
  const s = http.createServer((req, res) => {
    res.statusCode = req.url.startsWith("/bad") ? 500 : 200;
    setTimeout(() => res.end("ok\n"), req.url.startsWith("/slow") ? 1000 : 1);
  });
  s.listen(0, "127.0.0.1");
  await once(s, "listening");
  t.after(() => {
    s.close();
    s.closeAllConnections();
  });
  return `127.0.0.1:${s.address().port}`;
}

export const CONFIG = (app) => ({
  upstreams: { app, spare: { endpoints: [app, "127.0.0.1:1"], health: { path: "/health", every: "1s" } } },
  policies: {
    "per-user": { rate: "2/h", burst: 2, key: "header.x-user" },
    trial: { rate: "1/h", key: "header.x-user", shadow: true },
    inside: { concurrency: 2, queue: 4 },
    guard: { breaker: "50%" },
  },
  routes: [
    { name: "users", match: { path: "/users/*" }, to: "app", use: ["per-user", "trial", "guard"] },
    { name: "slow", match: { path: "/slow" }, to: "app", use: ["inside"] },
    { name: "spare", match: { path: "/spare" }, to: "spare" },
    { name: "rest", to: "app", use: ["inside", "guard"] },
  ],
});

// Whose pages have it from the start, unless a test says something of the token.
const TOKEN = "s3cret";

// `config`: what is put over CONFIG, or makes that of it; `admin`: what is put into its admin section.
export async function weirWith(t, { config, admin, port } = {}) {
  const app = await upstream(t);
  const adminPort = port ?? (await freePort());
  const given = admin && "token" in admin ? {} : { token: TOKEN, anonymous: "read" };
  const w = await Weir.start(t, () => ({
    ...CONFIG(app), ...(typeof config === "function" ? config({ app }) : config), log: { access: "none" }, admin: { listen: `127.0.0.1:${adminPort}`, ...given, ...admin },
  }));
  w.adminPort = adminPort;
  w.token = given.token;
  w.pages = []; // closed before it goes, so that they do not miss it
  const end = w.end.bind(w);
  w.end = async () => {
    try {
      for (const close of w.pages) await close();
    } finally {
      await end();
    }
  };
  w.adminUrl = `http://127.0.0.1:${adminPort}/`;
  w.call = (path, user) => fetch(`http://${w.addr}${path}`, { headers: user ? { "x-user": user } : {} }).then(async (r) => (await r.text(), r.status));
  w.api = (path) => fetch(w.adminUrl + path).then((r) => r.json());
  return w;
}

// Calls one after the other until the test ends.
export function traffic(t, w, paths) {
  let on = true;
  const ended = (async () => {
    for (let i = 0; on; i++) {
      await w.call(paths[i % paths.length], "crowd").catch(() => {});
      await new Promise((done) => setTimeout(done, 20));
    }
  })();
  t.after(() => ((on = false), ended));
}

let browser;
async function theBrowser() {
  browser ??= await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--js-flags=--expose-gc"],
  });
  return browser;
}
after(() => browser?.close());

// `mayLog`: what the console may say besides; `before(page)` runs before anything is loaded.
export async function open(w, { scheme = "light", mayLog = /^$/, before, path = "" } = {}) {
  const context = await (await theBrowser()).newContext({ colorScheme: scheme, viewport: { width: 1400, height: 900 } });
  context.setDefaultTimeout(60000);
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (m) => m.type() === "error" && !mayLog.test(m.text()) && wrong.push(m.text()));
  page.on("pageerror", (e) => wrong.push(e.stack));
  page.on("request", (r) => new URL(r.url()).origin === new URL(w.adminUrl).origin || r.url().startsWith("data:") || wrong.push(`asks ${r.url()}`));
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (e) => window.violations.push(`${e.violatedDirective} ${e.blockedURI} ${e.sample}`));
  });
  if (w.token) await page.addInitScript((token) => sessionStorage.setItem("weir-admin-token", token), w.token);
  await before?.(page);
  page.answer = await page.goto(w.adminUrl + path);
  w.pages.push(async () => {
    const violations = await page.evaluate(() => window.violations);
    await page.unrouteAll({ behavior: "ignoreErrors" }); // a question may be under way
    await context.close();
    assert.deepEqual([...wrong, ...violations], []);
  });
  page.panel = (id) => page.locator(`section#${id}`);
  page.row = (id, text) => page.locator(`section#${id} tbody tr`, { hasText: text }).first();
  page.sees = (locator, text) => locator.filter({ hasText: text }).first().waitFor();
  page.sure = (time) => time === undefined ? page.locator("#sure-yes").click()
    : page.locator("#sure-for").selectOption(time).then(() => page.locator("#sure-yes").click());
  return page;
}

// What axe finds that is serious or worse.  The page lets no script in: it comes by the debugger.
export async function serious(page) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Runtime.evaluate", { expression: axe });
  const { result, exceptionDetails } = await cdp.send("Runtime.evaluate", {
    expression: `axe.run(document, { resultTypes: ["violations"] }).then((r) => JSON.stringify(r.violations
      .filter((v) => ["serious", "critical"].includes(v.impact))
      .map((v) => [v.id, ...v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + " " + n.failureSummary)])))`,
    awaitPromise: true,
  });
  assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
  await cdp.detach();
  return JSON.parse(result.value);
}
