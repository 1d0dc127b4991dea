import { describe, expect, it } from 'vitest';
import type { Message } from '../api/types';
import { memoryKeeper } from './memory_keeper';

const say = (id: string, content: string, updated = 0): Message =>
  ({ id, parent: null, role: 'user', content, created: 0, updated });

function ticking() {
  let time = 1000;
  return memoryKeeper(() => ++time);
}

describe('memoryKeeper', () => {
  it('keeps what it is given', async () => {
    const keeper = ticking();
    const { id } = await keeper.create({ title: 'One' });
    await keeper.put(id, say('m', 'first'));
    await keeper.put(id, say('m', 'second'));
    await keeper.change(id, { title: 'Two', leaf: 'm' });
    expect(await keeper.load(id)).toMatchObject({ title: 'Two', leaf: 'm', messages: [{ content: 'second' }] });
    await keeper.remove(id);
    await expect(keeper.load(id)).rejects.toThrow(id);
  });

  it('lists by pages, the newest first, and searches titles and messages', async () => {
    const keeper = ticking();
    for (let number = 0; number < 120; ++number) await keeper.create({ title: `Talk ${number}` });
    const first = await keeper.page('');
    expect(first.data).toHaveLength(50);
    expect(first.data[0]!.title).toBe('Talk 119');
    const second = await keeper.page('', first.next!);
    const third = await keeper.page('', second.next!);
    expect(third.data).toHaveLength(20);
    expect(third.next).toBeNull();
    await keeper.put(third.data[0]!.id, say('m', 'About Whales'));
    expect((await keeper.page('whale')).data.map((one) => one.id)).toEqual([third.data[0]!.id]);
    expect((await keeper.page('talk 7')).data).toHaveLength(11);
  });

  it('takes back what it has exported, message by message', async () => {
    const [one, two] = [ticking(), ticking()];
    const { id } = await one.create({ title: 'One' });
    await one.put(id, say('m', 'old', 1));
    const file = await one.exported();
    expect(await two.imported(file)).toEqual({ added: 1, updated: 0, unchanged: 0 });
    expect(await two.imported(file)).toEqual({ added: 0, updated: 0, unchanged: 1 });
    await one.put(id, say('m', 'new', 2));
    await two.put(id, say('n', 'mine', 1));
    const later = await one.exported();
    later.data[0]!.updated += 1000;
    expect(await two.imported(later)).toEqual({ added: 0, updated: 1, unchanged: 0 });
    const texts = (await two.load(id)).messages.map((message) => message.content).sort();
    expect(texts).toEqual(['mine', 'new']);
  });
});
