// The page with a real node: node tests/real.mjs. What people do on their first day, in one browser that must not
// complain of anything; the page is the one that is built into the program ($EXO, see node.mjs).
import { readFileSync } from 'node:fs';
import { assert, axeClean, launch, open } from './browser.mjs';
import { startNode, until } from './node.mjs';

const button = (page, name) => page.getByRole('button', { name, exact: true });
const answers = (page) => page.getByRole('article', { name: 'Answer' });
const question = 'Once upon a time there was a lighthouse';

async function signsIn(page, node) {
  await page.goto(await node.link());
  await page.getByText('tokens/s now').waitFor();
  assert(!page.url().includes('/open/'), 'the token is still in the address');
  await button(page, 'Sign out').waitFor();
  await axeClean(page);
}

async function asks(page) {
  await page.getByRole('link', { name: 'Chat', exact: true }).click();
  await page.waitForFunction(() => document.querySelector('[role=combobox]')?.value === 'exo-tiny');
  assert(await page.getByLabel('Message', { exact: true }).evaluate((field) => field === document.activeElement), 'one cannot type at once');
  // The same answers each time, and two of them fit into the model's context.
  await button(page, 'Parameters').click();
  await page.getByLabel('Temperature').fill('0');
  await page.getByLabel('Longest answer').fill('80');
  await button(page, 'Done').click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await page.getByLabel('Message', { exact: true }).click();
  await page.keyboard.type(question);
  await page.keyboard.press('Enter');
  await answers(page).getByText(/\S/).first().waitFor();
  await answers(page).getByText(/tokens\/s · first after/).waitFor();
  await answers(page).getByRole('button', { name: 'Another answer' }).waitFor();
}

// A small model is done before one can stop it: the line is made slow, so that its words come a few at a time.
async function stops(page, node) {
  const line = await page.context().newCDPSession(page);
  const slow = { offline: false, latency: 0, downloadThroughput: 1500, uploadThroughput: -1 };
  await line.send('Network.emulateNetworkConditions', slow);
  await page.getByLabel('Message', { exact: true }).fill('Count from one to a thousand');
  await page.keyboard.press('Enter');
  await answers(page).nth(1).locator('.markdown').waitFor();
  await button(page, 'Stop the answer').click();
  await button(page, 'Send').waitFor();
  await page.getByText('The answer was stopped.').waitFor({ state: 'attached' });
  await line.send('Network.emulateNetworkConditions', { ...slow, downloadThroughput: -1 });
  const kept = `${node.url}/v1/conversations/${page.url().split('/').at(-1)}`;
  await until('the node to keep both answers', async () => (await (await page.request.get(kept)).json()).messages.length === 4);
}

async function keeps(page) {
  const said = await answers(page).first().innerText();
  await page.reload();
  await answers(page).nth(1).waitFor();
  assert((await answers(page).first().innerText()).slice(0, 20) === said.slice(0, 20), 'the answer is another one after a reload');
  await page.getByLabel('Search conversations').fill('lighthouse');
  await page.getByRole('link', { name: /lighthouse/ }).waitFor();
  await page.getByLabel('Search conversations').fill('zebra');
  await page.getByText('Nothing has “zebra” in it').waitFor();
  await button(page, 'More about this conversation').click();
  const saving = page.waitForEvent('download');
  await page.getByRole('menuitem', { name: 'Export as JSON' }).click();
  const file = JSON.parse(readFileSync(await (await saving).path(), 'utf8'));
  assert(file.data[0].messages.some((one) => one.content === question), 'the question is not in the exported file');
}

async function looksAtModels(page) {
  await open(page, 'models');
  const card = page.getByRole('article', { name: 'exo-tiny' });
  await card.getByText('loaded', { exact: true }).waitFor();
  await card.getByRole('button', { name: 'Plan' }).click();
  await page.getByText(/tokens\/s/).first().waitFor();
  await page.getByRole('row', { name: /kitchen/ }).waitFor();
}

