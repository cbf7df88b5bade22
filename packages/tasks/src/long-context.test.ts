import { createRandom } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { compareLongContexts, probeLongContext } from './long-context.ts';
import { characters, scriptedModel } from './testing/scripted-model.ts';

const random = createRandom(3);
const texts = [Array.from({ length: 800 }, () => 40 + Math.floor(80 * random()))];

/** Finds certain what stands among the last `memory` tokens as it is, and anything else the less likely the longer it is. */
const remembering = (memory: number) => ({
  ...scriptedModel(),
  maxPositions: 512,
  score: async (sequences: readonly { tokenIds: Int32Array; from: number }[]) =>
    sequences.map(({ tokenIds, from }) => {
      const text = characters.decode([...tokenIds.subarray(Math.max(0, from - memory), from)]);
      const asked = characters.decode([...tokenIds.subarray(from)]);
      return { logLikelihood: text.includes(asked) ? 0 : -asked.length, isGreedy: false };
    }),
});

describe('probes of a long context', () => {
  const settings = { lengths: [100, 200], depths: [0, 1], probes: 3 };

  it('see what is remembered', async () => {
    const { cells, positions } = await probeLongContext(remembering(500), characters, texts, settings);
    expect(cells.map(({ copyGain, needle }) => [copyGain.value, needle.value])).toEqual(Array(4).fill([1, 1]));
    expect(positions.map(({ from, to }) => [from, to])).toEqual([
      [1, 32],
      [32, 64],
      [64, 128],
      [128, 200],
    ]);
  });

  it('see what is forgotten: what stands at the beginning, with a short memory', async () => {
    const { cells } = await probeLongContext(remembering(80), characters, texts, settings);
    expect(cells.map(({ depth, copyGain }) => [depth, copyGain.value])).toEqual([
      [0, 0],
      [1, 1],
      [0, 0],
      [1, 1],
    ]);
  });

  it('are compared probe by probe and text by text', async () => {
    const [long, short] = await Promise.all(
      [500, 80].map((memory) => probeLongContext(remembering(memory), characters, texts, settings)),
    );
    const { copyGains, perplexities } = compareLongContexts(short!, long!);
    expect(copyGains).toEqual([-1, 0, -1, 0].map((value) => ({ value, standardError: 0 })));
    const [first] = perplexities;
    const [losses, others] = [short!, long!].map(({ positions }) => positions[0]!.losses);
    const mean = losses!.reduce((sum, loss, text) => sum + loss - others![text]!, 0) / losses!.length;
    expect(first!.value).toBeCloseTo(Math.exp(mean), 12);
  });

  it('need texts that are long enough', async () => {
    const probe = () => probeLongContext(remembering(80), characters, [[1, 2, 3]], settings);
    await expectKvlrError(probe, 'text-too-short', /at least 400 tokens, got at most 3/);
  });
});
