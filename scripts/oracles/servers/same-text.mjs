// Asks a server that speaks OpenAI's completions (llama-server, vLLM, `transformers serve`) for the likeliest tokens behind some prompts, and
// compares its text with what kvlr writes from the checkpoint that the server was given. Needs a build; README.md beside this says how the servers
// are started. Where the texts part, prints how much likelier kvlr's token was than the next: below 0.05 nats rounding may choose
// either, above it the exit code is 1.
//   node scripts/oracles/servers/same-text.mjs out/half http://127.0.0.1:8000 --tokens 64
import { parseArgs } from 'node:util';
import { loadModel } from '../../../packages/runtime/dist/node.js';

const PROMPTS = ['Call me Ishmael.', 'In the beginning', 'My fellow citizens, the state of our Union is'];
const CLEAR_NATS = 0.05;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { tokens: { type: 'string', default: '64' } },
});
const [checkpoint, server] = positionals;
if (!server) throw new Error('expected: same-text.mjs CHECKPOINT URL');
const maxNewTokens = Number(values.tokens);

async function ask(path, body) {
  const settings = body && {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  };
  const response = await fetch(new URL(path, server), settings);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** Nats between the two likeliest tokens behind these. */
async function nextMargin(decoder, tokenIds) {
  const logits = await decoder.logits(Int32Array.from(tokenIds));
  const [first, second] = logits
    .subarray((tokenIds.length - 1) * (logits.length / tokenIds.length))
    .toSorted((a, b) => b - a);
  return first - second;
}

const { data: models } = await ask('/v1/models');
const model = await loadModel(checkpoint, { backend: 'wasm' });
let clearlyParted = 0;
for (const prompt of PROMPTS) {
  const { choices } = await ask('/v1/completions', {
    model: models[0].id,
    prompt,
    max_tokens: maxNewTokens,
    temperature: 0,
  });
  const theirs = choices[0].text;
  const ids = await model.encode(prompt);
  let ours = '';
  let tokens = 0;
  for await (const { text, tokenId } of model.generate(prompt, { maxNewTokens })) {
    if (!theirs.startsWith(ours + text)) break;
    ours += text;
    ids.push(tokenId);
    tokens += 1;
  }
  if (ours === theirs) {
    console.log(`${prompt}: the same ${tokens} tokens`);
    continue;
  }
  const margin = await nextMargin(model.decoder, ids);
  if (margin > CLEAR_NATS) clearlyParted += 1;
  console.log(`${prompt}: the same ${tokens} tokens, then another at a margin of ${margin.toFixed(4)} nats`);
  console.log(`  theirs: ${JSON.stringify(theirs.slice(ours.length))}`);
}
await model.dispose();
process.exit(clearlyParted === 0 ? 0 : 1);
