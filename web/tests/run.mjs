// Runs the tests of the page in a browser: node tests/run.mjs [part of a name]. They need the built
// page (npx vite build) and Chromium ($CHROMIUM, or /usr/bin/chromium).
import { existsSync } from 'node:fs';
import { launch } from './browser.mjs';

const suites = ['./views.mjs', './doing.mjs', './chat.mjs'];
// Browsers wait more than they compute.
const atOnce = 4;

const wanted = process.argv[2] ?? '';
const tests = [];
for (const suite of suites) {
  if (!existsSync(new URL(suite, import.meta.url))) continue;
  tests.push(...(await import(suite)).tests);
}

const browser = await launch();
const waiting = tests.filter((one) => one.name.includes(wanted));
let passed = 0;
const failures = [];

async function work() {
  for (let test = waiting.shift(); test; test = waiting.shift()) {
    try {
      await test.run(browser);
      ++passed;
    } catch (fault) {
      failures.push(test.name);
      console.log(`FAILED ${test.name}\n  ${String(fault.message).split('\n').slice(0, 4).join('\n  ')}`);
    }
  }
}

await Promise.all(Array.from({ length: atOnce }, work));
await browser.close();
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 && passed > 0 ? 0 : 1);
