// A Weir for one test: started with a configuration (JSON is YAML), ended with it.

import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";

const SLOW = process.env.WEIR_SLOW ? 5 : 1; // sanitizers

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export async function until(what, text = "it", ms = 10_000 * SLOW) {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(10)) {
    const value = await what();
    if (value) return value;
  }
  throw new Error(`never came true: ${text}`);
}

// Below the range that connections to others are given theirs from: a client's could take it before Weir does.
const given = new Set();
export async function freePort() {
  for (;;) {
    const port = randomInt(10000, 32000), s = net.createServer();
    if (given.has(port)) continue;
    given.add(port);
    const free = await new Promise((yes) => s.once("error", () => yes(false)).listen(port, "127.0.0.1", () => yes(true)));
    if (!free) continue;
    s.close();
    await once(s, "close");
    return port;
  }
}

export class Weir {
  // `t`: the test, at whose end it goes.  `make`: the configuration, given the address to listen on.
  static async start(t, make) {
    const w = new Weir();
    w.dir = fs.mkdtempSync(path.join(os.tmpdir(), "weir-clients-"));
    w.port = await freePort();
    w.addr = `127.0.0.1:${w.port}`;
    w.make = make;
    w.write();
    w.errors = "";
    w.lines = "";
    w.proc = spawn(process.env.WEIR_BIN, ["run", "-c", w.file], { stdio: ["ignore", "pipe", "pipe"] });
    w.proc.stderr.on("data", (d) => (w.errors += d));
    w.proc.stdout.on("data", (d) => (w.lines += d));
    t.after(() => w.end());
    await until(() => w.errors.includes("is ready") || w.proc.exitCode !== null, `ready: ${w.errors}`);
    if (w.proc.exitCode !== null) throw new Error(w.errors);
    return w;
  }

  get file() {
    return path.join(this.dir, "weir.yaml");
  }

  write(make = this.make) {
    fs.writeFileSync(this.file, JSON.stringify({ version: 1, listen: this.addr, shutdown: { delay: "0s", drain: "20s" }, ...make(this.addr) }));
  }

  async reload(make) {
    const before = this.errors.length;
    this.write(make);
    this.proc.kill("SIGHUP");
    await until(() => /reload \(.*\): policy/.test(this.errors.slice(before)), "the reload"); // not only what it is to change
  }

  // Its access log, once it has `n` lines.
  async access(n = 1) {
    const lines = () => this.lines.split("\n").slice(0, -1);
    await until(() => lines().length >= n, `${n} lines of the access log`);
    return lines().map((s) => JSON.parse(s));
  }

  async end() {
    if (this.proc.exitCode === null && this.proc.signalCode === null) {
      this.proc.kill("SIGTERM");
      const timer = setTimeout(() => this.proc.kill("SIGKILL"), 8000 * SLOW);
      await once(this.proc, "close"); // after its last words
      clearTimeout(timer);
    }
    fs.rmSync(this.dir, { recursive: true, force: true });
    if (/Sanitizer|panic|runtime error/.test(this.errors)) throw new Error(this.errors);
  }
}
