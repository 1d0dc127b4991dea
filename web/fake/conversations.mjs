// Conversations as the node keeps them, in memory.
import { answerTo } from './answers.mjs';
import { Fault, readJson, route, sendJson, startEvents } from './http.mjs';
import { hex } from './world.mjs';

const questions = [
  'What limits how fast a model answers at home?', 'Write code that counts words', 'Explain the Gaussian integral with math',
  'A table of my devices', 'Think about the best split over three devices', 'Weather in Berlin', 'Plan a birthday for ten children',
  'Translate this letter to German', 'Why is the sky blue?', 'Summarize the minutes of the meeting',
];
const day = 86_400_000;

// One question and its answer, `number` conversations ago.
function example(number, now) {
  const question = questions[number % questions.length];
  const at = now - 60_000 - number * 0.37 * day;
  const answer = answerTo(question);
  const [ask, said] = [hex(`question ${number}`, 32), hex(`answer ${number}`, 32)];
  const stats = {
    ttft_ms: 640, tokens_per_second: 21.4, prompt_tokens: 32, cached_tokens: 8, completion_tokens: 128,
    devices: ['kitchen', 'desk'], request: hex('request 1', 32),
  };
  const messages = [
    { id: ask, parent: null, role: 'user', content: question, created: at, updated: at },
    { id: said, parent: ask, role: 'assistant', content: answer.text, model: 'qwen3-8b-q4_k_m', stats, created: at + 1, updated: at + 1,
      ...(answer.reasoning ? { reasoning: answer.reasoning } : {}) },
  ];
  const title = number < questions.length ? question : `${question} (${number})`;
  return { id: hex(`conversation ${number}`, 32), title, model: 'qwen3-8b-q4_k_m', settings: {}, created: at, updated: at, leaf: said, messages };
}

class Shelf {
  constructor(world) {
    this.world = world;
    const count = { many: 10_000, empty: 0 }[world.scenario] ?? 24;
    const now = Date.now();
    this.all = new Map(Array.from({ length: count }, (_, number) => example(number, now)).map((one) => [one.id, one]));
  }

  find(id) {
    const found = this.all.get(id);
    if (!found) throw new Fault(404, 'conversation_not_found', `There is no conversation ${id}. It was deleted, or is another key's.`);
    return found;
  }

  tell(changed, deleted = []) {
    this.world.emit('changed', 'conversations', { changed, deleted });
  }

  touch(one) {
    one.updated = Date.now();
    this.tell([one.id]);
  }

  page(query) {
    const wanted = (query.get('search') ?? '').toLowerCase();
    const limit = Number(query.get('limit') ?? 50);
    const from = Number(query.get('before') ?? 0);
    const found = [...this.all.values()]
      .filter((one) => [one.title, ...one.messages.map((message) => message.content)].some((text) => text.toLowerCase().includes(wanted)))
      .sort((a, b) => b.updated - a.updated);
    const data = found.slice(from, from + limit).map(({ messages, settings, leaf, ...entry }) => ({
      ...entry, snippet: messages.at(-1)?.content.slice(0, 120) ?? '',
    }));
    return { data, next: from + limit < found.length ? String(from + limit) : null };
  }

  create(fields) {
    const now = Date.now();
    const made = { id: hex(`made ${now} ${Math.random()}`, 32), title: '', model: '', settings: {}, created: now, updated: now, leaf: null, messages: [], ...fields };
    this.all.set(made.id, made);
    this.tell([made.id]);
    return made;
  }

  put(id, mid, message) {
    const one = this.find(id);
    one.messages = [...one.messages.filter((other) => other.id !== mid), { ...message, id: mid }];
    this.touch(one);
  }

  // `ontaken` hears the report after each conversation, and may take its time.
  async import(file, ontaken) {
    if (file.exo_conversations !== 1)
      throw new Fault(400, 'invalid_value', '\'exo_conversations\' must be 1: this is no file that exo has exported.');
    const report = { added: 0, updated: 0, unchanged: 0 };
    for (const one of file.data) {
      const known = this.all.get(one.id);
      if (known && known.updated >= one.updated) ++report.unchanged;
      else {
        ++report[known ? 'updated' : 'added'];
        this.all.set(one.id, one);
      }
      await ontaken?.(report);
    }
    this.tell(file.data.map((one) => one.id));
    return report;
  }
}

// Milliseconds that the import of one conversation takes, where its progress is told.
export const importPace = { each: 0 };

export function conversationRoutes(world) {
  const shelf = new Shelf(world);
  const root = '/v1/conversations';
  const ok = (response) => sendJson(response, { ok: true });
  return [
    route('GET', root, ({ query, response }) => sendJson(response, shelf.page(query))),
    route('POST', root, async ({ request, response }) => sendJson(response, shelf.create(await readJson(request)))),
    route('GET', `${root}/export`, ({ response }) => sendJson(response, { exo_conversations: 1, data: [...shelf.all.values()] })),
    route('POST', `${root}/import`, async ({ request, response }) => {
      const file = await readJson(request);
      if (!file.stream) return sendJson(response, await shelf.import(file));
      const send = startEvents(response);
      await shelf.import(file, async (report) => {
        if (importPace.each) await new Promise((resolve) => setTimeout(resolve, importPace.each));
        if (response.destroyed) throw new Error('the client went away');
        send('', { ...report, total: file.data.length });
      }).then(() => send('', '[DONE]'), () => {});
      response.end();
    }),
    route('GET', `${root}/{id}`, ({ params, response }) => sendJson(response, shelf.find(params.id))),
    route('PATCH', `${root}/{id}`, async ({ params, request, response }) => {
      shelf.touch(Object.assign(shelf.find(params.id), await readJson(request)));
      ok(response);
    }),
    route('DELETE', `${root}/{id}`, ({ params, response }) => {
      shelf.find(params.id);
      shelf.all.delete(params.id);
      shelf.tell([], [params.id]);
      ok(response);
    }),
    route('PUT', `${root}/{id}/messages/{mid}`, async ({ params, request, response }) => {
      shelf.put(params.id, params.mid, await readJson(request));
      ok(response);
    }),
    route('DELETE', `${root}/{id}/messages/{mid}`, ({ params, response }) => {
      const one = shelf.find(params.id);
      one.messages = one.messages.filter((message) => message.id !== params.mid);
      shelf.touch(one);
      ok(response);
    }),
  ];
}
