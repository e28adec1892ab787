// The official SDKs through Weir, against the demo upstream: how many attempts they make of a refused call, and when.
//
// What the SDKs read is real: real refusals over real sockets. What is not is their sleep: a sleep of more than REAL_MS is
// over at once, and the clock of the case (and Date) moves on by it. Weir's clock does not, so a call that comes back after
// such a sleep is refused again, and the case sees every attempt that the SDK is willing to make.

import { AsyncLocalStorage } from "node:async_hooks";
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

import { freePort } from "./weir.mjs";

const REAL_MS = 6_000;
const REQUEST_TIMEOUT_MS = 3_600_000;
const WAITS = { "200ms": 200, "5s": 5_000, "59s": 59_000, "61s": 61_000, "121s": 121_000, "600s": 600_000 };
const FAR_MS = 60_000;

// ---- the clock of a case

const cases = new AsyncLocalStorage();
const realSetTimeout = globalThis.setTimeout;
const realNow = Date.now;
const clock = () => performance.now() + (cases.getStore()?.skipped ?? 0);

globalThis.setTimeout = (run, ms, ...rest) => {
  const here = cases.getStore();
  // others set timers too: fetch for its connections, the SDKs for the whole request
  if (here === undefined || !new Error().stack.includes("/utils/sleep")) return realSetTimeout(run, ms, ...rest);
  here.sleeps.push(ms);
  if (ms <= REAL_MS) return realSetTimeout(run, ms, ...rest);
  here.skipped += ms;
  return realSetTimeout(run, 0, ...rest);
};
Date.now = () => realNow() + (cases.getStore()?.skipped ?? 0);

const { default: OpenAI } = await import("openai");
const { default: Anthropic } = await import("@anthropic-ai/sdk");

// ---- what is tried

const message = [{ role: "user", content: "how high is the water" }];
const sdks = {
  openai: {
    base: (url) => `${url}/v1`,
    make: (o) => new OpenAI(o),
    ask: (c) => c.chat.completions.create({ model: "demo", messages: message }),
    refusal: { status: 429, code: (e) => e.code, is: "rate_limit_exceeded" },
    open: { status: 503, code: (e) => e.code, is: "service_unavailable" },
  },
  anthropic: {
    base: (url) => url,
    make: (o) => new Anthropic(o),
    ask: (c) => c.messages.create({ model: "demo", max_tokens: 8, messages: message }),
    refusal: { status: 429, code: (e) => e.error.error.type, is: "rate_limit_error" },
    open: { status: 529, code: (e) => e.error.error.type, is: "overloaded_error" },
  },
};

let passed = 0, failed = 0;
function check(name, ok, seen) {
  if (ok) passed++;
  else failed++;
  if (!ok) console.log(`not ok: ${name}: ${JSON.stringify(seen)}`);
}

// One call: its attempts {at, status, headers}, its sleeps, its answer or error.
function call(sdk, url, query = {}) {
  const here = { began: performance.now(), skipped: 0, sleeps: [], attempts: [] };
  return cases.run(here, async () => {
    const client = sdk.make({
      apiKey: "k", baseURL: sdk.base(url), timeout: REQUEST_TIMEOUT_MS, defaultQuery: query,
      fetch: async (...args) => {
        const at = clock();
        const response = await fetch(...args);
        here.attempts.push({ at, answered: clock(), real: performance.now(), status: response.status, headers: Object.fromEntries(response.headers) });
        return response;
      },
    });
    try {
      here.answer = await sdk.ask(client);
    } catch (e) {
      here.error = e;
    }
    return here;
  });
}

// ---- what must be so

