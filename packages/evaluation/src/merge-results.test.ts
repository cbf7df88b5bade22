import { cacheSize, type EvaluationResult, type LogitSource } from '@kvlr/core';
import { createTinyModel, expectKvlrError, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { evaluate } from './evaluate.ts';
import { fromHarnessJson, toHarnessJson } from './harness-json.ts';
import { mergeResults } from './merge-results.ts';

const sourceOf = (seed: number): LogitSource => {
  const model = createTinyModel({ seed, vocabSize: 30 });
  return { vocabSize: 30, logits: async (ids) => Float32Array.from(await oracleLogits(model, ids)) };
};
const cache = cacheSize(createTinyModel({ vocabSize: 30 }).shape, 4);
const windows = ['a', 'a', 'a', 'a', 'b', 'b', 'b'].map((source, index) => ({
  source,
  tokenIds: randomTokenIds(12, 30, 100 + index),
}));
const evaluateSome = (from: number, to: number, base?: LogitSource) =>
  evaluate({
    ...{ model: sourceOf(3), modelId: 'small', base, baseModelId: base && 'large' },
    ...{ windows: windows.slice(from, to), cache },
  });

/** Through the file that a part is written to. */
const named = (part: number, parts: number, result: EvaluationResult) => ({
  name: `part-${part}`,
  result: fromHarnessJson(JSON.parse(JSON.stringify(toHarnessJson({ ...result, part: { part, parts } })))),
});

const inParts = async (base?: LogitSource) => [
  named(3, 3, await evaluateSome(5, 7, base)),
  named(1, 3, await evaluateSome(0, 3, base)),
  named(2, 3, await evaluateSome(3, 5, base)),
];

/** Numbers of a result, rounded where a last bit may differ. */
const rounded = (result: EvaluationResult) =>
  JSON.parse(JSON.stringify(result), (_, value) => (typeof value === 'number' ? Number(value.toPrecision(12)) : value));

describe('mergeResults', () => {
  it.each([
    ['alone', undefined],
    ['against a base', sourceOf(4)],
  ])('gives what one evaluation of all windows gives, %s', async (_, base) => {
    expect(rounded(mergeResults(await inParts(base)))).toEqual(rounded(await evaluateSome(0, 7, base)));
  });

  it('refuses what is not one evaluation', async () => {
    const parts = await inParts();
    const [third, first, second] = parts as [(typeof parts)[0], (typeof parts)[0], (typeof parts)[0]];
    const changed = (change: Partial<EvaluationResult>) => [
      first,
      second,
      { name: 'other', result: { ...third.result, ...change } },
    ];
    const refused = (given: typeof parts, ...expected: [code: 'run-mismatch' | 'invalid-argument', message: RegExp]) =>
      expectKvlrError(() => mergeResults(given), ...expected);
    refused([], 'invalid-argument', /got none/);
    refused([first, third], 'run-mismatch', /all 3 parts, got none of 2/);
    refused([...parts, { ...first, name: 'again' }], 'run-mismatch', /part 1 once, got it in part-1 too/);
    refused(changed({ modelId: 'another' }), 'run-mismatch', /model of part-1, small, got another/);
    refused(changed({ windowLength: 513 }), 'run-mismatch', /length of windows of part-1, 12, got 513/);
    refused(changed({ part: { part: 3, parts: 4 } }), 'run-mismatch', /number of parts of part-1, 3, got 4/);
    refused([named(1, 1, await evaluateSome(0, 7, sourceOf(4))), first], 'run-mismatch', /base model/);
    const whole = { name: 'whole', result: { ...first.result, part: undefined } };
    refused([whole], 'invalid-argument', /got one of all/);
    expectKvlrError(
      () =>
        mergeResults([{ name: 'bare', result: { ...first.result, part: { part: 1, parts: 1 }, windows: undefined } }]),
      'file-malformed',
      /scores of its windows/,
    );
  });
});
