// Pictures of the page at work, in light and dark: tests/dashboard/run WEIR screenshots.mjs
// They are left beside the packages, as dashboard-light.png and dashboard-dark.png.

import test from "node:test";
import { open, upstream, weirWith } from "./browser.mjs";
import { sleep } from "./weir.mjs";

const SECONDS = Number(process.env.SECONDS ?? 75);
const wave = (i) => 20 + 18 * Math.sin(i / 40);

function load(t, w, path, user, pause) {
  let on = true;
  const ended = (async () => {
    for (let i = 0; on; i++) {
      await w.call(path(i), user).catch(() => {});
      await sleep(pause(i));
    }
  })();
  t.after(() => ((on = false), ended));
}

test("screenshots", async (t) => {
  const [llm, app] = [await upstream(t), await upstream(t)];
  const w = await weirWith(t, {
    config: {
      upstreams: { app: { endpoints: [app, { addr: "127.0.0.1:9", weight: 1, backup: true }], health: { path: "/health", every: "2s" } }, llm, legacy: await upstream(t) },
      policies: {
        "per-client": { rate: "10/s", burst: 20, key: "header.x-user" },
        "per-client-strict": { rate: "5/s", key: "header.x-user", shadow: true },
        models: { concurrency: 4, queue: 8 },
        "app-calls": { concurrency: 32 },
        "llm-guard": { breaker: "50%" },
        "legacy-guard": { breaker: 5 },
      },
      routes: [
        { name: "chat", match: { path: "/slow/*" }, to: "llm", use: ["per-client", "per-client-strict", "models", "llm-guard"] },
        { name: "legacy", match: { path: "/bad/*" }, to: "legacy", use: ["legacy-guard"] },
        { name: "web", to: "app", use: ["per-client", "app-calls"] },
      ],
    },
  });
  for (const user of ["alice", "bob", "carol"]) load(t, w, () => "/page", user, (i) => wave(i) * (user === "alice" ? 1 : 4));
  for (let i = 0; i < 5; i++) load(t, w, () => "/slow/chat", `model-user-${i}`, () => 150);
  load(t, w, () => "/bad/", "batch", () => 400);
  const pages = [];
  for (const scheme of ["light", "dark"]) pages.push([scheme, await open(w, { scheme })]);
  await sleep(SECONDS * 1000);
  for (const [scheme, page] of pages) {
    await page.setViewportSize({ width: 1640, height: 1660 });
    await page.bringToFront();
    await sleep(2500);
    await page.screenshot({ path: `dashboard-${scheme}.png` });
  }
});
