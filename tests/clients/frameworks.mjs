// The AI SDK of Vercel (`ai` with @ai-sdk/openai-compatible) and LangChain.js (@langchain/openai). Tool calls are
// forced: exo-tiny writes what it must and chooses nothing.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool as langchainTool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { generateText, Output, streamText, tool } from "ai";
import { z } from "zod";
import { assert, check, finish, model, url } from "./checks.mjs";

const prompt = "What is exo?";
const days = z.object({ days: z.int().min(0).max(9) });
const isDays = (value) => assert.ok(Number.isInteger(value.days) && value.days >= 0 && value.days <= 9, JSON.stringify(value));
const reference = await (await fetch(`${url}/v1/chat/completions`, {
  method: "POST", headers: { "content-type": "application/json" },
  body: JSON.stringify({ model, temperature: 0, max_tokens: 24, messages: [{ role: "user", content: prompt }] }),
})).json();
const text = reference.choices[0].message.content;

{
  const exo = createOpenAICompatible({ name: "exo", baseURL: `${url}/v1`, apiKey: "any", includeUsage: true, supportsStructuredOutputs: true });
  const options = { model: exo(model), temperature: 0, maxOutputTokens: 24, maxRetries: 0, prompt };
  const weather = tool({ description: "of the next days", inputSchema: days, execute: ({ days }) => `sun for ${days} days` });

  await check("ai: a chat, whole and streamed", async () => {
    const whole = await generateText(options);
    assert.equal(whole.text, text);
    assert.equal(whole.usage.totalTokens, reference.usage.total_tokens);
    const stream = streamText(options);
    const pieces = [];
    for await (const piece of stream.textStream) pieces.push(piece);
    assert.ok(pieces.length > 1);
    assert.equal(pieces.join(""), text);
    assert.equal((await stream.usage).outputTokens, reference.usage.completion_tokens);
  });
  await check("ai: a tool call, its result and what follows", async () => {
    const forced = { ...options, maxOutputTokens: 200, tools: { weather }, toolChoice: "required", providerOptions: { exo: { parallel_tool_calls: false } } };
    const called = await generateText({ ...forced, prepareStep: ({ stepNumber }) => (stepNumber > 0 ? { toolChoice: "none" } : {}), stopWhen: ({ steps }) => steps.length === 2 });
    isDays(called.steps[0].toolCalls[0].input);
    assert.match(called.steps[0].toolResults[0].output, /^sun for \d days$/);
    assert.ok(called.steps[1].text.length > 0);
    const streamed = streamText({ ...forced, toolChoice: { type: "tool", toolName: "weather" } });
    isDays((await streamed.toolCalls)[0].input);
  });
  await check("ai: an answer of a schema", async () => {
    isDays((await generateText({ ...options, maxOutputTokens: 60, output: Output.object({ schema: days }) })).output);
  });
}
{
  const chat = (more = {}) => new ChatOpenAI({ model, temperature: 0, maxTokens: 24, apiKey: "any", maxRetries: 0, configuration: { baseURL: `${url}/v1` }, ...more });
  const weather = langchainTool(({ days }) => `sun for ${days} days`, { name: "weather", description: "of the next days", schema: days });

  await check("langchain: a chat, whole and streamed", async () => {
    const whole = await chat().invoke(prompt);
    assert.equal(whole.content, text);
    assert.equal(whole.usage_metadata.total_tokens, reference.usage.total_tokens);
    const pieces = [];
    for await (const piece of await chat().stream(prompt)) pieces.push(piece.content);
    assert.equal(pieces.join(""), text);
  });
  await check("langchain: the same by responses", async () => {
    const answer = await chat({ useResponsesApi: true }).invoke(prompt);
    assert.equal(answer.text, text);
  });
  await check("langchain: a tool call, its result and what follows", async () => {
    const asked = [new HumanMessage(prompt)];
    const called = await chat({ maxTokens: 200 }).bindTools([weather], { tool_choice: "weather" }).invoke(asked);
    const [call] = called.tool_calls;
    isDays(call.args);
    const result = await weather.invoke(call);
    assert.ok(result instanceof ToolMessage);
    const after = await chat().invoke([...asked, called, result]);
    assert.ok(after.content.length > 0);
  });
  await check("langchain: an answer of a schema", async () => {
    isDays(await chat({ maxTokens: 60 }).withStructuredOutput(days, { method: "jsonSchema" }).invoke(prompt));
    isDays(await chat({ maxTokens: 200 }).withStructuredOutput(days, { method: "functionCalling" }).invoke(prompt));
  });
}
finish("ai and @langchain/openai");
