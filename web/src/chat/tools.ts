import type { Message, ToolCall } from '../api/types';

// The calls at the end of a branch whose results are not told yet.
export function openCalls(path: Message[]): ToolCall[] {
  const at = path.findLastIndex((one) => one.role !== 'tool');
  const calls = path[at]?.tool_calls ?? [];
  const told = new Set(path.slice(at + 1).map((one) => one.tool_call_id));
  return calls.filter((one) => !told.has(one.id));
}