function checkHeaders(name, { status, headers }, limited) {
  const ms = Number(headers["retry-after-ms"]);
  check(`${name}: retry-after-ms`, Number.isInteger(ms) && ms >= 1, headers);
  check(`${name}: Retry-After`, Number(headers["retry-after"]) === Math.max(1, Math.ceil(ms / 1000)), headers);
  check(`${name}: x-should-retry`, headers["x-should-retry"] === (ms > FAR_MS ? "false" : undefined), headers);
  check(`${name}: JSON`, headers["content-type"] === "application/json", headers);
  if (limited) {
    const told = ["ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    check(`${name}: RateLimit`, told.every((field) => field in headers), headers);
    const t = Number(/;t=(\d+)/.exec(headers.ratelimit)?.[1]);
    check(`${name}: t is not after Retry-After`, t <= Number(headers["retry-after"]), headers);
  }
  return ms;
}

// The SDK slept exactly as long as it was told, between each two attempts.
function checkPace(name, here, refusals) {
  const told = refusals.map((a) => Number(a.headers["retry-after-ms"]));
  check(`${name}: sleeps as told`, JSON.stringify(here.sleeps) === JSON.stringify(told), [here.sleeps, told]);
  for (let i = 0; i + 1 < here.attempts.length; i++) {
    const gap = here.attempts[i + 1].at - here.attempts[i].answered;
    check(`${name}: attempt ${i + 2} comes after it`, gap >= told[i] - 1 && gap < told[i] + 3_000, [gap, told[i]]);
  }
}

async function refused(url, which, wait) {
  const sdk = sdks[which], name = `${which}, ${wait}`, want = WAITS[wait];
  const first = await call(sdk, `${url}/${wait}`);
  let last = first;
  check(`${name}: the first call passes`, first.answer !== undefined && first.attempts.length === 1, String(first.error));
  let here = await call(sdk, `${url}/${wait}`);
  // on a busy machine the next call can come too late to be refused: it is the last to have passed, then
  for (let i = 0; i < 20 && want <= REAL_MS && here.attempts[0].status === 200; i++) {
    last = here;
    here = await call(sdk, `${url}/${wait}`);
  }
  const statuses = here.attempts.map((a) => a.status).join(" ");
  const refusals = here.attempts.filter((a) => a.status === 429);

  for (const a of refusals) {
    const ms = checkHeaders(name, a, true);
    check(`${name}: says how long it is`, ms <= want && ms > want - (a.real - last.began) - 5, [ms, a.real - last.began]);
  }
  if (want <= REAL_MS) {
    check(`${name}: two attempts`, statuses === "429 200" && here.answer !== undefined, statuses);
    checkPace(name, here, refusals);
  } else if (Number(refusals[0]?.headers["retry-after-ms"]) <= FAR_MS) { // on a busy machine it may be, of 61 s
    check(`${name}: three attempts`, statuses === "429 429 429", statuses);
    checkPace(name, here, refusals.slice(0, 2));
  } else {
    check(`${name}: one attempt`, statuses === "429" && here.sleeps.length === 0, [statuses, here.sleeps]);
  }
  if (want > REAL_MS) {
    const { status, code, is } = sdk.refusal;
    check(`${name}: the error is understood`, here.error?.status === status && code(here.error) === is, String(here.error));
  }
}

// The upstream fails once; the breaker opens and answers in its place.
async function broken(url, which) {
  const sdk = sdks[which], name = `${which}, open breaker`, { status, code, is } = sdk.open;
  const here = await call(sdk, `${url}/broken-${which}`, { status: "500" });
  const statuses = here.attempts.map((a) => a.status).join(" ");

  check(`${name}: the upstream's, then ours`, statuses === `500 ${status} ${status}`, statuses);
  for (const a of here.attempts.slice(1)) checkHeaders(name, a, false);
  check(`${name}: sleeps as told`, here.sleeps[1] === Number(here.attempts[1]?.headers["retry-after-ms"]), here.sleeps);
  check(`${name}: the error is understood`, here.error?.status === status && code(here.error) === is, String(here.error));
}

// ---- the three processes

const children = [];
function start(command, args, ready) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  children.push(child);
  return new Promise((resolve, reject) => {
    let text = "";
    const read = (data) => {
      text += data;
      const match = ready.exec(text);
      if (match) resolve(match);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("exit", (status, signal) => reject(new Error(`${command} ended with ${status ?? signal}:\n${text}`)));
  });
}

function config(port, probes, upstream) {
  const policies = {}, routes = [], upstreams = { app: upstream };
  for (const wait of Object.keys(WAITS)) {
    policies[`one-per-${wait}`] = { rate: `1/${wait}`, burst: 1, key: "path" };
    routes.push({ name: wait, match: { path: `/${wait}/*` }, to: "app", use: [`one-per-${wait}`] });
  }
  for (const which of Object.keys(sdks)) {
    policies[`guard-${which}`] = { breaker: 1, open_for: "30s" };
    upstreams[which] = upstream;
    routes.push({ name: `broken-${which}`, match: { path: `/broken-${which}/*` }, to: which, use: [`guard-${which}`] });
  }
  return JSON.stringify({ version: 1, listen: `127.0.0.1:${port}`, probes: `127.0.0.1:${probes}`,
    log: { access: "none" }, upstreams, policies, routes });
}

async function ready(probes) {
  for (const end = realNow() + 10_000; realNow() < end; ) {
    const response = await fetch(`http://127.0.0.1:${probes}/ready`).catch(() => null);
    if (response?.status === 200) return;
    await new Promise((resolve) => realSetTimeout(resolve, 20));
  }
  throw new Error("Weir does not become ready");
}

async function main([binary, upstream]) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "weir-sdk-"));
  try {
    const [, address] = await start(upstream, ["--listen", "127.0.0.1:0"], /demo upstream on (\S+)/);
    const [port, probes] = [await freePort(), await freePort()];
    fs.writeFileSync(path.join(folder, "weir.yaml"), config(port, probes, address));
    start(binary, ["run", "-c", path.join(folder, "weir.yaml")], /^never$/).catch((e) => {
      if (!children.done) console.log(String(e));
    });
    await ready(probes);
    const url = `http://127.0.0.1:${port}`;
    const all = Object.keys(sdks).flatMap((which) =>
      [...Object.keys(WAITS).map((wait) => refused(url, which, wait)), broken(url, which)]);
    await Promise.all(all);
  } catch (e) {
    check("the test itself", false, String(e));
  } finally {
    children.done = true;
    for (const child of children) child.kill();
    fs.rmSync(folder, { recursive: true });
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 && passed > 0 ? 0 : 1);
}

await main(process.argv.slice(2));
