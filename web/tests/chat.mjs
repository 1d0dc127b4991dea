// Chats, conversations, requests and traces.
import { pace } from '../fake/chat.mjs';
import { importPace } from '../fake/conversations.mjs';
import { assert, axeClean, noSidewaysScroll, open, withPage } from './browser.mjs';
import { until } from './node.mjs';

pace.first = 60;
pace.token = 1;

const test = (name, options, body) => ({ name, run: (browser) => withPage(browser, options, body) });
const button = (page, name) => page.getByRole('button', { name, exact: true });
const entry = (page, name) => page.getByRole('menuitem', { name, exact: true });
const answers = (page) => page.getByRole('article', { name: 'Answer' });

async function ask(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

// Until the answer is there, and its buttons.
async function answered(page) {
  await button(page, 'Send').waitFor();
  await answers(page).last().getByRole('button', { name: 'Another answer' }).waitFor();
}

async function chosen(page) {
  await page.waitForFunction(() => document.querySelector('[role=combobox]')?.value !== '');
}

// Types a part of a name, and takes the only model that has it.
async function chooseModel(page, part) {
  await page.getByRole('combobox', { name: 'Model' }).click();
  await page.keyboard.type(part);
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
}

async function openChat(page) {
  await open(page, 'chat');
  await chosen(page);
}

// One more for each look: light and dark, phone and desktop.
function look(size, scheme) {
  return test(`a chat with everything in it, ${size}, ${scheme}`, { size, scheme }, async (page) => {
    await openChat(page);
    await button(page, 'Parameters').click();
    await page.getByLabel('Record token probabilities').click();
    await axeClean(page);
    await button(page, 'Done').click();
    await ask(page, 'everything');
    await answered(page);
    await page.locator('math').first().waitFor();
    await page.locator('pre .keyword').first().waitFor();
    await page.getByText('Thoughts').click();
    await noSidewaysScroll(page);
    await axeClean(page);
    await button(page, 'Show token probabilities').last().click();
    await page.getByRole('listbox').press('ArrowRight');
    await page.getByRole('cell', { name: /%/ }).first().waitFor();
    await noSidewaysScroll(page);
    await axeClean(page);
  });
}

function lookAtRequests(size, scheme) {
  return test(`requests and a trace, ${size}, ${scheme}`, { size, scheme }, async (page, fake) => {
    await open(page, 'requests');
    await page.getByRole('row', { name: /Failed/ }).waitFor();
    await noSidewaysScroll(page);
    await axeClean(page);
    await open(page, `trace/${fake.world.requests.at(-3).id}`);
    await page.getByRole('heading', { name: 'Slow tokens' }).waitFor();
    await noSidewaysScroll(page);
    await axeClean(page);
  });
}

const chats = [
  test('an answer streams, is kept, and is there after a reload', {}, async (page) => {
    await openChat(page);
    await ask(page, 'How fast?');
    await answered(page);
    await answers(page).getByText('decide how fast a model answers').waitFor();
    await page.getByText(/tokens\/s · first after .* by kitchen, desk/).waitFor();
    assert(/#\/chat\/[0-9a-f]{32}$/.test(page.url()), `the address is ${page.url()}`);
    await page.reload();
    await answers(page).getByText('decide how fast a model answers').waitFor();
    await page.getByRole('listitem').filter({ hasText: 'How fast?' }).waitFor();
  }),

  test('a page that is closed at once loses nothing of an answer', {}, async (page, fake) => {
    pace.token = 5;
    const begin = async () => {
      await openChat(page);
      await ask(page, 'long');
      await page.getByRole('heading', { name: 'Part 1', exact: true }).waitFor();
    };
    // What the node has got of the answer in this page's address.
    const kept = async () => {
      const id = new URL(page.url()).hash.split('/').at(-1);
      const { leaf, messages } = await (await fetch(`${fake.url}/v1/conversations/${id}`)).json();
      return messages.find((one) => one.id === leaf && one.role === 'assistant')?.content ?? '';
    };
    const leave = (stopped) => page.evaluate((stop) => {
      if (stop) document.querySelector('[aria-label="Stop the answer"]').click();
      location.reload();
    }, stopped);
    for (const stopped of [true, false]) {
      await begin();
      await Promise.all([page.waitForEvent('load'), leave(stopped)]);
      await answers(page).getByText('Part 1').first().waitFor();
      assert((await kept()).includes('Part 1'), `the node has not got the answer (stopped: ${stopped})`);
      await page.getByRole('link', { name: 'New chat' }).first().click();
    }
  }),

  test('an answer goes on while another view is shown', {}, async (page) => {
    pace.token = 5;
    await openChat(page);
    await ask(page, 'long');
    await page.getByRole('heading', { name: 'Part 1', exact: true }).waitFor();
    await open(page, 'requests');
    await page.getByRole('heading', { name: 'Requests' }).waitFor();
    await page.goBack();
    await page.getByRole('heading', { name: 'Part 1', exact: true }).waitFor();
    await page.getByRole('heading', { name: 'Part 3', exact: true }).waitFor();
    await button(page, 'Stop the answer').click();
    pace.token = 1;
    await answered(page);
  }),

  test('each new chat begins anew, whatever was shown before', { expected: /status of 503/ }, async (page) => {
    for (const question of ['first', 'second', 'third']) {
      await openChat(page);
      await ask(page, question);
      await answered(page);
      assert((await answers(page).count()) === 1, 'a new chat has an answer of an old one');
      await open(page, 'models');
      await page.getByRole('heading', { name: 'Models', exact: true }).waitFor();
    }
  }),

  test('a question that was stopped is asked again', {}, async (page) => {
    pace.first = 5000;
    await openChat(page);
    await ask(page, 'hello');
    await button(page, 'Stop the answer').click();
    pace.first = 60;
    await button(page, 'Ask again').click();
    await answered(page);
    assert((await button(page, 'Ask again').count()) === 0, 'an answered question is offered again');
  }),

  test('Shift+Enter makes a line, Enter sends', {}, async (page) => {
    await openChat(page);
    const field = page.getByLabel('Message', { exact: true });
    await field.fill('one');
    await page.keyboard.press('Shift+Enter');
    await page.keyboard.type('two');
    await page.keyboard.press('Enter');
    await answered(page);
    assert((await page.getByRole('article', { name: 'You' }).innerText()).includes('one\ntwo'), 'the line break is lost');
    assert((await field.inputValue()) === '', 'the field is not empty');
  }),

  test('a question is edited: branches can be changed', {}, async (page) => {
    await openChat(page);
    await ask(page, 'code');
    await answered(page);
    await button(page, 'Edit and ask again').click();
    await page.getByRole('textbox', { name: 'Edit and ask again' }).fill('math');
    await button(page, 'Ask again').click();
    await answered(page);
    await page.getByText('2 of 2').waitFor();
    await answers(page).getByText('bell curve').waitFor();
    await button(page, 'Previous version').click();
    await answers(page).getByText('counts words:').waitFor();
    await button(page, 'Another answer').click();
    await answered(page);
    assert((await page.getByText('2 of 2').count()) === 1, 'the answer has no second version');
    await page.reload();
    await page.getByText('1 of 2').waitFor();
  }),

  test('tools are called, and given their results', {}, async (page) => {
    await openChat(page);
    await ask(page, 'weather');
    await answered(page);
    await page.getByText('Calls get_weather').waitFor();
    await page.getByLabel('What get_weather gives').fill('sunny');
    await button(page, 'Give this result').click();
    await page.getByRole('article', { name: 'Result' }).getByText('sunny').waitFor();
    await answers(page).nth(1).waitFor();
    await answered(page);
  }),

  test('what a model writes does no harm', {}, async (page) => {
    await openChat(page);
    await ask(page, 'attack');
    await answered(page);
    await answers(page).getByText('<script>window.attacked = 1</script>').waitFor();
    await answers(page).getByText('at evil.example (not loaded)').waitFor();
    const links = await answers(page).locator('.markdown a').evaluateAll((all) => all.map((one) => one.href));
    assert(links.every((one) => one.startsWith('https://')), `links lead to ${links}`);
    assert((await page.evaluate(() => window.attacked)) === undefined, 'the model has run a script');
  }),

  test('text files are attached, others refused', {}, async (page, fake) => {
    await openChat(page);
    const chooser = page.locator('.composer input[type=file]');
    await chooser.setInputFiles({ name: 'a.bin', mimeType: 'application/octet-stream', buffer: Buffer.from([0, 255, 1]) });
    await page.getByText('a.bin is not a text file').waitFor();
    await chooser.setInputFiles({ name: 'big.txt', mimeType: 'text/plain', buffer: Buffer.alloc(600 * 1024, 'x') });
    await page.getByText('big.txt has 600 KiB').waitFor();
    await chooser.setInputFiles({ name: 'notes.md', mimeType: 'text/markdown', buffer: Buffer.from('# Notes') });
    await button(page, 'Remove notes.md').waitFor();
    let sent;
    page.on('request', (request) => (sent = request.url().endsWith('/completions') ? request.postDataJSON() : sent));
    await ask(page, 'Sum it up');
    await answered(page);
    assert(sent.messages[0].content === 'File notes.md:\n```\n# Notes\n```\n\nSum it up', `sent: ${sent.messages[0].content}`);
    assert(fake.world !== undefined && (await page.getByText('notes.md').isVisible()), 'the file is not shown');
  }),

  test('failures are told, and tried again', { expected: /status of (404|503)|ERR_INCOMPLETE/ }, async (page) => {
    await openChat(page);
    await ask(page, 'lost');
    await page.getByText('desk went away').waitFor();
    await page.getByText('Switch the device on again').waitFor();
    await button(page, 'Try again').click();
    await button(page, 'Stop the answer').waitFor();
    await page.getByText('desk went away').waitFor();
    await ask(page, 'cut');
    await page.getByText('The connection broke off').waitFor();
    await chooseModel(page, '70b');
    await ask(page, 'hello');
    await page.getByText('needs 43.1 GB, this cluster has 36.2 GB free').waitFor();
  }),

  test('home asks the chat', {}, async (page) => {
    await page.getByText('tokens/s now').waitFor();
    await page.locator('main form :is(input, textarea)').first().fill('code');
    await page.keyboard.press('Enter');
    await answers(page).getByText('counts words:').waitFor();
    await answered(page);
  }),
];

const lists = [
  test('conversations are searched, renamed, deleted and brought back', {}, async (page) => {
    await openChat(page);
    await page.getByLabel('Search conversations').fill('birthday');
    await page.getByRole('link', { name: /Plan a birthday/ }).first().click();
    await page.getByRole('heading', { name: /Plan a birthday/ }).waitFor();
    await button(page, 'More about this conversation').click();
    await entry(page, 'Rename').click();
    await page.getByRole('dialog').getByRole('textbox').and(page.locator(':focus')).waitFor();
    await page.getByLabel('Title').fill('Party');
    await button(page, 'Save').click();
    await page.getByRole('heading', { name: 'Party' }).waitFor();
    await page.getByLabel('Search conversations').fill('party');
    const row = page.getByRole('listitem').filter({ hasText: 'Party' });
    await row.waitFor();
    await button(page, 'More about this conversation').click();
    await entry(page, 'Delete').click();
    await row.waitFor({ state: 'detached' });
    await button(page, 'Undo').click();
    await row.waitFor();
    await page.getByLabel('Search conversations').fill('zebra');
    await page.getByText('Nothing has “zebra” in it').waitFor();
  }),

  test('conversations are exported and imported', {}, async (page) => {
    await openChat(page);
    await button(page, 'Import and export').click();
    const [file] = await Promise.all([page.waitForEvent('download'), entry(page, 'Export all (JSON)').click()]);
    assert(file.suggestedFilename() === 'exo-conversations.json', file.suggestedFilename());
    const chooser = page.locator('aside input[type=file]');
    await chooser.setInputFiles(await file.path().then((path) => ({ path })).then(async ({ path }) => ({
      name: 'mine.json', mimeType: 'application/json', buffer: (await import('node:fs')).readFileSync(path),
    })));
    await page.getByText(/Imported: 0 new, 0 updated, \d+ unchanged/).waitFor();
    // What was deleted a moment ago comes back.
    await page.getByRole('link', { name: /Weather/ }).first().click();
    await page.getByRole('heading', { name: /Weather/ }).waitFor();
    await button(page, 'More about this conversation').click();
    await entry(page, 'Delete').click();
    await chooser.setInputFiles({ name: 'mine.json', mimeType: 'application/json', buffer: (await import('node:fs')).readFileSync(await file.path()) });
    await page.getByText(/Imported: 1 new, 0 updated, \d+ unchanged/).waitFor();
    await page.getByRole('link', { name: /Weather/ }).first().waitFor();
    await chooser.setInputFiles({ name: 'other.json', mimeType: 'application/json', buffer: Buffer.from('{}') });
    await page.getByText('other.json was not imported').waitFor();
  }),

  test('a large import tells how far it is, and can be canceled', {}, async (page) => {
    await openChat(page);
    const data = Array.from({ length: 40 }, (_, i) => ({
      id: String(i).padStart(32, 'f'), title: `Imported ${i}`, leaf: null, messages: [], created: 1, updated: Date.now(),
    }));
    const file = (name) => ({ name, mimeType: 'application/json', buffer: Buffer.from(JSON.stringify({ exo_conversations: 1, data })) });
    const chooser = page.locator('aside input[type=file]');
    importPace.each = 300; // so that nothing is missed where this page or this test is held up
    await chooser.setInputFiles(file('large.json'));
    await page.getByRole('progressbar', { name: 'Importing large.json' }).waitFor();
    await page.getByText(/^([5-9]|1\d) of 40 conversations$/).waitFor();
    await button(page, 'Cancel').click();
    await page.getByText(/The import was canceled after \d+ conversations/).waitFor();
    await page.getByRole('progressbar').waitFor({ state: 'detached' });
    importPace.each = 0;
    await chooser.setInputFiles(file('large.json'));
    await page.getByText(/Imported: [123]\d new, 0 updated, [1-9]\d* unchanged/).waitFor();
  }),

  test('10,000 conversations stay fluent', { scenario: 'many' }, async (page) => {
    await openChat(page);
    await page.getByRole('link', { name: /What limits/ }).first().waitFor();
    await until('more of them to be read', async () => {
      await page.locator('aside .scroll').evaluate((list) => (list.scrollTop = list.scrollHeight));
      const { rows, total } = await page.locator('aside li').evaluateAll((all) => ({ rows: all.length, total: all[0].ariaSetSize }));
      assert(rows < 40, `${rows} rows are in the page`);
      return Number(total) > 250;
    });
  }),

  test('another tab hears of changes', {}, async (page, fake) => {
    await openChat(page);
    await page.getByRole('link', { name: /What limits/ }).first().waitFor();
    await fetch(`${fake.url}/v1/conversations`, { method: 'POST', body: JSON.stringify({ title: 'From elsewhere' }) });
    await page.getByRole('link', { name: /From elsewhere/ }).waitFor();
  }),

  test('on a phone the list opens over the chat', { size: 'phone' }, async (page) => {
    await openChat(page);
    await button(page, 'Conversations').click();
    await page.getByRole('link', { name: /Weather/ }).first().waitFor();
    await noSidewaysScroll(page);
    await axeClean(page);
    await page.getByRole('link', { name: /Weather/ }).first().click();
    await page.getByText('Calls get_weather').waitFor({ state: 'detached' });
    assert(!(await page.getByLabel('Search conversations').isVisible()), 'the list is still there');
  }),

  test('a conversation that is gone says so', { expected: /status of 404/ }, async (page) => {
    await open(page, `chat/${'0'.repeat(32)}`);
    await page.getByText('This conversation is not there').waitFor();
    await axeClean(page);
  }),

  test('a refusing node is quoted in the chat', { scenario: 'errors', expected: /status of 500/ }, async (page) => {
    await open(page, 'chat');
    await page.getByText('The disk of this device is full').first().waitFor();
    await axeClean(page);
  }),
];

const traces = [
  test('a request is canceled', {}, async (page, fake) => {
    await open(page, 'requests');
    await page.getByRole('button', { name: /Cancel the request/ }).first().click();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel the request' }).click();
    await page.getByText('The request was canceled').waitFor();
    assert(fake.world.requests.some((one) => one.state === 'canceled'), 'the node was not told');
  }),

  test('a trace is zoomed by keyboard, and exported', {}, async (page, fake) => {
    await open(page, `trace/${fake.world.requests.at(-3).id}`);
    const lanes = page.getByLabel('Plus and minus zoom, the arrow keys move.');
    const before = await lanes.locator('rect').count();
    await lanes.focus();
    for (const key of ['+', '+', '+', 'ArrowRight']) await page.keyboard.press(key);
    assert((await lanes.locator('rect').count()) < before / 2, 'zooming shows as many bars');
    await page.keyboard.press('0');
    await page.getByRole('button', { name: /Show token/ }).first().click();
    assert((await lanes.locator('rect.slow').count()) > 0, 'the slow token is not in sight');
    const [file] = await Promise.all([page.waitForEvent('download'), button(page, 'Chrome trace').click()]);
    assert(/^exo-[0-9a-f]{8}-chrome\.json$/.test(file.suggestedFilename()), file.suggestedFilename());
  }),

  test('a request without a trace says why', { expected: /status of 404/ }, async (page) => {
    await open(page, 'trace/none');
    await page.getByText('This request has no trace').waitFor();
    await axeClean(page);
  }),
];

export const tests = [
  ...chats, ...lists, ...traces,
  look('desktop', 'light'), look('desktop', 'dark'), look('phone', 'light'), look('phone', 'dark'),
  lookAtRequests('desktop', 'light'), lookAtRequests('phone', 'dark'),
];
