// How fast the page is there, and how fluent it stays: node tests/measure.mjs [paint|fluent]. Figures to be read, not a
// test: they depend on the machine, so each is shown beside one of an empty page, or of a moment when nothing moves.
import { createServer } from 'node:http';
import { pace } from '../fake/chat.mjs';
import { startFake } from '../fake/server.mjs';
import { launch, median, open, sizes } from './browser.mjs';
import { startNode } from './node.mjs';

const rounds = 20;

async function serveEmpty() {
  const server = createServer((_, response) => response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>empty</title><p>empty'));
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

// Milliseconds until something is seen, and until `ready` is there; with nothing cached.
async function visit(browser, url, ready) {
  const tab = await browser.newContext({ viewport: sizes.desktop, locale: 'en' });
  try {
    const page = await tab.newPage();
    await page.goto(url);
    await page.waitForFunction((text) => document.body.innerText.includes(text), ready, { polling: 'raf' });
    return await page.evaluate(() => new Promise((resolve) => {
      const whole = performance.now();
      new PerformanceObserver((list) => {
        const first = list.getEntriesByName('first-contentful-paint')[0];
        if (first) resolve({ first: first.startTime, whole });
      }).observe({ type: 'paint', buffered: true });
    }));
  } finally {
    await tab.close();
  }
}

async function measurePaint(browser) {
  const node = await startNode('kitchen');
  const empty = await serveEmpty();
  const [ours, theirs] = [[], []];
  try {
    await visit(browser, node.url, 'tokens/s now');
    for (let round = 0; round < rounds; ++round) {
      ours.push(await visit(browser, node.url, 'tokens/s now'));
      theirs.push(await visit(browser, empty.url, 'empty'));
    }
  } finally {
    empty.close();
    await node.stop();
  }
  const [first, bare] = [ours, theirs].map((visits) => median(visits.map((one) => one.first)));
  console.log(`first contentful paint: ${first.toFixed(0)} ms, of an empty page ${bare.toFixed(0)} ms, ratio ${(first / bare).toFixed(2)} `
    + `(medians of ${rounds}, a new browser profile each); the cluster's state is shown after ${median(ours.map((one) => one.whole)).toFixed(0)} ms`);
}

// Counts what keeps the page's thread for more than 50 ms while `body` runs, and the frames that were drawn.
async function watched(page, name, body) {
  await page.evaluate(() => {
    window.watch = { tasks: [], frames: 0, start: performance.now(), gap: 0 };
    window.watch.observer = new PerformanceObserver((list) => window.watch.tasks.push(...list.getEntries().map((one) => one.duration)));
    window.watch.observer.observe({ type: 'longtask' });
    let last = performance.now();
    const frame = (now) => {
      window.watch.gap = Math.max(window.watch.gap, now - last);
      last = now;
      ++window.watch.frames;
      window.watch.next = requestAnimationFrame(frame);
    };
    window.watch.next = requestAnimationFrame(frame);
  });
  await body();
  const { tasks, rate, gap } = await page.evaluate(() => {
    const { observer, next, tasks: seen, frames, start, gap: longest } = window.watch;
    cancelAnimationFrame(next);
    observer.disconnect();
    return { tasks: seen, rate: (frames * 1000) / (performance.now() - start), gap: longest };
  });
  const worst = tasks.length > 0 ? `, the longest ${Math.max(...tasks).toFixed(0)} ms` : '';
  console.log(`${name}: ${tasks.length} tasks over 50 ms${worst}; ${rate.toFixed(0)} frames a second, the longest gap ${gap.toFixed(0)} ms`);
}

async function measureFluency(browser) {
  pace.first = 20;
  pace.token = 5;
  const fake = await startFake({ scenario: 'many' });
  const page = await browser.newPage({ viewport: sizes.desktop, locale: 'en' });
  const wait = (ms) => page.waitForTimeout(ms);
  try {
    await page.goto(fake.url);
    await page.locator('svg a').nth(63).waitFor();
    await open(page, 'open');
    await wait(1000);
    await watched(page, 'nothing moves', () => wait(4000));
    await watched(page, '64 devices, opened', async () => {
      await page.evaluate(() => void (location.hash = '#/'));
      await page.locator('svg a').nth(63).waitFor();
      await wait(500);
    });
    await watched(page, '64 devices, tokens flow', () => wait(5000));
    await watched(page, '10,000 conversations, opened', async () => {
      await open(page, 'chat');
      await page.getByRole('link', { name: /What limits/ }).first().waitFor();
    });
    await watched(page, '10,000 conversations, scrolled through 2,000 of them', async () => {
      for (let turn = 0; turn < 80; ++turn) {
        await page.locator('aside .scroll').evaluate((list) => list.scrollBy(0, 1500));
        await wait(40);
      }
    });
    await watched(page, '10,000 conversations, searched', async () => {
      await page.getByLabel('Search conversations').pressSequentially('birthday', { delay: 60 });
      await page.getByRole('link', { name: /Plan a birthday/ }).first().waitFor();
      await wait(500);
    });
    await watched(page, 'a conversation of them, opened', async () => {
      await page.getByRole('link', { name: /Plan a birthday/ }).first().click();
      await page.getByRole('article', { name: 'Answer' }).waitFor();
      await wait(300);
    });
    await watched(page, 'a long answer streams beside them', async () => {
      await page.getByLabel('Message', { exact: true }).fill('long');
      await page.keyboard.press('Enter');
      await wait(5000);
    });
  } finally {
    await page.close();
    fake.close();
  }
}

const wanted = process.argv[2];
const browser = await launch();
try {
  if (wanted !== 'fluent') await measurePaint(browser);
  if (wanted !== 'paint') await measureFluency(browser);
} finally {
  await browser.close();
}
