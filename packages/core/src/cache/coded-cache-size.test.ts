import { expect, it } from 'vitest';
import { stockLayout } from '../model/decoder-shape.ts';
import { codedCacheSize } from './coded-cache-size.ts';

const shape = { layers: [stockLayout(4, 32), stockLayout(2, 32)] };

// Slots of 32 numbers: 128, 64, 4 + 32 and 4 + 16 bytes; 2 x 4 of them in the first layer, 2 x 2 in the second.
it.each([
  ['f32', 128],
  ['f16', 64],
  ['int8', 36],
  ['int4', 20],
] as const)('counts the scales of %s', (dtype, slotBytes) => {
  expect(codedCacheSize(shape, dtype)).toEqual({
    bytesPerToken: 12 * slotBytes,
    bytesPerElement: slotBytes / 32,
    elementsPerTokenByLayer: [256, 128],
  });
});
