// openai.
import { gzipSync } from "node:zlib";
import OpenAI from "openai";
import { active, assert, check, failure, finish, model, until, url } from "./checks.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0 });
const messages = [{ role: "user", content: "What is exo?" }];
const chat = (more = {}) => client.chat.completions.create({ model, temperature: 0, max_tokens: 24, messages, ...more });
const respond = (more = {}) => client.responses.create({ model, temperature: 0, max_output_tokens: 24, input: "What is exo?", ...more });
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: { days: { type: "integer", maximum: 9, minimum: 0 } }, required: ["days"], additionalProperties: false } } }];

await check("models", async () => {
  const ids = [];
  for await (const one of client.models.list()) ids.push(one.id);
  assert.ok(ids.includes(model));
  assert.equal((await client.models.retrieve(model)).object, "model");
});
await check("a chat, whole and streamed, with its route", async () => {
  const { data: whole, response } = await client.chat.completions.create({ model, temperature: 0, max_tokens: 24, messages }).withResponse();
  assert.match(response.headers.get("x-exo-route"), /^n1;layers=0-\d+$/);
  assert.match(response.headers.get("server-timing"), /^n1;dur=/);
  let text = "";
  let usage = null;
  let reason = null;
  for await (const chunk of await chat({ stream: true, stream_options: { include_usage: true } })) {
    assert.equal(chunk.object, "chat.completion.chunk");
    text += chunk.choices[0]?.delta.content ?? "";
    reason ??= chunk.choices[0]?.finish_reason;
    usage ??= chunk.usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(reason, whole.choices[0].finish_reason);
  assert.equal(usage.total_tokens, whole.usage.total_tokens);
});
await check("embeddings, packed (what the client asks for itself) and not", async () => {
  const packed = await client.embeddings.create({ model, input: ["What is exo?", "bread"] });
  const plain = await client.embeddings.create({ model, input: ["What is exo?", "bread"], encoding_format: "float" });
  assert.equal(packed.data.length, 2);
  const length = Math.hypot(...packed.data[0].embedding);
  assert.ok(Math.abs(length - 1) < 1e-5, `${length}`);
  assert.deepEqual(packed.data[1].embedding.map(Math.fround), plain.data[1].embedding.map(Math.fround));
});
await check("n, stop, seed, logprobs, logit_bias", async () => {
  assert.equal((await chat({ n: 3, temperature: 1, seed: 1 })).choices.length, 3);
  const text = (await chat()).choices[0].message.content;
  const stop = text.slice(5, 9);
  assert.equal((await chat({ stop })).choices[0].message.content, text.slice(0, text.indexOf(stop)));
  const draw = async (seed) => (await chat({ temperature: 1, seed })).choices[0].message.content;
  assert.equal(await draw(5), await draw(5));
  const { content } = (await chat({ logprobs: true, top_logprobs: 3, max_tokens: 2 })).choices[0].logprobs;
  assert.equal(content.length, 2);
  assert.equal(content[0].top_logprobs.length, 3);
  const first = (await chat({ max_tokens: 1 })).exo.token_ids[0];
  const other = (await chat({ max_tokens: 1, logit_bias: { [first]: -100 } })).exo.token_ids[0];
  assert.notEqual(first, other);
});
await check("fields that change nothing here are taken", async () => {
  await chat({ metadata: { a: "b" }, store: true, user: "me", service_tier: "auto", reasoning_effort: "low",
    parallel_tool_calls: true, prediction: { type: "content", content: "x" }, safety_identifier: "me", verbosity: "low",
    prompt_cache_key: "k", tools, tool_choice: "auto" });
});
await check("tools and their results", async () => {
  const call = { id: "c1", type: "function", function: { name: "weather", arguments: '{"city":"Rome"}' } };
  await chat({ tools, messages: [...messages, { role: "assistant", content: null, tool_calls: [call] }, { role: "tool", tool_call_id: "c1", content: "sun" }] });
  const forced = (await chat({ tools, tool_choice: "required", parallel_tool_calls: false, max_tokens: 200 })).choices[0];
  assert.equal(forced.finish_reason, "tool_calls");
  assert.equal(forced.message.tool_calls[0].function.name, "weather");
  JSON.parse(forced.message.tool_calls[0].function.arguments);
});
await check("completions", async () => {
  const ask = (more) => client.completions.create({ model, prompt: "Once upon", temperature: 0, max_tokens: 8, ...more });
  assert.ok((await ask()).choices[0].text.length > 0);
  assert.match((await failure(() => ask({ suffix: "end" }))).message, /fill in the middle/);
});
await check("several prompts, echo, best_of", async () => {
  const ask = (more) => client.completions.create({ model, prompt: "Once upon", temperature: 0, max_tokens: 8, ...more });
  const alone = [await ask(), await ask({ prompt: "A hen" })];
  const both = await ask({ prompt: ["Once upon", "A hen"], n: 2 });
  assert.deepEqual(both.choices.map((choice) => choice.index), [0, 1, 2, 3]);
  assert.deepEqual([0, 2].map((i) => both.choices[i].text), alone.map((one) => one.choices[0].text));
  assert.equal(both.usage.prompt_tokens, alone[0].usage.prompt_tokens + alone[1].usage.prompt_tokens);
  const texts = ["", ""];
  for await (const chunk of await ask({ prompt: ["Once upon", "A hen"], stream: true, echo: true })) {
    for (const choice of chunk.choices) texts[choice.index] += choice.text;
  }
  assert.deepEqual(texts, [`Once upon${alone[0].choices[0].text}`, `A hen${alone[1].choices[0].text}`]);
  const { tokens } = await (await fetch(`${url}/tokenize`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ content: "Once upon" }) })).json();
  assert.ok((await ask({ prompt: tokens, echo: true })).choices[0].text.includes("Once upon"));
  assert.equal((await failure(() => ask({ echo: true, logprobs: 1 }))).param, "echo");
  const best = await ask({ temperature: 1, seed: 3, best_of: 4, n: 1, logprobs: 0 });
  const all = await ask({ temperature: 1, seed: 3, n: 4, logprobs: 0 });
  const mean = (choice) => choice.logprobs.token_logprobs.reduce((sum, one) => sum + one, 0) / choice.logprobs.token_logprobs.length;
  assert.equal(mean(best.choices[0]), Math.max(...all.choices.map(mean)));
  assert.equal(best.usage.completion_tokens, all.usage.completion_tokens);
  assert.equal((await failure(() => ask({ best_of: 2, stream: true }))).param, "best_of");
});
await check("compressed bodies", async () => {
  const body = gzipSync(JSON.stringify({ model, messages, max_tokens: 1 }));
  const send = (coding, data) => fetch(`${url}/v1/chat/completions`, { method: "POST", headers: { "Content-Type": "application/json", "Content-Encoding": coding }, body: data });
  assert.equal((await send("gzip", body)).status, 200);
  assert.equal((await send("gzip", body.subarray(0, 20))).status, 400);
  assert.equal((await send("br", body)).status, 415);
});
await check("a response, whole and streamed", async () => {
  const whole = await respond();
  assert.equal(whole.object, "response");
  assert.ok(whole.output_text.length > 0);
  assert.ok(whole.usage.input_tokens > 0 && whole.usage.output_tokens_details);
  const stream = client.responses.stream({ model, temperature: 0, max_output_tokens: 24, input: "What is exo?" });
  const types = [];
  let text = "";
  for await (const event of stream) {
    types.push(event.type);
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  assert.equal(types[0], "response.created");
  assert.equal(text, whole.output_text);
  assert.equal((await stream.finalResponse()).output_text, whole.output_text);
});
await check("a conversation of responses", async () => {
  const first = await respond({ max_output_tokens: 8 });
  const second = await respond({ previous_response_id: first.id, input: "And then?", max_output_tokens: 8 });
  assert.ok(second.usage.input_tokens > first.usage.input_tokens + 8);
  const lost = await failure(() => respond({ previous_response_id: "resp_0" }));
  assert.equal(lost.param, "previous_response_id");
});
await check("responses that are read again, listed and deleted", async () => {
  const first = await respond({ max_output_tokens: 8, include: ["message.output_text.logprobs"], top_logprobs: 2 });
  const { logprobs } = first.output[0].content[0];
  assert.equal(logprobs.length, first.exo.token_ids.length);
  assert.equal(logprobs[0].top_logprobs.length, 2);
  const again = await client.responses.retrieve(first.id);
  assert.deepEqual(again.output, first.output);
  const second = await respond({ previous_response_id: first.id, input: "And then?", max_output_tokens: 8 });
  const items = [];
  for await (const item of client.responses.inputItems.list(second.id, { order: "asc", limit: 1 })) items.push(item);
  assert.deepEqual(items.map((item) => item.role), ["user", "assistant", "user"]);
  assert.equal(items[1].id, first.output[0].id);
  await client.responses.delete(first.id);
  assert.ok((await failure(() => client.responses.retrieve(first.id))) instanceof OpenAI.NotFoundError);
  assert.match((await failure(() => client.responses.cancel(second.id))).message, /canceled/);
});
await check("strict tools and allowed ones", async () => {
  const strict = (parameters) => [{ type: "function", function: { name: "pick", strict: true, parameters } }];
  const lists = { type: "object", properties: { a: { type: "array", items: { type: "object" }, uniqueItems: true } } };
  const refused = await failure(() => chat({ tools: strict(lists) }));
  assert.match(refused.message, /uniqueItems/);
  assert.equal(refused.param, "tools[0].function.parameters");
  // Without `strict` the rest of the schema is kept, and who is not held to all of it is told.
  const loose = await chat({ tools: strict(lists).map((tool) => ({ ...tool, function: { ...tool.function, strict: false } })) });
  assert.deepEqual(loose.exo.loose_tools, ["pick"]);
  const named = (name) => ({ type: "function", function: { name } });
  const allowed = { type: "allowed_tools", allowed_tools: { mode: "required", tools: [named("pick")] } };
  const size = { type: "object", properties: { size: { enum: ["s", "m"] } }, required: ["size"], additionalProperties: false };
  const { message } = (await chat({ tools: [...tools, ...strict(size)], tool_choice: allowed, parallel_tool_calls: false, max_tokens: 200 })).choices[0];
  assert.equal(message.tool_calls[0].function.name, "pick");
  assert.ok(["s", "m"].includes(JSON.parse(message.tool_calls[0].function.arguments).size));
  assert.match((await failure(() => chat({ tools, tool_choice: allowed }))).message, /'pick'/);
});
await check("a stop text that ends an answer leaves its times", async () => {
  const text = (await chat()).choices[0].message.content;
  const { exo } = await chat({ stop: text.slice(5, 9) });
  assert.ok(exo.stages[0].ms > 0, JSON.stringify(exo.stages));
});
await check("responses skip tools that are not ours", async () => {
  await respond({ store: false, include: ["reasoning.encrypted_content"], tools: [{ type: "web_search" }, { type: "function", name: "shell", parameters: {} }] });
});
await check("llama-server's routes beside it", async () => {
  const post = async (path, body) => (await fetch(url + path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) })).json();
  const { tokens } = await post("/tokenize", { content: "One house, two rooms." });
  assert.ok(tokens.length > 2);
  assert.equal((await post("/detokenize", { tokens })).content, "One house, two rooms.");
  const { prompt } = await post("/apply-template", { messages });
  assert.ok(prompt.includes(messages[0].content));
  const raw = await post("/completion", { prompt, n_predict: 24, temperature: 0, min_p: 0 });
  assert.equal(raw.content, (await chat()).choices[0].message.content);
  const props = await (await fetch(`${url}/props`)).json();
  assert.ok(props.default_generation_settings.n_ctx > 0 && props.chat_template.includes("messages"));
  assert.ok((await (await fetch(`${url}/slots`)).json()).length > 0);
});
await check("errors", async () => {
  const unknown = await failure(() => chat({ model: "nobody" }));
  assert.ok(unknown instanceof OpenAI.NotFoundError);
  assert.equal(unknown.code, "model_not_found");
  const long = await failure(() => chat({ messages: [{ role: "user", content: "word ".repeat(20_000) }] }));
  assert.equal(long.code, "context_length_exceeded");
  assert.ok(long.error.n_prompt_tokens > long.error.n_ctx);
  assert.equal((await failure(() => client.embeddings.create({ model: "nobody", input: "a" }))).status, 404);
  assert.equal((await failure(() => chat({ temperature: 9 }))).param, "temperature");
});
await check("many at once", async () => {
  const texts = await Promise.all(Array.from({ length: 8 }, () => chat()));
  assert.equal(new Set(texts.map((one) => one.choices[0].message.content)).size, 1);
});
await check("an abort frees its place", async () => {
  const stream = await chat({ stream: true, max_tokens: 4000 });
  for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
  stream.controller.abort();
  await until("nothing to be computed", async () => (await active()) === 0);
});
finish("openai");
