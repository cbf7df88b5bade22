import type { EvaluationResult, Measurement } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHarnessJson, toHarnessJson } from './harness-json.ts';

const windowLength = 513;

const measurement = (windows: number): fc.Arbitrary<Measurement> =>
  fc.record({
    value: fc.double({ min: 0, max: 1e6, noNaN: true, noDefaultInfinity: true }),
    standardError: fc.option(fc.double({ min: 0, max: 100, noNaN: true }), { nil: undefined }),
    tokenCount: fc.constant(windows * (windowLength - 1)),
  });

const sourceNames = fc.uniqueArray(fc.constantFrom('sotu', 'moby-dick', 'kjv', 'my file.txt', 'über_text'), {
  minLength: 1,
});

const result: fc.Arbitrary<EvaluationResult> = sourceNames.chain((sources) => {
  const windows = sources.length * 24;
  return fc.record({
    modelId: fc.constantFrom('kvlr-reference-6m', 'org/model'),
    tokenCount: fc.constant(windows * (windowLength - 1)),
    windowCount: fc.constant(windows),
    windowLength: fc.constant(windowLength),
    perplexity: measurement(windows),
    perplexityBySource: fc
      .array(measurement(24), { minLength: sources.length, maxLength: sources.length })
      .map((measurements) => Object.fromEntries(sources.map((source, i) => [source, measurements[i]!] as const))),
    againstBase: fc.option(
      fc.record({
        baseModelId: fc.constant('base'),
        basePerplexity: measurement(windows),
        klDivergence: measurement(windows),
        topOneAgreement: measurement(windows),
        perplexityRatio: measurement(windows),
      }),
      { nil: undefined },
    ),
    windows: fc.constant({
      sources: sources.flatMap((source) => Array<string>(24).fill(source)),
      negativeLogLikelihoods: Array.from({ length: windows }, (_, index) => 3 + Math.sin(index)),
    }),
    cache: fc.constant({ bytesPerToken: 12288, bytesPerElement: 4, elementsPerTokenByLayer: [512, 512] }),
  });
});

const example: EvaluationResult = {
  modelId: 'org/model',
  tokenCount: 1024,
  windowCount: 2,
  windowLength,
  perplexity: { value: 30.6, standardError: 0.5, tokenCount: 1024 },
  perplexityBySource: {
    kjv: { value: 16.3, standardError: undefined, tokenCount: 512 },
    sotu: { value: 25.3, standardError: undefined, tokenCount: 512 },
  },
  cache: { bytesPerToken: 64, bytesPerElement: 4, elementsPerTokenByLayer: [16] },
};

describe('toHarnessJson', () => {
  it('survives JSON and comes back equal', () => {
    fc.assert(
      fc.property(result, (original) => {
        const text = JSON.stringify(toHarnessJson(original));
        expect(fromHarnessJson(JSON.parse(text))).toEqual(original);
      }),
    );
  });

  it('has the keys and names that lm-evaluation-harness writes', () => {
    const json = toHarnessJson(example, { taskName: 'texts', date: new Date(5000) });
    expect(json.results.texts).toEqual({
      name: 'texts',
      alias: 'texts',
      sample_len: 2,
      'perplexity,none': 30.6,
      'perplexity_stderr,none': 0.5,
    });
    expect(json.results.texts_kjv).toMatchObject({ alias: ' - kjv', 'perplexity_stderr,none': 'N/A' });
    expect(json.group_subtasks).toEqual({ texts: ['texts_kjv', 'texts_sotu'] });
    expect(json['n-samples'].texts_sotu).toEqual({ original: 1, effective: 1 });
    expect(json.higher_is_better.texts).toEqual({ perplexity: false });
    expect(json).toMatchObject({ model_name: 'org/model', model_name_sanitized: 'org__model', date: 5 });
    expect(Object.keys(json.versions)).toEqual(Object.keys(json.results));
  });
});

describe('fromHarnessJson', () => {
  it('names what is missing in a foreign file', () => {
    const incomplete = JSON.parse(JSON.stringify(toHarnessJson(example)));
    delete incomplete.results.kvlr_texts['perplexity,none'];
    const cases: [unknown, RegExp][] = [
      [null, /group_subtasks/],
      [{ results: {}, group_subtasks: {} }, /kvlr/],
      [incomplete, /perplexity,none/],
    ];
    for (const [json, message] of cases) {
      expectKvlrError(() => fromHarnessJson(json), 'file-malformed', message);
    }
  });
});
