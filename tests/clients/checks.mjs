// What the scripts share: named checks that go on after a failure, and the node's address.
import assert from "node:assert/strict";

export { assert };
export const url = process.env.EXO_URL;
export const model = "exo-tiny";
let passed = 0;
const failed = [];

export async function check(name, work) {
  const limit = new Promise((_, reject) => setTimeout(() => reject(new Error("four minutes are over")), 240_000).unref());
  try {
    await Promise.race([work(), limit]);
    ++passed;
  } catch (error) {
    failed.push(name);
    console.error(`${name}: ${error.stack ?? error}`);
  }
}

// The error that `work` fails with.
export async function failure(work) {
  try {
    await work();
  } catch (error) {
    return error;
  }
  assert.fail("nothing failed");
}

export async function until(what, condition) {
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(`waited 60 s for ${what}`);
}

// Requests of clients that the node is computing.
export async function active() {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(/^exo_requests_active (\d+)/m.exec(text)[1]);
}

export function finish(client) {
  console.log(`  ${client}: ${passed} checks passed, ${failed.length} failed${failed.length ? ": " + failed.join("; ") : ""}`);
  process.exit(failed.length ? 1 : 0);
}
