// The README's pictures of the page: node tests/pictures.mjs [FOLDER]. Three real nodes of this machine ($EXO, see
// node.mjs) hold exo-tiny together and answer; what their pages show is written as home-dark.png, chat-light.png, phone.png.
import { launch, open } from './browser.mjs';
import { startNode, until } from './node.mjs';

const folder = process.argv[2] ?? new URL('../../docs/pictures', import.meta.url).pathname;
const desktop = { width: 1280, height: 800 };
const phone = { width: 390, height: 844 };

// A tab, signed in.
async function tab(browser, node, viewport, colorScheme) {
  const page = await browser.newPage({ locale: 'en', viewport, colorScheme });
  page.setDefaultTimeout(20_000);
  await page.goto(await node.link());
  await page.getByText('tokens/s now').waitFor();
  return page;
}

async function ask(page, question) {
  const before = await page.getByRole('button', { name: 'Another answer' }).count();
  await page.getByLabel('Message', { exact: true }).fill(question);
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Another answer' }).nth(before).waitFor();
}

// Answers flow while the picture is taken.
async function picturesHome(browser, node) {
  const page = await tab(browser, node, desktop, 'dark');
  const body = JSON.stringify({ model: 'exo-tiny', prompt: 'Once upon a time', max_tokens: 400, temperature: 1 });
  let taken = false;
  const asks = async () => {
    while (!taken) {
      const answer = await fetch(`${node.url}/v1/completions`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
      if (!answer.ok) throw new Error(await answer.text());
      await answer.text();
    }
  };
  const asking = Promise.allSettled([asks(), asks()]);
  try {
    await page.getByText(/answers? (is|are) being written/).waitFor();
    await page.waitForTimeout(1500); // until its links have figures
    await page.screenshot({ path: `${folder}/home-dark.png` });
  } finally {
    taken = true;
    const failed = (await asking).find(({ status }) => status === 'rejected');
    if (failed) throw failed.reason;
  }
  await page.close();
}

async function picturesChat(browser, node) {
  const page = await tab(browser, node, desktop, 'light');
  await open(page, 'chat');
  await page.getByRole('button', { name: 'Parameters', exact: true }).click();
  await page.getByLabel('Temperature').fill('0');
  await page.getByRole('button', { name: 'Done', exact: true }).click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await ask(page, 'What is exo?');
  await ask(page, 'How do I add a device?');
  await page.waitForTimeout(500); // until the answer's time is in the list
  await page.screenshot({ path: `${folder}/chat-light.png` });
  await page.close();
}

async function picturesPhone(browser, node) {
  const page = await tab(browser, node, phone, 'light');
  await open(page, 'models');
  await page.getByRole('article', { name: 'exo-tiny' }).waitFor();
  await page.screenshot({ path: `${folder}/phone.png` });
  await page.close();
}

const nodes = [await startNode('kitchen')];
const browser = await launch();
try {
  for (const name of ['desk', 'laptop']) {
    const { code } = JSON.parse(await nodes[0].command('invite', '--json'));
    nodes.push(await startNode(name, '--join', code));
  }
  const alive = async () => JSON.parse(await nodes[0].command('devices', '--json')).filter(({ state }) => state !== 'dead').length;
  await until('three devices', async () => (await alive()) === 3);
  await nodes[0].command('run', 'exo-tiny', '--spread', '--max-tokens', '1', 'Hi');
  await picturesChat(browser, nodes[0]);
  await picturesHome(browser, nodes[0]);
  await picturesPhone(browser, nodes[0]);
  console.log(`home-dark.png, chat-light.png and phone.png are in ${folder}`);
} finally {
  await browser.close();
  for (const node of nodes) await node.stop();
}
