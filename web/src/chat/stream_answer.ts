// One answer from the node, read to its end.
import { ApiError, call } from '../api/client';
import { readEvents } from '../api/sse';
import { words } from '../words/index.svelte';
import { Answer, devicesOf, type Chunk } from './answer';

// Calls `onpart` with the answer whenever more of it has come, first when the node has taken the
// request. Throws ApiError, or the browser's AbortError after `signal`.
export async function streamAnswer(
  body: object,
  signal: AbortSignal,
  onpart: (answer: Answer) => void,
): Promise<Answer> {
  const began = performance.now();
  const response = await call('/v1/chat/completions', { body, signal });
  const devices = devicesOf(response.headers.get('x-exo-route'));
  const request = response.headers.get('x-request-id');
  const answer = new Answer(began, {
    ...(devices.length > 0 ? { devices } : {}),
    ...(request ? { request } : {}),
  });
  onpart(answer);
  try {
    for await (const { data } of readEvents(response.body!)) {
      if (data === '[DONE]') break;
      answer.add(JSON.parse(data) as Chunk, performance.now());
      onpart(answer);
    }
  } catch (fault) {
    if (fault instanceof ApiError || signal.aborted) throw fault;
    throw new ApiError(words.chat.brokenOff, 'broken_off', 0);
  }
  // A stream that ends without a reason was cut: the node went away.
  if (answer.finish === null) throw new ApiError(words.chat.brokenOff, 'broken_off', 0);
  return answer;
}
