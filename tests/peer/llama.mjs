#!/usr/bin/env node
// What llama.cpp, through npm's node-llama-cpp, says about token ids.
//
//   node llama.mjs --pkg DIR --model FILE < request.json > answer.json
//
// request  {"texts": ["..."], "greedy": [[ids], ...], "steps": 48, "score": [[ids], ...],
//           "logits": [[ids], ...], "embed": [[ids], ...], "kv": "f16" or "f32", "lora": [{"file", "scale"}, ...],
//           "vocabOnly": true for a file without tensors, whose texts alone can be asked for}
// answer   {"package", "vocab", "bos": id or null where the model wants none, "texts": [[ids], ...],
//           "greedy": [{"ids", "margins", "ends"}, ...], "score": [{"tokens", "nll"}, ...],
//           "logits": [base64 of f32 [ids][vocab], ...], "embed": [[values], ...]}
//
// Greedy generation goes on past end tokens ("ends" has a flag for each id); a margin is the best less the
// second logit.  nll is the sum of -log p(ids[t + 1] | ids[..t]).  Embeddings are pooled as the file says (of the last
// token where it says nothing), not scaled.  A request has either those or the rest.  One thread.
import fs from "node:fs";
import path from "node:path";
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";

const option = (name) => {
    const at = process.argv.indexOf(name);
    if (at < 0 || at + 1 >= process.argv.length) { console.error(`${name} is needed`); process.exit(2); }
    return process.argv[at + 1];
};
const folder = path.resolve(option("--pkg"));
const file = option("--model");
const request = JSON.parse(fs.readFileSync(0, "utf8"));

const entry = createRequire(path.join(folder, "package.json")).resolve("node-llama-cpp");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry).href);
const {version} = JSON.parse(fs.readFileSync(path.join(path.dirname(entry), "..", "package.json"), "utf8"));
const llama = await getLlama({gpu: false, build: "never", skipDownload: true, progressLogs: false,
    logLevel: LlamaLogLevel.disabled});
const addon = llama._bindings;  // the layer right above llama.cpp, without the scheduling on top of it

const vocabOnly = request.vocabOnly ?? false;
const model = new addon.AddonModel(file, {addonExports: addon, gpuLayers: 0, useMmap: true, vocabOnly});
if (!await model.init()) throw new Error("the model did not load");
const kCells = 512;
const kv = request.kv ?? "f16";
const kvType = addon.getGgmlType(kv) ?? addon.getGgmlType(kv.toUpperCase());
const context = vocabOnly ? null : new addon.AddonContext(model, {contextSize: kCells, batchSize: kCells, sequences: 1,
    flashAttention: false, threads: 1, embeddings: request.embed !== undefined, kvCacheKeyType: kvType, kvCacheValueType: kvType});
if (context !== null && !await context.init()) throw new Error("no context");
const adapters = request.lora ?? [];
const loaded = [];
for (const adapter of adapters) {
    loaded.push(new addon.AddonModelLora(model, adapter.file));
    await model.loadLora(loaded.at(-1));
}
if (loaded.length > 0) context.setLoras(loaded, adapters.map(({scale}) => scale));
const sampler = new addon.AddonSampler(model);
sampler.applyConfig({temperature: 0});

// Appends the ids at position `from`; the batch indexes of those whose logits are wanted.
async function append(ids, from, wanted) {
    if (from + ids.length > kCells) throw new Error(`more than ${kCells} tokens`);
    context.initBatch(ids.length);
    const indexes = context.addToBatch(0, from, Uint32Array.from(ids), Uint32Array.from(wanted));
    await context.decodeBatch();
    return indexes;
}
const clear = () => context.removeTokenCellsFromSequence(0, 0, -1);

// The greedy token and all logits as [id, logit, id, logit, ...].
async function read(index) {
    const [token, , , pairs] = await context.sampleToken(index, sampler, false, false, true);
    if (!(token >= 0)) throw new Error("no token: the logits are not finite?");
    return {token, pairs};
}

async function greedy(prompt, steps) {
    const result = {ids: [], margins: [], ends: []};
    let at = 0, next = prompt;
    for (let step = 0; step < steps; step++) {
        const [index] = await append(next, at, [next.length - 1]);
        at += next.length;
        const {token, pairs} = await read(index);
        let best = -Infinity, second = -Infinity;
        for (let i = 1; i < pairs.length; i += 2) {
            if (pairs[i] > best) [best, second] = [pairs[i], best];
            else if (pairs[i] > second) second = pairs[i];
        }
        result.ids.push(token);
        result.margins.push(best - second);
        result.ends.push(model.isEogToken(token));
        next = [token];
    }
    clear();
    return result;
}

let vocabulary = 0;

async function score(ids) {
    const indexes = await append(ids, 0, ids.map((_, i) => i));
    let nll = 0;
    for (let t = 0; t + 1 < ids.length; t++) {
        const {pairs} = await read(indexes[t]);
        vocabulary = pairs.length / 2;
        let best = -Infinity, sum = 0, own = NaN;
        for (let i = 1; i < pairs.length; i += 2) best = Math.max(best, pairs[i]);
        for (let i = 0; i < pairs.length; i += 2) {
            sum += Math.exp(pairs[i + 1] - best);
            if (pairs[i] === ids[t + 1]) own = pairs[i + 1];
        }
        nll += best + Math.log(sum) - own;
    }
    clear();
    return {tokens: ids.length - 1, nll};
}

async function logits(ids) {
    const indexes = await append(ids, 0, ids.map((_, i) => i));
    const rows = [];
    for (const index of indexes) {
        const {pairs} = await read(index);
        vocabulary = pairs.length / 2;
        const row = new Float32Array(vocabulary);
        for (let i = 0; i < pairs.length; i += 2) row[pairs[i]] = pairs[i + 1];
        rows.push(Buffer.from(row.buffer));
    }
    clear();
    return Buffer.concat(rows).toString("base64");
}

async function embed(ids) {
    await append(ids, 0, ids.map((_, i) => i));
    const vector = Array.from(context.getEmbedding(ids.length));
    clear();
    return vector;
}

const answer = {package: `node-llama-cpp ${version}`,
    bos: model.shouldPrependBosToken() ? model.tokenBos() : null,
    texts: (request.texts ?? []).map((text) => Array.from(model.tokenize(text, false))), greedy: [], score: [],
    logits: [], embed: []};
for (const ids of request.greedy ?? []) answer.greedy.push(await greedy(ids, request.steps));
for (const ids of request.score ?? []) answer.score.push(await score(ids));
for (const ids of request.logits ?? []) answer.logits.push(await logits(ids));
for (const ids of request.embed ?? []) answer.embed.push(await embed(ids));
answer.vocab = vocabulary;
// A pipe takes a part at a time.
for (let text = Buffer.from(JSON.stringify(answer) + "\n"); text.length > 0;) {
    try {
        text = text.subarray(fs.writeSync(1, text));
    } catch (error) {
        if (error.code !== "EAGAIN") throw error;
    }
}
process.exit(0);
