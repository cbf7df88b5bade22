import { createTinyModel, randomTokenIds } from '@kvlr/testkit';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend as activeBackend, memory, type Tensor2D } from '@tensorflow/tfjs-core';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { selectBackend } from '../backends/select-backend.ts';
import { KeyValueCache } from '../cache/key-value-cache.ts';
import { loadModel } from '../decoder/load-model.ts';
import { createRebuiltModel } from '../testing/rebuilt-model.ts';
import { recordedCases, runRecordedCase } from '../testing/recorded-cases.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import { PackedDecoder } from './packed-decoder.ts';
import { packDecoder, readFromSource } from './packed-weights.ts';
import { RecordedDecoding, stepIsRecordable } from './recorded-decoding.ts';

const [, , { skip }] = (await testedBackends()) as [object, object, { skip: string | false }];

const smallest = createTinyModel({
  ...{ numLayers: 1, hiddenSize: 8, intermediateSize: 8, vocabSize: 20 },
  ...{ numAttentionHeads: 2, numKeyValueHeads: 1, headDim: 4 },
});

afterEach(() => vi.restoreAllMocks());

describe.skipIf(skip)(`recorded steps${skip ? ` (${skip})` : ''}`, () => {
  it.each(recordedCases)(
    'choose the tokens that single steps choose: $name',
    async ({ name, newTokens, dispatches }) => {
      const recorded = await runRecordedCase(name, true);
      const single = await runRecordedCase(name, false);
      expect(recorded.ids).toEqual(single.ids);
      expect(recorded.ids).toHaveLength(newTokens);
      expect(recorded.dispatches).toBe(dispatches);
    },
  );

  it('make, for a lot of tokens, one submit and one mapping, and no bind group, buffer or write', async () => {
    const model = await loadModel(smallest, { backend: 'webgpu', weights: 'f32' });
    const { device, queue } = activeBackend() as WebGPUBackend;
    const cache = await model.createCache(40);
    const calls: number[][] = [];
    const spies = (['createBindGroup', 'createBuffer', 'createComputePipeline'] as const).map((name) =>
      vi.spyOn(device, name),
    );
    const writes = vi.spyOn(queue, 'writeBuffer');
    const submits = vi.spyOn(queue, 'submit');
    for await (const { index } of model.generate([1], { maxNewTokens: 32, tokensPerReadback: 4, cache })) {
      if (index % 4 === 3) calls.push([...spies, writes, submits].map(({ mock }) => mock.calls.length));
    }
    // The first lots record the step; the last one is under way when the one before it is read.
    const later = calls.slice(2, -1);
    expect(later).toHaveLength(5);
    for (const [lot, counts] of later.entries()) {
      expect(counts.slice(0, 4)).toEqual(later[0]!.slice(0, 4));
      expect(counts[4]).toBe(later[0]![4]! + lot);
    }
    cache.dispose();
    model.dispose();
  });

  it('decode sequences of different lengths side by side, across pages, and leave nothing behind', async () => {
    await selectBackend({ backend: 'webgpu' });
    const held = memory().numTensors;
    const { shape } = smallest;
    const decoder = new PackedDecoder(
      shape,
      await packDecoder({ shape, format: 'f32', read: readFromSource(smallest) }),
    );
    const prompts = [7, 2, 5].map((count, b) => Array.from(randomTokenIds(count, 20, b)));
    const pause = async () => {};
    const greatest = async (logits: Tensor2D) => {
      const rows = (await logits.array()) as number[][];
      logits.dispose();
      return rows.map((row) => row.indexOf(Math.max(...row)));
    };
    const [cache, single] = [1, 2].map(() => new KeyValueCache(shape, { batch: 3, pageTokens: 8 })) as [
      KeyValueCache,
      KeyValueCache,
    ];
    const logits = await decoder.extend(cache, prompts, pause);
    const decoding = new RecordedDecoding(decoder, cache, {}, 3);
    decoding.begin(logits, 3);
    logits.dispose();
    const lots: Int32Array[] = [];
    for (let lot = 0; lot < 3; lot++) {
      decoding.start(3);
      lots.push(...(await decoding.read()));
    }
    lots.push(...(await decoding.read()));
    expect(cache.lengths).toEqual(prompts.map(({ length }) => length + 11));
    expect(cache.capacity).toBe(24);
    let ids = await greatest(await decoder.extend(single, prompts, pause));
    const expected = [ids];
    for (let step = 1; step < 12; step++) {
      ids = await greatest(
        await decoder.extend(
          single,
          ids.map((id) => [id]),
          pause,
        ),
      );
      expected.push(ids);
    }
    expect(lots.map((each) => Array.from(each))).toEqual(expected);
    decoding.dispose();
    for (const each of [cache, single, decoder]) each.dispose();
    expect(memory().numTensors).toBe(held);
  });

  it('go on in a cache that was cut, and in one that another text has used', async () => {
    const model = await loadModel(smallest, { backend: 'webgpu', weights: 'f32' });
    const cache = await model.createCache({ pageTokens: 16 });
    const text = async (prompt: number[], stopAfter = 9, recorded = true) => {
      const ids: number[] = [];
      const settings = { maxNewTokens: 9, tokensPerReadback: 2, recorded, ...(recorded && { cache }) };
      for await (const { tokenId } of model.generate(prompt, settings)) if (ids.push(tokenId) === stopAfter) break;
      return ids;
    };
    const first = await text([1], 4);
    expect(cache.tokenIds[0]).toEqual([1, ...first]);
    const longer = [1, ...first, 7];
    expect(await text(longer)).toEqual(await text(longer, 9, false));
    expect(await text([5])).toEqual(await text([5], 9, false));
    cache.dispose();
    model.dispose();
  });

  it('are for what is all fused kernels', async () => {
    await selectBackend({ backend: 'webgpu' });
    expect(stepIsRecordable(smallest.shape, 'f32')).toBe(true);
    expect(stepIsRecordable(createTinyModel({ mlpBias: true }).shape, 'f32')).toBe(false);
    expect(stepIsRecordable(createRebuiltModel(2).shape, 'f32')).toBe(false);
    await selectBackend({ backend: 'wasm' });
    expect(stepIsRecordable(smallest.shape, 'f32')).toBe(false);
  });
});
