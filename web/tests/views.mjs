// Every view in every form: no complaint of the browser, no sideways scroll, clean for axe.
import { assert, axeClean, noSidewaysScroll, open, sizes, withPage } from './browser.mjs';

const views = [
  'home', 'chat', 'models', 'plan/gemma-3-27b-it-q4_0', 'requests', 'device', 'trust', 'settings', 'integrations', 'logs',
  'doctor', 'open',
];

async function look(page, fake, view, axe = true) {
  await open(page, view === 'device' ? `device/${fake.world.nodes.at(-1).id}` : view);
  // Until the view has what it asked for.
  await page.waitForFunction(() => !document.querySelector('main [role=status]')?.textContent.includes('Loading'));
  await noSidewaysScroll(page);
  if (axe) await axeClean(page);
}

function everyView(size, scheme) {
  return {
    name: `every view, ${size}, ${scheme}`,
    run: (browser) =>
      withPage(browser, { size, scheme, expected: /status of 503/ }, async (page, fake) => {
        for (const view of views) {
          await look(page, fake, view).catch((fault) => {
            throw new Error(`${view}: ${fault.message}`);
          });
        }
      }),
  };
}

// A failure is told in the words of the node.
const errors = {
  name: 'every view says why the node refuses',
  run: (browser) =>
    withPage(browser, { scenario: 'errors', expected: /status of 500/ }, async (page) => {
      await page.getByText('The connection to this device was lost').waitFor();
      for (const view of ['trust', 'settings', 'logs', 'doctor']) {
        await open(page, view);
        await page.getByText('The disk of this device is full').first().waitFor();
        await axeClean(page);
      }
    }),
};

const empty = {
  name: 'a fresh node says the next step',
  run: (browser) =>
    withPage(browser, { scenario: 'empty', size: 'phone' }, async (page) => {
      await page.getByText('Two steps make it useful').waitFor();
      for (const view of ['home', 'models', 'trust', 'settings', 'integrations', 'logs']) {
        await open(page, view);
        await noSidewaysScroll(page);
        await axeClean(page);
      }
      await open(page, 'models');
      await page.getByRole('button', { name: 'llama3.2:1b' }).waitFor();
    }),
};

// Also what the node has written, which speaks English.
const said = [
  ['doctor', 'das Laufwerk ist voll'],
  ['doctor', 'es antwortet nicht; versucht: 192.168.1.13:52416'],
  ['settings', 'kleinste Ladung, in Prozent'],
  ['settings', 'eine ganze Zahl von 0 bis 100'],
  ['settings', 'exo.toml Zeile 1'],
  ['trust', 'mit Code'],
  ['plan/gemma-3-27b-it-q4_0', 'kein Gerät hat allein Platz für das Modell'],
  ['requests', 'die verbliebenen Geräte haben das Modell nicht'],
  ['device', 'Akkubetrieb, 62 %; in Gebrauch'],
];

const german = {
  name: 'every view in German',
  run: (browser) =>
    withPage(browser, { size: 'phone', locale: 'de', expected: /status of 503/ }, async (page, fake) => {
      for (const view of views) {
        await look(page, fake, view, false);
        assert((await page.evaluate(() => document.documentElement.lang)) === 'de', 'the page says another language');
        for (const [, text] of said.filter(([where]) => where === view)) await page.getByText(text).first().waitFor();
      }
    }),
};

const slow = {
  name: 'a slow node leaves no view empty',
  run: (browser) =>
    withPage(browser, { scenario: 'slow' }, async (page) => {
      await page.getByText('Waiting for the state').waitFor();
      await page.getByText('tokens/s now').waitFor();
      await open(page, 'doctor');
      await page.getByText('Checking…').first().waitFor();
      await page.getByText('the disk is full').waitFor();
    }),
};

export const tests = [
  ...Object.keys(sizes).flatMap((size) => ['light', 'dark'].map((scheme) => everyView(size, scheme))),
  errors, empty, german, slow,
];
