// @modelcontextprotocol/sdk, over standard streams (`exo mcp`) and over HTTP (`/mcp`).
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { active, assert, check, failure, finish, model, until, url } from "./checks.mjs";

const transports = {
  stdio: () => new StdioClientTransport({ command: process.env.EXO_PROGRAM, args: ["mcp"], env: { EXO_HOME: process.env.EXO_HOME } }),
  http: () => new StreamableHTTPClientTransport(new URL(`${url}/mcp`)),
};
const short = { prompt: "What is exo?", max_tokens: 12, temperature: 0 };

for (const [name, transport] of Object.entries(transports)) {
  const client = new Client({ name: "test", version: "1" });
  const errors = [];
  const received = [];
  // The client handles a result at once, and notifications that came before it a little later: then, as after a
  // cancellation, it no longer knows their token.
  client.onerror = (error) => /unknown token/.test(error.message) || errors.push(error);
  const call = (tool, args, options) => client.callTool({ name: tool, arguments: args }, undefined, options);

  await check(`${name}: it is found`, async () => {
    await client.connect(transport());
    const take = client.transport.onmessage;
    client.transport.onmessage = (message, more) => (received.push(message), take(message, more));
    assert.equal(client.getServerVersion().name, "exo");
    assert.ok(client.getServerCapabilities().tools);
    assert.match(client.getInstructions(), /devices of this home/);
    await client.ping();
  });
  // The client holds results to their schemas from here on.
  await check(`${name}: tools`, async () => {
    const { tools } = await client.listTools();
    assert.deepEqual(tools.map((tool) => tool.name), ["chat", "models", "devices", "plan"]);
    assert.ok(tools.every((tool) => tool.outputSchema && tool.annotations.readOnlyHint));
  });
  await check(`${name}: models, devices and a plan`, async () => {
    const { models } = (await call("models")).structuredContent;
    assert.ok(models.some((one) => one.name === model && one.where === "here"));
    const { devices } = (await call("devices")).structuredContent;
    assert.deepEqual(devices.map((one) => [one.name, one.state]), [["n1", "self"]]);
    const plan = await call("plan", { model, context: 256, spread: true });
    assert.equal(plan.structuredContent.stages[0].device, "n1");
    assert.equal(plan.structuredContent.context, 256);
    assert.match(plan.content[0].text, /would run on n1 \(layers 0-\d+, .*Predicted: [\d.]+ tokens\/s/s);
  });
  await check(`${name}: a chat is the same as by any route`, async () => {
    const answer = await call("chat", { ...short, model });
    const messages = [{ role: "user", content: short.prompt }];
    const body = JSON.stringify({ model, messages, max_tokens: 12, temperature: 0 });
    const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers: { "content-type": "application/json" }, body });
    assert.equal(answer.content[0].text, (await response.json()).choices[0].message.content);
    assert.equal(answer.structuredContent.completion_tokens, 12);
    assert.equal(answer.structuredContent.finish_reason, "length");
    assert.deepEqual(answer.structuredContent.devices, ["n1"]);
    const again = await call("chat", { messages, system: "Be brief.", max_tokens: 4 });
    assert.equal(again.structuredContent.model, model);
  });
  await check(`${name}: an answer of a schema`, async () => {
    const schema = { type: "object", properties: { days: { type: "integer", minimum: 0, maximum: 9 } }, required: ["days"], additionalProperties: false };
    const { days } = JSON.parse((await call("chat", { prompt: "How long?", schema, max_tokens: 60 })).content[0].text);
    assert.ok(days >= 0 && days <= 9);
  });
  await check(`${name}: progress`, async () => {
    received.length = 0;
    const answer = await call("chat", short, { onprogress: () => {} });
    const seen = received.filter((one) => one.method === "notifications/progress").map((one) => one.params);
    assert.equal(seen.at(-1).total, 12);
    assert.ok(seen.every((one, i) => i === 0 || one.progress > seen[i - 1].progress));
    assert.equal(seen.map((one) => one.message).join(""), answer.content[0].text);
  });
  await check(`${name}: many at once`, async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => call("chat", short)));
    assert.equal(new Set(answers.map((answer) => answer.content[0].text)).size, 1);
  });
  await check(`${name}: mistakes are results that say what to do`, async () => {
    for (const [args, what] of [[{ prompt: "a", model: "nobody" }, /'nobody'.*the tool 'models' lists/s], [{}, /give 'prompt'/], [{ prompt: "a", temperature: 9 }, /temperature/]]) {
      const answer = await call("chat", args);
      assert.ok(answer.isError);
      assert.match(answer.content[0].text, what);
    }
    assert.match((await failure(() => call("shell"))).message, /there is no tool 'shell'/);
    assert.equal((await failure(() => client.listResources())).code, -32601);
  });
  await check(`${name}: a cancelled chat frees its place`, async () => {
    const stop = new AbortController();
    const endless = { prompt: "Once upon", max_tokens: 4000, temperature: 1, seed: 3 };
    const error = await failure(() => call("chat", endless, { signal: stop.signal, onprogress: () => stop.abort("enough") }));
    assert.match(String(error), /enough/);
    await until("nothing to be computed", async () => (await active()) === 0);
    await client.ping();
  });
  await check(`${name}: the end`, async () => {
    await client.transport.terminateSession?.();
    await client.close();
    assert.deepEqual(errors, []);
  });
}
finish("@modelcontextprotocol/sdk");
