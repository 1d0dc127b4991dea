// Lighthouse's scores of a real node's page, signed in: node tests/lighthouse.mjs [RUNS]. Prints the medians; fails where
// one is below 95. Accessibility and best practices do not depend on speed: they are judged in the first run.
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { pathToFileURL } from 'node:url';
import { launch, median } from './browser.mjs';
import { startNode } from './node.mjs';

const installed = new URL('../../build/lighthouse/', import.meta.url).pathname;
const { default: lighthouse, desktopConfig } = await import(pathToFileURL(createRequire(installed).resolve('lighthouse')));
const goal = 95;
const runs = Number(process.argv[2] ?? 5);
const views = ['', 'chat', 'settings'];
const forms = { mobile: undefined, desktop: desktopConfig };
const figures = { fcp: 'first-contentful-paint', lcp: 'largest-contentful-paint', tbt: 'total-blocking-time', cls: 'cumulative-layout-shift' };

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// The cookie that a browser has after the one-time link.
async function cookieOf(node) {
  const token = (await node.link()).split('/').at(-1);
  const body = JSON.stringify({ token });
  const answer = await fetch(`${node.url}/v1/session`, { method: 'POST', body, headers: { 'Content-Type': 'application/json' } });
  return answer.headers.get('set-cookie').split(';')[0];
}

function writeReport(name, report) {
  mkdirSync(`${installed}reports`, { recursive: true });
  writeFileSync(`${installed}reports/${name}.html`, report);
}

// Now and then the browser's trace of a visit lacks its beginning: then it is visited again.
async function judged(name, url, settings, config) {
  for (let tries = 3; ; --tries) {
    const result = await lighthouse(url, settings, config);
    if (!result.lhr.runtimeError) return result;
    if (tries === 0) throw new Error(`${name}: ${result.lhr.runtimeError.message}`);
  }
}

const node = await startNode('kitchen');
const port = await freePort();
const browser = await launch(`--remote-debugging-port=${port}`);
let below = 0;
try {
  const extraHeaders = { Cookie: await cookieOf(node) };
  for (const view of views) {
    for (const [form, config] of Object.entries(forms)) {
      const name = `${view || 'home'} ${form}`;
      const seen = [];
      let rest = {};
      for (let run = 0; run < runs; ++run) {
        const onlyCategories = run === 0 ? ['performance', 'accessibility', 'best-practices'] : ['performance'];
        const settings = { port, output: 'html', logLevel: 'error', onlyCategories, extraHeaders };
        const { lhr, report } = await judged(name, `${node.url}/#/${view}`, settings, config);
        if (run === 0) {
          writeReport(name.replace(' ', '-'), report);
          for (const one of onlyCategories.slice(1)) rest[one] = Math.round(100 * lhr.categories[one].score);
          const bad = Object.values(lhr.audits).filter((one) => one.score !== null && one.score < 0.9 && one.scoreDisplayMode !== 'informative');
          console.log(`  ${name}: ${bad.map((one) => `${one.id} ${one.displayValue ?? ''}`).join('; ') || 'nothing to mend'}`);
        }
        const values = Object.entries(figures).map(([short, id]) => [short, lhr.audits[id].numericValue]);
        seen.push({ score: Math.round(100 * lhr.categories.performance.score), ...Object.fromEntries(values) });
      }
      const of = (key) => median(seen.map((one) => one[key]));
      const scores = { performance: of('score'), ...rest };
      below += Object.values(scores).filter((one) => !(one >= goal)).length;
      console.log(`${name}: ${Object.entries(scores).map(([key, one]) => `${key} ${one}`).join(', ')}; `
        + `first contentful paint ${of('fcp').toFixed(0)} ms, largest ${of('lcp').toFixed(0)} ms, blocked ${of('tbt').toFixed(0)} ms, `
        + `layout shift ${of('cls').toFixed(3)} (medians of ${runs}; performance ${seen.map((one) => one.score).join(' ')})`);
    }
  }
} finally {
  await browser.close();
  await node.stop();
}
if (below > 0) console.log(`${below} scores are below ${goal}: see ${installed}reports`);
process.exit(below === 0 ? 0 : 1);
