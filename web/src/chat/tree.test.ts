import { describe, expect, it } from 'vitest';
import { MessageTree, newId, type TreeMessage } from './tree';

const say = (id: string, parent: string | null, created: number): TreeMessage => ({ id, parent, created });
const ids = (path: TreeMessage[]) => path.map((one) => one.id).join(' ');

//  q ── a1 ── q2 ── b
//   └── a2 ── q3
const talk = [
  say('q', null, 1), say('a1', 'q', 2), say('a2', 'q', 5),
  say('q2', 'a1', 3), say('b', 'q2', 4), say('q3', 'a2', 6),
];

describe('MessageTree', () => {
  it('shows the path to the leaf', () => {
    const tree = new MessageTree(talk);
    expect(ids(tree.path('b'))).toBe('q a1 q2 b');
    expect(ids(tree.path('q3'))).toBe('q a2 q3');
    expect(ids(tree.path('a1'))).toBe('q a1');
  });

  it('shows the newest message where the leaf is unknown', () => {
    expect(ids(new MessageTree(talk).path(null))).toBe('q a2 q3');
    expect(ids(new MessageTree(talk).path('gone'))).toBe('q a2 q3');
    expect(new MessageTree([]).path(null)).toEqual([]);
  });

  it('counts siblings by age, whatever order they came in', () => {
    const tree = new MessageTree([...talk].reverse());
    expect(tree.place('a1')).toEqual({ index: 0, siblings: ['a1', 'a2'] });
    expect(tree.place('a2')).toEqual({ index: 1, siblings: ['a1', 'a2'] });
    expect(tree.place('q')).toEqual({ index: 0, siblings: ['q'] });
  });

  it('goes to the end of a branch', () => {
    const tree = new MessageTree(talk);
    expect(tree.leafOf('a1')).toBe('b');
    expect(tree.leafOf('q')).toBe('q3');
    expect(tree.leafOf('b')).toBe('b');
  });

  it('takes a message whose parent is gone as a root', () => {
    const tree = new MessageTree([say('x', 'gone', 1), say('y', 'x', 2), say('z', null, 3)]);
    expect(ids(tree.path('y'))).toBe('x y');
    expect(tree.place('x').siblings).toEqual(['x', 'z']);
  });

  it('ends in a ring of parents', () => {
    const tree = new MessageTree([say('x', 'z', 1), say('y', 'x', 2), say('z', 'y', 3)]);
    expect(tree.path('z')).toHaveLength(3);
    expect(tree.leafOf('x')).toBe('z');
    expect(new MessageTree([say('x', 'x', 1)]).path('x')).toHaveLength(1);
  });

  it('orders messages of one millisecond by their ids', () => {
    const tree = new MessageTree([say('c', null, 1), say('a', null, 1), say('b', null, 1)]);
    expect(tree.place('b')).toEqual({ index: 1, siblings: ['a', 'b', 'c'] });
  });
});

describe('newId', () => {
  it('is 32 hexadecimal digits, and another each time', () => {
    expect(newId()).toMatch(/^[0-9a-f]{32}$/);
    expect(newId()).not.toBe(newId());
  });
});
