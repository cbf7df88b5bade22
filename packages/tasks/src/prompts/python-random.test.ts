import { expect, it } from 'vitest';
import { PythonRandom } from './python-random.ts';

it('samples what random.Random(1234).sample of CPython samples', () => {
  const random = new PythonRandom(1234);
  const numbers = Array.from({ length: 1000 }, (_, index) => index);
  expect(random.sample(numbers, 5)).toEqual([989, 796, 451, 119, 7]);
  expect(random.sample(numbers.slice(0, 20), 6)).toEqual([2, 18, 1, 19, 3, 12]);
  expect(random.sample(numbers, 30).slice(-5)).toEqual([683, 554, 934, 477, 70]);
  expect(random.sample(numbers.slice(0, 7), 7)).toEqual([4, 5, 0, 6, 1, 3, 2]);
});
