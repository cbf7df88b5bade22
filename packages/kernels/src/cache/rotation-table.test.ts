import { expect, it } from 'vitest';
import { createRotationTable, readRotation } from './rotation-table.ts';

it('gives every position its angle as precisely as float32', () => {
  const frequencies = [1, 0.1, 1e-4];
  const table = createRotationTable(frequencies, 100_000);
  const rotation = new Float32Array(6);
  for (const position of [0, 1, 255, 256, 257, 4095, 70_001, 99_999]) {
    readRotation(table, position, 3, rotation);
    frequencies.forEach((frequency, j) => {
      expect(Math.abs(rotation[j]! - Math.cos(position * frequency))).toBeLessThan(3e-7);
      expect(Math.abs(rotation[3 + j]! - Math.sin(position * frequency))).toBeLessThan(3e-7);
    });
  }
});
