import { expect, it } from 'vitest';
import { alibiPenalty, roundToBfloat16 } from './alibi-penalty.ts';

const slopes = [0.25];

it('falls with the distance of key and query', () => {
  const penalty = alibiPenalty(0.25, { kind: 'alibi', slopes });
  expect([penalty(3, 3), penalty(1, 3), penalty(0, 3)]).toEqual([0, -0.5, -0.75]);
});

it('rounds the products of Falcon, of two numbers as near to the even one', () => {
  // bfloat16 has 8 bits of a number: 257 lies between 256 and 258, 259 between 258 and 260.
  expect([256, 257, 258, 259, 260].map(roundToBfloat16)).toEqual([256, 256, 258, 260, 260]);
  const penalty = alibiPenalty(1, { kind: 'alibi', slopes: [1], roundedScale: 0.5 });
  expect([penalty(257, 259), penalty(259, 259)]).toEqual([-2, 0]);
});
