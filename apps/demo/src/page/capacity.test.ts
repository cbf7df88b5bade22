import { expect, it } from 'vitest';
import { tokenBytes } from './capacity.ts';

it('counts keys and values of all layers, scales included', () => {
  const model = { name: 'm', numLayers: 32, keyValueHeads: 8, headDim: 128 };
  expect(tokenBytes(model, 1, 'f16')).toBe(2 * 32 * 8 * 128 * 2);
  expect(tokenBytes(model, 1 / 4, 'f16')).toBe(2 * 32 * 2 * 128 * 2);
  // A scale and an offset in one word before the codes of each slot.
  expect(tokenBytes(model, 1, 'int8')).toBe(2 * 32 * 8 * (128 + 4));
  expect(tokenBytes({ ...model, keyValueHeads: 3 }, 1 / 2, 'f16')).toBeUndefined();
});
