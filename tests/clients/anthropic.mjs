// @anthropic-ai/sdk.
import Anthropic from "@anthropic-ai/sdk";
import { active, assert, check, failure, finish, model, until, url } from "./checks.mjs";

const client = new Anthropic({ baseURL: url, apiKey: "any", maxRetries: 0 });
const messages = [{ role: "user", content: "What is exo?" }];
const ask = (more = {}) => client.messages.create({ model, max_tokens: 24, temperature: 0, messages, ...more });
const textOf = (message) => message.content.map((block) => block.text ?? "").join("");

await check("a message", async () => {
  const message = await ask();
  assert.equal(message.role, "assistant");
  assert.ok(textOf(message).length > 0);
  assert.ok(message.usage.input_tokens + message.usage.cache_read_input_tokens > 5);
  assert.ok(["end_turn", "max_tokens"].includes(message.stop_reason));
});
await check("a stream has the same text", async () => {
  const whole = await ask();
  const stream = client.messages.stream({ model, max_tokens: 24, temperature: 0, messages });
  const types = [];
  stream.on("streamEvent", (event) => types.push(event.type));
  const final = await stream.finalMessage();
  assert.equal(textOf(final), textOf(whole));
  assert.equal(final.stop_reason, whole.stop_reason);
  assert.equal(types[0], "message_start");
  assert.equal(types[1], "content_block_start");
  assert.deepEqual(types.slice(-3), ["content_block_stop", "message_delta", "message_stop"]);
});
await check("a repeated prompt comes from the cache", async () => {
  const long = [{ role: "user", content: "The house has many rooms. ".repeat(60) }];
  const first = await ask({ messages: long });
  const second = await ask({ messages: long });
  const prompt = (usage) => usage.input_tokens + usage.cache_read_input_tokens;
  assert.equal(prompt(first.usage), prompt(second.usage));
  assert.ok(second.usage.cache_read_input_tokens > 0);
});
await check("max_tokens", async () => {
  const message = await ask({ max_tokens: 3 });
  assert.equal(message.stop_reason, "max_tokens");
  assert.equal(message.usage.output_tokens, 3);
});
await check("stop_sequences", async () => {
  const text = textOf(await ask());
  const stop = text.slice(5, 9);
  const message = await ask({ stop_sequences: [stop] });
  assert.equal(message.stop_reason, "stop_sequence");
  assert.equal(message.stop_sequence, stop);
  assert.equal(textOf(message), text.slice(0, text.indexOf(stop)));
});
await check("an answer that is begun goes on", async () => {
  const message = await ask({ messages: [...messages, { role: "assistant", content: "It is" }] });
  assert.ok(textOf(message).length > 0);
});
await check("tools and their results go through", async () => {
  const tools = [{ name: "weather", description: "of a city", input_schema: { type: "object", properties: { city: { type: "string", maxLength: 9 } }, required: ["city"], additionalProperties: false } }];
  await ask({ tools, tool_choice: { type: "auto" } });
  for (const tool_choice of [{ type: "any" }, { type: "tool", name: "weather" }]) {
    const forced = await ask({ tools, tool_choice: { ...tool_choice, disable_parallel_tool_use: true }, max_tokens: 200 });
    assert.equal(forced.stop_reason, "tool_use");
    assert.equal(forced.content[0].name, "weather");
    assert.equal(typeof forced.content[0].input.city, "string");
  }
});
await check("count_tokens is exact", async () => {
  const { input_tokens } = await client.messages.countTokens({ model, messages });
  const { usage } = await ask();
  assert.equal(input_tokens, usage.input_tokens + usage.cache_read_input_tokens);
});
await check("the beta route", async () => {
  const message = await client.beta.messages.create({ model, max_tokens: 4, messages, betas: ["x-2025"] });
  assert.equal(message.type, "message");
});
await check("models", async () => {
  const list = await client.models.list();
  assert.ok(list.data.some((one) => one.id === model && one.type === "model"));
  assert.equal((await client.models.retrieve(model)).id, model);
});
await check("errors", async () => {
  const unknown = await failure(() => ask({ model: "nobody" }));
  assert.ok(unknown instanceof Anthropic.NotFoundError);
  assert.equal(unknown.error.error.type, "not_found_error");
  const bad = await failure(() => ask({ temperature: 9 }));
  assert.ok(bad instanceof Anthropic.BadRequestError);
  const long = await failure(() => ask({ messages: [{ role: "user", content: "word ".repeat(20_000) }] }));
  assert.match(long.message, /prompt is too long: \d+ tokens > \d+ maximum/);
});
await check("an abort frees its place", async () => {
  const stream = client.messages.stream({ model, max_tokens: 4000, messages });
  stream.done().catch(() => {});
  await new Promise((resolve) => stream.once("text", resolve));
  stream.abort();
  await until("nothing to be computed", async () => (await active()) === 0);
});
finish("@anthropic-ai/sdk");
