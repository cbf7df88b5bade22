import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDirectoryFiles, writeCheckpointDirectory } from '@kvlr/checkpoint/node';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { asciiTokenizerFiles, createTinyModel } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel as loadModelInNode } from '../node/load-model.ts';
import type { GeneratedText, TextSettings } from './generate-text.ts';
import { type LanguageModel, loadModel } from './language-model.ts';

const template = "{% for m in messages %}{{ bos_token + m.role + ': ' + m.content + '\\n' }}{% endfor %}assistant:";

let directory: string;
let model: LanguageModel;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-text-'));
  await writeCheckpointDirectory(join(directory, 'tiny'), createTinyModel({ vocabSize: 100 }), {
    extraFiles: { ...asciiTokenizerFiles(), 'chat_template.jinja': template },
  });
  model = await loadModelInNode(join(directory, 'tiny'), { backend: 'cpu' });
});
afterAll(async () => {
  await model.dispose();
  await rm(directory, { recursive: true });
});

async function collect(settings: TextSettings, prompt = 'the sea'): Promise<GeneratedText[]> {
  const steps: GeneratedText[] = [];
  for await (const step of model.generate(prompt, settings)) steps.push(step);
  return steps;
}
const idsOf = (steps: readonly GeneratedText[]) => steps.map(({ tokenId }) => tokenId);

describe('a language model', () => {
  it('continues a text as the decoder continues its ids', async () => {
    const promptIds = await model.encode('the sea');
    expect(promptIds[0]).toBe(model.tokenizer.prefixIds[0]);
    const expected: number[] = [];
    for await (const { tokenId } of model.decoder.generate(promptIds, { maxNewTokens: 12 })) expected.push(tokenId);
    const steps = await collect({ maxNewTokens: 12 });
    expect(idsOf(steps)).toEqual(expected.slice(0, steps.length));
    expect(await model.complete('the sea', { maxNewTokens: 12 })).toBe(steps.map(({ text }) => text).join(''));
  });

  it('gives the same text for the same seed, with log probabilities and without', async () => {
    const settings = { maxNewTokens: 20, temperature: 1.5, topK: 30, repetitionPenalty: 1.2, seed: 3 };
    const first = await collect(settings);
    expect(idsOf(await collect(settings))).toEqual(idsOf(first));
    expect(idsOf(await collect({ ...settings, logprobs: true }))).toEqual(idsOf(first));
    expect(idsOf(await collect({ ...settings, seed: 4 }))).not.toEqual(idsOf(first));
  });

  it('gives the log probabilities of the model', async () => {
    const steps = await collect({ maxNewTokens: 3, logprobs: true });
    const ids = [...(await model.encode('the sea')), ...idsOf(steps)];
    const logits = await model.decoder.logits(Int32Array.from(ids));
    for (const [index, { tokenId, logprob }] of steps.entries()) {
      const row = (ids.length - steps.length + index - 1) * model.decoder.vocabSize;
      const weights = Array.from(logits.subarray(row, row + model.decoder.vocabSize), Math.exp);
      expect(logprob).toBeCloseTo(Math.log(weights[tokenId]! / weights.reduce((sum, weight) => sum + weight, 0)), 4);
    }
  });

  it('answers a conversation by its template, whose special tokens count as such', async () => {
    const messages = [{ role: 'user', content: 'ahoy' }];
    expect(await model.renderChat(messages)).toBe('<s>user: ahoy\nassistant:');
    const ids = await model.encode(messages);
    expect(ids[0]).toBe(model.tokenizer.prefixIds[0]);
    expect(ids.filter((id) => id === model.tokenizer.prefixIds[0])).toHaveLength(1);
    expect(await model.complete(messages, { maxNewTokens: 3 })).not.toBe('');
  });

  it('keeps a conversation in a cache between calls', async () => {
    const cache = await model.decoder.createCache();
    const settings = { maxNewTokens: 5 };
    const messages = [{ role: 'user', content: 'ahoy' }];
    const answer = await model.complete(messages, { ...settings, cache });
    const longer = [...messages, { role: 'assistant', content: answer }, { role: 'user', content: 'and then?' }];
    const held = cache.tokenIds[0]!.length;
    expect(held).toBeGreaterThan(0);
    expect(await model.complete(longer, { ...settings, cache })).toBe(await model.complete(longer, settings));
    expect(cache.tokenIds[0]!.length).toBeGreaterThan(held);
    cache.dispose();
  });

  it('frees what it holds when it is stopped, left or disposed', async () => {
    await collect({ maxNewTokens: 2 });
    const held = memory().numTensors;
    const controller = new AbortController();
    const stopped = async () => {
      for await (const _ of model.generate('the sea', { signal: controller.signal })) controller.abort();
    };
    await expect(stopped()).rejects.toMatchObject({ code: 'aborted' });
    for await (const _ of model.generate('the sea', { logprobs: true })) break;
    expect(memory().numTensors).toBe(held);
  });
});

describe('loadModel', () => {
  it('takes files, reports events, and gives a bare decoder for a bare model', async () => {
    const notes: string[] = [];
    const settings = { backend: 'cpu' as const, onEvent: (event: { type: string }) => notes.push(event.type) };
    const fromFiles = await loadModel(createDirectoryFiles(join(directory, 'tiny')), settings);
    const promptIds = await model.encode('the sea');
    expect(await fromFiles.encode('the sea')).toEqual(promptIds);
    expect(notes).toContain('note');
    const bare = await loadModel(createTinyModel(), { backend: 'cpu' });
    expect(bare.vocabSize).toBe(50);
    bare.dispose();
    await fromFiles.dispose();
    await fromFiles.dispose();
  });

  it('says what a place must be', async () => {
    await expect(loadModelInNode('nowhere')).rejects.toMatchObject({ code: 'file-missing' });
    await expect(loadModel('nowhere')).rejects.toMatchObject({ code: 'file-missing' });
  });

  it('writes English with the embedded model, which knows no conversations', async () => {
    const reference = await loadModelInNode(referenceModelDirectory, { backend: 'wasm' });
    const text = await reference.complete('And God said unto', { maxNewTokens: 12, stop: '.' });
    expect(text).toMatch(/^ [A-Za-z]/);
    await expect(reference.encode([{ role: 'user', content: 'Hi' }])).rejects.toMatchObject({
      code: 'unsupported-feature',
      hint: expect.stringContaining('prompt as text'),
    });
    for (const wrong of [undefined, null, 5, [], [7]]) {
      await expect(reference.encode(wrong as never)).rejects.toMatchObject({ code: 'invalid-argument' });
    }
    await reference.dispose();
  });
});
