// Chat completions as the node streams them (docs/api.md), conversations, and traces.
import { randomBytes } from 'node:crypto';
import { answerTo, tokensOf } from './answers.mjs';
import { conversationRoutes } from './conversations.mjs';
import { Fault, readJson, route, sendFault } from './http.mjs';
import { traceRoutes } from './trace.mjs';

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Milliseconds before the first token, and between two; tests may change it.
export const pace = { first: 350, token: 18 };

function logprobsOf(token, index) {
  const others = [token, ' perhaps', ' the', '…', ' so'];
  const first = -0.02 - (index * 37 % 100) / 60;
  return {
    token, logprob: first, bytes: [...Buffer.from(token)],
    top_logprobs: others.map((one, rank) => ({ token: one, logprob: first - rank * 1.3, bytes: [...Buffer.from(one)] })),
  };
}

// The deltas of an answer, token by token.
function* deltasOf(answer, withLogprobs) {
  let index = 0;
  for (const token of tokensOf(answer.reasoning ?? '')) yield [{ reasoning_content: token, reasoning: token }];
  for (const token of tokensOf(answer.text)) {
    yield [{ content: token }, withLogprobs ? { content: [logprobsOf(token, index++)], refusal: null } : null];
  }
  if (!answer.call) return;
  const { name, arguments: args } = answer.call;
  yield [{ tool_calls: [{ index: 0, id: 'call_1', type: 'function', function: { name, arguments: '' } }] }];
  for (const piece of tokensOf(args)) yield [{ tool_calls: [{ index: 0, function: { arguments: piece } }] }];
}

function refusal(body, world) {
  const found = world.models.find((one) => one.id === body.model);
  if (!found) return new Fault(404, 'model_not_found', `There is no model "${body.model}". GET /v1/models lists those that can be run.`);
  if (found.exo.bytes > 40e9)
    return new Fault(503, 'no_plan', `${found.id} needs 43.1 GB, this cluster has 36.2 GB free: close a program on desk, or take a smaller quantization.`);
  return undefined;
}

class Answering {
  constructor(world, body, response) {
    Object.assign(this, { world, body, response, began: Date.now(), gone: false });
    this.id = `chatcmpl-${randomBytes(16).toString('hex')}`;
    this.stages = world.instances[0]?.stages ?? [{ node: world.self.name, node_id: world.self.id, layer_begin: 0, layer_end: 6 }];
    // `ours`: the world does not move it.
    this.entry = {
      id: this.id, model: body.model, state: 'prompt', who: '', entry: world.self.name, dialect: 'openai',
      started: this.began, prompt_tokens: 32, cached_tokens: 8, generated: 0,
      devices: this.stages.map((one) => one.node), ours: true,
    };
    world.requests.unshift(this.entry);
    response.on('close', () => (this.gone = true));
  }

  progress(count) {
    const ms = Date.now() - this.began - pace.first;
    Object.assign(this.entry, { state: 'answering', generated: count, ttft_ms: pace.first });
    if (ms > 0) this.entry.tokens_per_second = (count / ms) * 1000;
    if (count % 10 === 1) this.world.changed('requests');
  }

  end(state, error) {
    Object.assign(this.entry, { state, ended: Date.now() }, error ? { error } : {});
    this.world.changed('requests');
  }

  chunk(choices, more = {}) {
    const head = { id: this.id, object: 'chat.completion.chunk', created: Math.floor(this.began / 1000), model: this.body.model };
    this.response.write(`data: ${JSON.stringify({ ...head, choices, ...more })}\n\n`);
  }

  delta(delta, logprobs = null, finish_reason = null, more = {}) {
    this.chunk([{ index: 0, delta, logprobs, finish_reason }], more);
  }

  head() {
    const route = this.stages.map((one) => `${one.node};layers=${one.layer_begin}-${one.layer_end - 1}`).join(', ');
    this.response.writeHead(200, {
      'Content-Type': 'text/event-stream; charset=utf-8', 'Cache-Control': 'no-cache',
      'x-request-id': this.id, 'X-Exo-Route': route,
    });
  }

  async run() {
    const answer = answerTo(String(this.body.messages.findLast((one) => one.role === 'user')?.content ?? ''));
    this.head();
    await wait(pace.first);
    this.delta({ role: 'assistant', content: '', refusal: null });
    let count = 0;
    for (const [delta, logprobs] of deltasOf(answer, this.body.logprobs)) {
      if (this.gone || this.entry.state === 'canceled') break;
      this.delta(delta, logprobs ?? null);
      this.progress(++count);
      if (pace.token > 0 || count % 50 === 0) await wait(pace.token);
      if (answer.ends === 'cut' && count > 30) {
        this.end('failed', 'The connection was cut.');
        return this.response.destroy();
      }
    }
    if (this.gone) return this.end('canceled');
    if (this.entry.state === 'canceled') return this.fail('cancelled', 'The request was canceled by an admin of this cluster.');
    if (answer.ends === 'lost') return this.fail('device_lost', 'desk went away, and the other devices do not hold its layers. Bring it back, or ask again.');
    this.finish(answer, count);
  }

  fail(code, message) {
    this.end(code === 'cancelled' ? 'canceled' : 'failed', message);
    this.response.end(`data: ${JSON.stringify({ error: { message, type: 'server_error', param: null, code } })}\n\n`);
  }

  finish(answer, count) {
    const ms = Date.now() - this.began;
    const speed = (count / Math.max(1, ms - pace.first)) * 1000;
    const stages = this.stages.map((one, at) => ({ ...one, ms: 12 + 7 * at }));
    this.delta({}, null, answer.call ? 'tool_calls' : 'stop', {
      exo: { stages, wire: 'f32', seed: 7, ttft_ms: pace.first, tokens_per_second: speed, prompt_tokens_per_second: 310, token_ids: [] },
      timings: { prompt_n: 24, prompt_ms: pace.first, predicted_n: count, predicted_ms: ms - pace.first, predicted_per_second: speed, cache_n: 8 },
    });
    this.chunk([], {
      usage: {
        prompt_tokens: 32, completion_tokens: count, total_tokens: 32 + count,
        prompt_tokens_details: { cached_tokens: 8 }, completion_tokens_details: { reasoning_tokens: 0 },
      },
    });
    this.response.end('data: [DONE]\n\n');
    this.end('done');
  }
}

export function chatRoutes(world) {
  async function complete({ request, response }) {
    const body = await readJson(request);
    const fault = refusal(body, world);
    if (fault) return sendFault(response, fault);
    await new Answering(world, body, response).run();
  }
  return [route('POST', '/v1/chat/completions', complete), ...conversationRoutes(world), ...traceRoutes(world)];
}
