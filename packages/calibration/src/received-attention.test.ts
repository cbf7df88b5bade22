import { createNormalRandom, type DecoderShape } from '@kvlr/core';
import { createTinyModel } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { receivedAttention } from './received-attention.ts';

const { shape } = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 6, hiddenSize: 10 });
const tokens = 40;

function randomHeads() {
  const normal = createNormalRandom(3);
  const rows = (width: number) => Float32Array.from({ length: tokens * width }, normal);
  return { queries: rows(4 * 6), keys: rows(2 * 6), tokens };
}

/** Attention of one query of one head to all positions, written out. */
function attentionOf({ queries, keys }: ReturnType<typeof randomHeads>, of: DecoderShape, head: number, query: number) {
  const { attention, layers } = of;
  const { positions, window = tokens } = layers[0]!;
  const powers = Array.from({ length: tokens }, (_, position) => {
    if (position > query || position <= query - window) return 0;
    const product = Array.from(
      { length: 6 },
      (_, i) => queries[(query * 4 + head) * 6 + i]! * keys[(position * 2 + Math.floor(head / 2)) * 6 + i]!,
    ).reduce((sum, term) => sum + term, 0);
    const scaled = product * attention.scoreScale;
    const capped = attention.softCap ? attention.softCap * Math.tanh(scaled / attention.softCap) : scaled;
    return Math.exp(capped + (positions.kind === 'alibi' ? positions.slopes[head]! * (position - query) : 0));
  });
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

const withLayer = (changes: Partial<DecoderShape['layers'][number]>): DecoderShape => ({
  ...shape,
  layers: shape.layers.map((layer) => ({ ...layer, ...changes })),
});

describe('receivedAttention', () => {
  it.each<[string, DecoderShape]>([
    ['grouped heads', shape],
    ['a window', withLayer({ window: 7 })],
    ['ALiBi', withLayer({ positions: { kind: 'alibi', slopes: [0.5, 0.25, 0.125, 0.0625] } })],
    ['capped scores', { ...shape, attention: { ...shape.attention, softCap: 0.5 } }],
  ])('is what the last of every 16 queries attends to: %s', (_, of) => {
    const heads = randomHeads();
    const asked = [15, 31, 39];
    const received = receivedAttention(heads, of, 0);
    for (let position = 0; position < tokens; position++) {
      const expected = asked.reduce((sum, query, place) => {
        const stands = query - (asked[place - 1] ?? -1);
        const byHead = [0, 1, 2, 3].map((head) => attentionOf(heads, of, head, query)[position]!);
        return sum + (stands * byHead.reduce((a, b) => a + b, 0)) / 4;
      }, 0);
      expect(received[position]).toBeCloseTo(expected, 5);
    }
    expect(received.reduce((sum, share) => sum + share, 0)).toBeCloseTo(tokens, 4);
  });
});
