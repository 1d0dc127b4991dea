// What the tests of the page share: the fake node, Debian's Chromium, and how a page is looked at.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';
import { startFake } from '../fake/server.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const sizes = { phone: { width: 320, height: 640 }, desktop: { width: 1280, height: 800 } };

export function launch(...flags) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-dev-shm-usage', ...flags],
  });
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

export function assert(condition, message) {
  if (!condition) throw new Error(message);
}

// A page of a fake node of its own; `body` gets it, and whatever the browser complains of fails the
// test. The errors that a scenario makes on purpose are told by `expected`.
export async function withPage(browser, options, body) {
  const { scenario = 'usual', size = 'desktop', scheme = 'light', expected = /^$/, ...context } = options;
  const fake = await startFake({ scenario });
  const tab = await browser.newContext({ viewport: sizes[size], colorScheme: scheme, locale: 'en', ...context });
  const page = await tab.newPage();
  page.setDefaultTimeout(60_000);
  const complaints = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (fault) => complaints.push(fault.message));
  page.on('request', (request) => {
    const { protocol } = new URL(request.url());
    if (!request.url().startsWith(fake.url) && protocol.startsWith('http')) complaints.push(`asks another host: ${request.url()}`);
  });
  try {
    await page.goto(`${fake.url}/`);
    await body(page, fake);
    const unexpected = complaints.filter((text) => !expected.test(text));
    assert(unexpected.length === 0, `the browser complains: ${unexpected.join('; ')}`);
  } finally {
    await tab.close();
    fake.close();
  }
}

// Opens a view by its address within the page, and waits until it stands.
export async function open(page, hash) {
  await page.evaluate((to) => void (location.hash = to), `#/${hash}`);
  await page.locator('main h1').first().waitFor();
}

// Nothing may reach out of the window to the side.
export async function noSidewaysScroll(page) {
  const out = await page.evaluate(() => {
    const frame = document.querySelector('.page');
    return Math.max(document.documentElement.scrollWidth - innerWidth, frame ? frame.scrollWidth - frame.clientWidth : 0);
  });
  assert(out <= 0, `the view scrolls sideways by ${out} px`);
}

export async function axeClean(page) {
  // By the debugger, not as a script of the page: that one's Content-Security-Policy allows none.
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    const { violations } = await window.axe.run(document, { runOnly: tags });
    return violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.target.join(' ')).slice(0, 3).join(', ')}`);
  });
  assert(found.length === 0, `axe finds ${found.join('; ')}`);
}
