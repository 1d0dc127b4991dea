// An answer while it comes: chunks of POST /v1/chat/completions, put together into a message.
import { errorFrom } from '../api/client';
import type { Message, MessageStats, TokenProbability, ToolCall } from '../api/types';

interface ToolCallDelta {
  index?: number;
  id?: string;
  function?: { name?: string; arguments?: string };
}
export interface Chunk {
  choices?: {
    delta?: {
      content?: string | null;
      reasoning_content?: string | null;
      tool_calls?: ToolCallDelta[];
    };
    finish_reason?: string | null;
    logprobs?: { content?: TokenProbability[] | null } | null;
  }[];
  usage?: {
    prompt_tokens?: number;
    completion_tokens?: number;
    prompt_tokens_details?: { cached_tokens?: number };
  } | null;
  exo?: { ttft_ms?: number; tokens_per_second?: number; stages?: { node: string }[] };
  error?: unknown;
}

export type AnswerPart = Pick<Message, 'content' | 'reasoning' | 'tool_calls' | 'logprobs' | 'stats'>;

export class Answer {
  #content = '';
  #reasoning = '';
  #calls: ToolCall[] = [];
  #logprobs: TokenProbability[] = [];
  #stats: MessageStats;
  // When the request was sent, and the first and last piece came, in ms.
  readonly #began: number;
  #first: number | undefined;
  #last = 0;
  #pieces = 0;
  #finish: string | null = null;

  constructor(now: number, stats: MessageStats) {
    this.#began = now;
    this.#stats = stats;
  }

  // Takes the next chunk, which came at `now` (ms). Throws the ApiError that it holds.
  add(chunk: Chunk, now: number): void {
    if (chunk.error) throw errorFrom(chunk, 200);
    this.#addReports(chunk);
    const choice = chunk.choices?.[0];
    if (!choice) return;
    const { content, reasoning_content: reasoning, tool_calls: calls } = choice.delta ?? {};
    this.#content += content ?? '';
    this.#reasoning += reasoning ?? '';
    for (const call of calls ?? []) this.#addCall(call);
    for (const token of choice.logprobs?.content ?? []) this.#logprobs.push(short(token));
    this.#finish = choice.finish_reason ?? this.#finish;
    if (content || reasoning || calls?.length) this.#count(now);
  }

  // The server tells no figures before the end: until then they are what this page sees.
  #count(now: number): void {
    this.#first ??= now;
    this.#last = now;
    ++this.#pieces;
    const seconds = (this.#last - this.#first) / 1000;
    this.#stats = {
      ...this.#stats,
      ttft_ms: this.#first - this.#began,
      completion_tokens: this.#pieces,
      ...(seconds > 0 ? { tokens_per_second: (this.#pieces - 1) / seconds } : {}),
    };
  }

  #addReports({ usage, exo }: Chunk): void {
    if (exo) {
      this.#stats = {
        ...this.#stats,
        ttft_ms: exo.ttft_ms ?? this.#stats.ttft_ms,
        tokens_per_second: exo.tokens_per_second ?? this.#stats.tokens_per_second,
        devices: exo.stages ? [...new Set(exo.stages.map((stage) => stage.node))] : this.#stats.devices,
      };
    }
    if (usage) {
      this.#stats = {
        ...this.#stats,
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        cached_tokens: usage.prompt_tokens_details?.cached_tokens,
      };
    }
  }

  #addCall(delta: ToolCallDelta): void {
    const index = delta.index ?? 0;
    const known = this.#calls[index];
    const name = (known?.function.name ?? '') + (delta.function?.name ?? '');
    const args = (known?.function.arguments ?? '') + (delta.function?.arguments ?? '');
    const id = known?.id ?? delta.id ?? `call_${index}`;
    this.#calls[index] = { id, type: 'function', function: { name, arguments: args } };
  }

  // Why it ended: `stop`, `length`, `tool_calls`; null while it goes on.
  get finish(): string | null {
    return this.#finish;
  }

  get empty(): boolean {
    return this.#content === '' && this.#reasoning === '' && this.#calls.length === 0;
  }

  // What has come so far.
  part(): AnswerPart {
    const calls = this.#calls.filter(Boolean);
    return {
      content: this.#content,
      stats: { ...this.#stats },
      ...(this.#reasoning ? { reasoning: this.#reasoning } : {}),
      ...(calls.length > 0 ? { tool_calls: calls } : {}),
      ...(this.#logprobs.length > 0 ? { logprobs: [...this.#logprobs] } : {}),
    };
  }
}

// Without the bytes, which nobody looks at: with them a long answer is too large to be kept.
function short({ token, logprob, top_logprobs: others }: TokenProbability): TokenProbability {
  const pair = (one: { token: string; logprob: number }) => ({ token: one.token, logprob: round(one.logprob) });
  return { ...pair({ token, logprob }), ...(others ? { top_logprobs: others.map(pair) } : {}) };
}

function round(logprob: number): number {
  return Math.round(logprob * 1e4) / 1e4;
}

// The devices that the header X-Exo-Route names: "kitchen;layers=0-3, desk;layers=4-7".
export function devicesOf(header: string | null): string[] {
  return (header ?? '').split(',').map((stage) => stage.split(';', 1)[0]!.trim()).filter(Boolean);
}
