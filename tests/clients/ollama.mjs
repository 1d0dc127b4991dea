// ollama.
import { Ollama } from "ollama";
import { active, assert, check, failure, finish, model, until, url } from "./checks.mjs";

const client = new Ollama({ host: url });
const messages = [{ role: "user", content: "What is exo?" }];
const options = { temperature: 0, num_predict: 24 };
const collect = async (stream) => {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
};

await check("embeddings", async () => {
  const { embeddings } = await client.embed({ model, input: ["What is exo?", "bread"] });
  assert.equal(embeddings.length, 2);
  assert.ok(Math.abs(Math.hypot(...embeddings[1]) - 1) < 1e-5);
});
await check("it is found", async () => {
  assert.equal(await (await fetch(url)).text(), "Ollama is running");
  assert.equal((await fetch(url, { method: "HEAD" })).status, 200);
  const { version } = await client.version();
  const [a, b, c] = version.split(".").map(Number);
  assert.ok(a * 1e6 + b * 1e3 + c >= 6004);
});
await check("tags and show", async () => {
  const { models } = await client.list();
  const one = models.find((each) => each.name === model);
  assert.match(one.digest, /^[0-9a-f]{64}$/);
  assert.ok(one.size > 1e6);
  assert.ok(one.details.family && one.details.parameter_size && one.details.quantization_level);
  const shown = await client.show({ model: `${model}:latest` });
  const family = shown.model_info["general.architecture"];
  assert.ok(shown.model_info[`${family}.context_length`] > 0);
  assert.ok(shown.capabilities.includes("completion"));
  assert.ok(shown.template.includes("messages"));
});
await check("create and copy", async () => {
  const progress = await collect(await client.create({ model: "poet", from: model, system: "Rhyme.", parameters: { temperature: 0, num_predict: 5, stop: ["zzz"] }, stream: true }));
  assert.equal(progress.at(-1).status, "success");
  const answer = await client.chat({ model: "poet", messages });
  assert.equal(answer.model, "poet");
  assert.ok(answer.eval_count <= 5);
  const same = await client.chat({ model, messages: [{ role: "system", content: "Rhyme." }, ...messages], options: { temperature: 0, num_predict: 5 } });
  assert.equal(answer.message.content, same.message.content);
  assert.equal((await client.copy({ source: "poet", destination: "bard" })).status, "success");
  assert.deepEqual((await client.list()).models.map((each) => each.name).filter((name) => /poet|bard/.test(name)), ["bard", "poet"]);
  const shown = await client.show({ model: "bard" });
  assert.equal(shown.system, "Rhyme.");
  assert.equal(shown.details.parent_model, model);
  assert.match(shown.modelfile, /^FROM /);
  for (const name of ["poet", "bard"]) await client.delete({ model: name });
  assert.match((await failure(() => client.chat({ model: "bard", messages }))).message, /bard/);
  assert.match((await failure(() => client.create({ model: "x", from: model, quantize: "q4_0" }))).message, /quantize/);
  assert.match((await failure(() => client.create({ model: "x", from: model, template: "{{ .Prompt }}" }))).message, /Go template/);
});
await check("a chat, whole and streamed", async () => {
  const whole = await client.chat({ model, messages, options });
  assert.equal(whole.message.role, "assistant");
  assert.ok(whole.message.content.length > 0);
  assert.ok(whole.done && whole.eval_count > 0 && whole.prompt_eval_count > 0);
  assert.ok(whole.total_duration > 1e6 && whole.eval_duration > 1e5, "nanoseconds");
  const parts = await collect(await client.chat({ model, messages, options, stream: true }));
  assert.equal(parts.map((part) => part.message.content).join(""), whole.message.content);
  assert.deepEqual(parts.map((part) => part.done).indexOf(true), parts.length - 1);
  assert.equal(parts.at(-1).done_reason, whole.done_reason);
});
await check("generate is the same as chat", async () => {
  const chat = await client.chat({ model, messages, options });
  const answer = await client.generate({ model, prompt: messages[0].content, options });
  assert.equal(answer.response, chat.message.content);
  const parts = await collect(await client.generate({ model, prompt: messages[0].content, options, stream: true }));
  assert.equal(parts.map((part) => part.response).join(""), answer.response);
});
await check("a raw prompt, seeds, stops and limits", async () => {
  const raw = await client.generate({ model, prompt: "Once upon", raw: true, options });
  assert.ok(raw.response.length > 0);
  const draw = (seed) => client.generate({ model, prompt: "Once", raw: true, options: { seed, num_predict: 12 } });
  assert.equal((await draw(7)).response, (await draw(7)).response);
  const short = await client.generate({ model, prompt: "Once", raw: true, options: { ...options, num_predict: 3 } });
  assert.equal(short.eval_count, 3);
  assert.equal(short.done_reason, "length");
  const stop = raw.response.slice(4, 8);
  const cut = await client.generate({ model, prompt: "Once upon", raw: true, options: { ...options, stop: [stop] } });
  assert.equal(cut.response, raw.response.slice(0, raw.response.indexOf(stop)));
});
await check("generate goes on by its context", async () => {
  const first = await client.generate({ model, prompt: messages[0].content, options });
  assert.equal(first.context.length, first.prompt_eval_count + first.eval_count);
  const next = await client.generate({ model, prompt: "And then?", context: first.context, options });
  assert.deepEqual(next.context.slice(0, first.context.length), first.context);
  assert.ok(next.prompt_eval_count > first.context.length);
  assert.match((await failure(() => client.generate({ model, prompt: "a", context: [-1] }))).message, /context/);
});
await check("logprobs", async () => {
  const answer = await client.chat({ model, messages, options: { ...options, num_predict: 3 }, logprobs: true, top_logprobs: 2 });
  assert.equal(answer.logprobs.length, 3);
  assert.equal(answer.logprobs[0].top_logprobs.length, 2);
});
await check("an empty prompt loads, ps shows, keep_alive 0 unloads", async () => {
  assert.equal((await client.generate({ model, prompt: "" })).done_reason, "load");
  const running = (await client.ps()).models.find((each) => each.name === model);
  assert.ok(running.size > 0);
  assert.ok(new Date(running.expires_at).getTime() > Date.now());
  assert.equal((await client.generate({ model, prompt: "", keep_alive: 0 })).done_reason, "unload");
  await until("the model to go", async () => (await client.ps()).models.length === 0);
});
await check("pull of what is here, and of what is not", async () => {
  const parts = await collect(await client.pull({ model, stream: true }));
  assert.equal(parts.at(-1).status, "success");
  assert.match((await failure(() => client.pull({ model: "nobody" }))).message, /localhost:9: Failed to connect/);
});
await check("what is refused says so", async () => {
  assert.match((await failure(() => client.push({ model }))).message, /not supported/);
  assert.match((await failure(() => client.generate({ model, prompt: "a", suffix: "b" }))).message, /fill in the middle/);
  const unknown = await failure(() => client.chat({ model: "nobody", messages }));
  assert.equal(unknown.status_code, 404);
  assert.match(unknown.message, /there is no model 'nobody'/);
});
await check("an abort frees its place", async () => {
  const stream = await client.chat({ model, messages, options: { num_predict: -1, seed: 3 }, stream: true });
  stream.abort(); // before anything is read: a fast machine may have sent the whole answer with the first part
  const error = await failure(async () => {
    for await (const part of stream) void part;
  });
  assert.equal(error.name, "AbortError");
  await until("nothing to be computed", async () => (await active()) === 0);
});
finish("ollama");