async function looksAtRequests(page) {
  await open(page, 'requests');
  await page.getByRole('row', { name: /Done/ }).getByRole('link', { name: /Trace/ }).first().click();
  await page.getByRole('heading', { name: 'By row' }).waitFor();
  await page.getByRole('row', { name: /kitchen/ }).first().waitFor();
  assert((await page.locator('.lane rect').count()) > 3, 'the waterfall is empty');
  await axeClean(page);
}

async function changesSettings(page, node) {
  await open(page, 'settings');
  const field = page.getByLabel('min_charge', { exact: true });
  await field.fill('55');
  await field.press('Enter');
  await page.getByText('min_charge is saved').waitFor();
  assert(readFileSync(`${node.home}/exo.toml`, 'utf8').includes('min_charge = 55'), 'the file does not say it');
}

async function makesKey(page, node) {
  await button(page, 'Make a key').click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('phone');
  await dialog.getByRole('button', { name: 'Make a key' }).click();
  const key = await dialog.getByRole('textbox', { name: 'The key, shown only now' }).inputValue();
  await dialog.getByRole('button', { name: 'Close' }).last().click();
  const used = () => fetch(`${node.url}/v1/chat/completions`, {
    method: 'POST', headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ model: 'exo-tiny', messages: [{ role: 'user', content: 'Hi' }], max_tokens: 2 }),
  });
  assert((await used()).status === 200, 'the key is refused');
  await button(page, 'Remove: phone').click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await page.getByText('The key phone was removed.').waitFor();
  assert((await used()).status === 401, 'the removed key is still good');
}

async function looksAround(page) {
  await open(page, 'logs');
  await page.getByRole('log').locator('p').first().waitFor();
  await open(page, 'doctor');
  await page.getByRole('heading', { name: /the data folder is in order/i }).waitFor();
  await axeClean(page);
  await open(page, 'integrations');
  await page.getByText('Claude Code').first().waitFor();
}

// A second device is started with the code that the page shows.
async function invites(page) {
  await open(page, 'trust');
  await button(page, 'Open an invitation').click();
  const command = await page.getByRole('textbox', { name: 'The command for it' }).inputValue();
  const desk = await startNode('desk', '--join', command.split(' ').at(-1));
  try {
    await button(page, 'Forget: desk').waitFor();
    await open(page, 'home');
    await page.getByRole('link', { name: /^desk/ }).waitFor();
  } finally {
    await desk.stop();
  }
}

async function signsOut(page) {
  await button(page, 'Sign out').click();
  await page.getByRole('link', { name: 'Sign in', exact: true }).waitFor();
  await open(page, 'settings');
  await page.getByText('Sign in to see this').waitFor();
}

const node = await startNode('kitchen');
const browser = await launch();
const page = await browser.newPage({ locale: 'en', viewport: { width: 1280, height: 800 } });
page.setDefaultTimeout(60_000);
const complaints = [];
page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
page.on('pageerror', (fault) => complaints.push(fault.message));

let failed = 0;
try {
  for (const step of [signsIn, asks, stops, keeps, looksAtModels, looksAtRequests, changesSettings, makesKey, looksAround, invites, signsOut]) {
    const start = Date.now();
    await step(page, node).catch((fault) => {
      throw new Error(`${step.name}: ${fault.message}`);
    });
    console.log(`  ${step.name} ${((Date.now() - start) / 1000).toFixed(1)} s`);
  }
  assert(complaints.length === 0, `the browser complains: ${complaints.join('; ')}`);
  console.log('the page works with a real node');
} catch (fault) {
  ++failed;
  console.log(`FAILED with a real node: ${fault.message}`);
  const picture = new URL('../../build/real.png', import.meta.url).pathname;
  await page.screenshot({ path: picture });
  console.log([...complaints, `what the page showed: ${picture}`].join('\n'));
} finally {
  await browser.close();
  await node.stop();
}
process.exit(failed === 0 ? 0 : 1);
