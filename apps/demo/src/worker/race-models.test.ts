import { expect, it } from 'vitest';
import { median } from './race-models.ts';

it.each([
  [[], undefined],
  [[3], 3],
  [[9, 1, 5], 5],
  [[10, 2, 4, 100], 7],
])('of %j is %j', (values, expected) => expect(median(values)).toBe(expected));
