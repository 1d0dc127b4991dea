// Calls of the node's routes. Every failure is an ApiError whose message may be shown.
import { words } from '../words/index.svelte';

export class ApiError extends Error {
  constructor(
    message: string,
    // The node's word for the kind of fault; `unreachable` and `bad_answer` are this page's own.
    readonly code: string,
    // 0 where no answer came.
    readonly status: number,
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

type Listener = () => void;
let signedOut: Listener = () => {};

// Called whenever the node says that nobody is signed in (401).
export function onSignedOut(listener: Listener): void {
  signedOut = listener;
}

export interface CallOptions {
  method?: string;
  // Sent as JSON.
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  // The browser finishes the call also where the page is closed.
  keepalive?: boolean;
  // What is seen at once comes before it.
  priority?: RequestPriority;
}

// Sends a request and gives the answer of a status below 300; everything else throws ApiError, an
// abort by `signal` the browser's AbortError.
export async function call(path: string, options: CallOptions = {}): Promise<Response> {
  const headers: Record<string, string> = { ...options.headers };
  const init: RequestInit = { method: options.method ?? 'GET', headers, signal: options.signal ?? null };
  if (options.keepalive) init.keepalive = true;
  if (options.priority) init.priority = options.priority;
  if (options.body !== undefined) {
    headers['Content-Type'] = 'application/json';
    init.body = JSON.stringify(options.body);
    init.method = options.method ?? 'POST';
  }
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (fault) {
    if (options.signal?.aborted) throw fault;
    throw new ApiError(words.app.unreachable, 'unreachable', 0);
  }
  if (response.ok) return response;
  const error = await errorOf(response);
  if (error.status === 401) signedOut();
  throw error;
}

async function errorOf(response: Response): Promise<ApiError> {
  const body = await response.json().catch(() => undefined);
  return errorFrom(body, response.status);
}

// The error in a body or event of the node: {"error": {"message", "code"}}.
export function errorFrom(body: unknown, status: number): ApiError {
  const error = (body as { error?: { message?: unknown; code?: unknown; status?: unknown } } | undefined)?.error;
  if (typeof error?.message !== 'string')
    return new ApiError(words.app.badAnswer(status), 'bad_answer', status);
  const code = typeof error.code === 'string' ? error.code : '';
  return new ApiError(error.message, code, typeof error.status === 'number' ? error.status : status);
}

export async function json<T>(path: string, options: CallOptions = {}): Promise<T> {
  const response = await call(path, options);
  try {
    return (await response.json()) as T;
  } catch {
    throw new ApiError(words.app.badAnswer(response.status), 'bad_answer', response.status);
  }
}

// What to show of a fault of any kind, in the page's language.
export function messageOf(fault: unknown): string {
  return fault instanceof Error ? words.node(fault.message) : String(fault);
}
