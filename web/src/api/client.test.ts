import { afterEach, expect, test, vi } from 'vitest';
import { ApiError, call, errorFrom, json, onSignedOut } from './client';

const answers = (body: string, status = 200): void => {
  vi.stubGlobal('fetch', vi.fn(async () => new Response(body, { status })));
};
afterEach(() => vi.unstubAllGlobals());

async function faultOf(promise: Promise<unknown>): Promise<ApiError> {
  const fault: unknown = await promise.then(() => undefined, (one: unknown) => one);
  expect(fault).toBeInstanceOf(ApiError);
  return fault as ApiError;
}

test('an error has the words, the code and the status of the node', async () => {
  answers('{"error": {"message": "no room", "code": "no_plan", "param": "model"}}', 503);
  expect(await faultOf(call('/v1/x'))).toMatchObject({ message: 'no room', code: 'no_plan', status: 503 });
});

test('an answer that is no JSON, or of another shape, is said to be unreadable', async () => {
  for (const body of ['<html>', '{"error": 7}', 'null', '']) {
    answers(body, 502);
    expect(await faultOf(call('/v1/x')), body).toMatchObject({ code: 'bad_answer', status: 502 });
  }
  answers('<html>');
  expect(await faultOf(json('/v1/x'))).toMatchObject({ code: 'bad_answer', status: 200 });
});

test('no answer at all is told, an abort is not', async () => {
  vi.stubGlobal('fetch', vi.fn(async () => Promise.reject(new TypeError('failed'))));
  expect(await faultOf(call('/v1/x'))).toMatchObject({ code: 'unreachable', status: 0 });
  const controller = new AbortController();
  controller.abort();
  await expect(call('/v1/x', { signal: controller.signal })).rejects.toBeInstanceOf(TypeError);
});

test('only 401 tells that nobody is signed in', async () => {
  const heard = vi.fn();
  onSignedOut(heard);
  answers('{"error": {"message": "x", "code": "insufficient_scope"}}', 403);
  await faultOf(call('/v1/x'));
  expect(heard).not.toHaveBeenCalled();
  answers('{"error": {"message": "x", "code": "missing_api_key"}}', 401);
  await faultOf(call('/v1/x'));
  expect(heard).toHaveBeenCalledOnce();
});

test('a body is sent as JSON, by POST unless told otherwise', async () => {
  answers('{}');
  await json('/v1/x', { body: { a: 1 } });
  await json('/v1/x', { method: 'PATCH', body: {} });
  const sent = vi.mocked(fetch).mock.calls.map(([, init]) => [init?.method, init?.body]);
  expect(sent).toEqual([['POST', '{"a":1}'], ['PATCH', '{}']]);
});

test('an error within a stream may say its own status', () => {
  expect(errorFrom({ error: { message: 'gone', code: 'c', status: 404 } }, 200)).toMatchObject({ message: 'gone', status: 404 });
});
