import { expect, test } from 'vitest';
import { EventParser, readEvents } from './sse';

test('an event is complete at its empty line, however the text is cut', () => {
  const text = ': hello\r\nid: 7\r\nevent: cluster\r\ndata: {"a":\r\ndata: 1}\r\n\r\ndata: x\n\n';
  const wanted = [
    { event: 'cluster', data: '{"a":\n1}', id: '7' },
    { event: 'message', data: 'x', id: '7' },
  ];
  for (const size of [1, 2, 3, 5, text.length]) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
    expect(events).toEqual(wanted);
  }
});

test('an event without data, or without its end, is none', () => {
  const parser = new EventParser();
  expect(parser.push('event: x\n\ndata: half\n')).toEqual([]);
});

test('characters that are cut within their bytes are put together', async () => {
  const bytes = new TextEncoder().encode('data: ä€😀\n\n');
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
      controller.close();
    },
  });
  const events = [];
  for await (const event of readEvents(body)) events.push(event.data);
  expect(events).toEqual(['ä€😀']);
});

test('who leaves the loop ends the connection', async () => {
  let cancelled = false;
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new TextEncoder().encode('data: 1\n\n')),
    cancel: () => void (cancelled = true),
  });
  for await (const _ of readEvents(body)) break;
  expect(cancelled).toBe(true);
});
