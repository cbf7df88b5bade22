import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { taskFieldsSchema } from '../definition/task-fields.ts';
import type { TaskPrompt } from '../prompts/prompts.ts';
import { taskYaml } from '../testing/scripted-model.ts';
import { filterAnswer } from './answers.ts';
import { aggregate, comparePaired, scoreDocument } from './metrics.ts';

const fieldsOf = (yaml: string) => taskFieldsSchema.parse({ ...parse(taskYaml('doc_to_target: x')), ...parse(yaml) });
const prompt = (more: Partial<TaskPrompt>): TaskPrompt => ({
  documentIndex: 0,
  document: {},
  target: '',
  question: { type: 'continuations', texts: [] },
  ...more,
});
const scores = (...values: [number, boolean?][]) => ({
  type: 'scores' as const,
  scores: values.map(([logLikelihood, isGreedy = false]) => ({ logLikelihood, isGreedy })),
});

describe('what a document scores', () => {
  it('in multiple choice: the likeliest, by itself, by characters, by bytes', () => {
    const fields = fieldsOf(
      'metric_list: [{metric: acc}, {metric: acc_norm}, {metric: acc_bytes}, {metric: exact_match}]',
    );
    const asked = prompt({ choices: ['ab', 'abcd', 'éé'], gold: [1] });
    expect(scoreDocument(fields, asked, scores([-3], [-4, true], [-5]))).toEqual({
      acc: 0,
      acc_norm: 1,
      acc_bytes: 1,
      exact_match: 1,
    });
  });

  it('in a rolling text: sums with words and bytes', () => {
    const fields = fieldsOf('metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]');
    const asked = prompt({ question: { type: 'rolling', text: 'two wörds' } });
    expect(scoreDocument(fields, asked, scores([-2], [-3]))).toEqual({
      word_perplexity: [-5, 2],
      bits_per_byte: [-5, 10],
    });
  });

  it('in a generated text: the target, with what is to be ignored taken out of both', () => {
    const metric = `{metric: exact_match, ignore_case: true, ignore_punctuation: true, regexes_to_ignore: [",", "(?s).*#### "]}`;
    const fields = fieldsOf(`metric_list: [${metric}]\noutput_type: generate_until`);
    const asked = prompt({ target: 'so\n#### 1,200 Apples' });
    expect(scoreDocument(fields, asked, { type: 'text', text: '1200 apples!' })).toEqual({ exact_match: 1 });
    expect(scoreDocument(fields, asked, { type: 'text', text: '1300 apples' })).toEqual({ exact_match: 0 });
  });
});

it('filters answers as the harness does', () => {
  const last = {
    function: 'regex' as const,
    regex_pattern: '(-?[$0-9.,]{2,})|(-?[0-9]+)',
    group_select: -1,
    fallback: '[invalid]',
  };
  expect(filterAnswer('first 7, then 42.', [last, { function: 'take_first' }])).toBe('42.');
  expect(filterAnswer('none', [last])).toBe('[invalid]');
  const words = { ...last, regex_pattern: '^\\s*(\\S+ \\S+)', group_select: 0 };
  expect(filterAnswer(' the sea and', [words, { function: 'uppercase' }])).toBe('THE SEA');
  const endless = () => filterAnswer(`${'a'.repeat(60)}b`, [{ ...last, regex_pattern: '(a+)+$' }]);
  expectKvlrError(endless, 'file-malformed', /got no end/);
});

describe('a metric over documents', () => {
  it('has the standard error of a mean, and of perplexities by the delta method', () => {
    expect(aggregate('acc', [1, 0, 1, 1])).toEqual({ value: 0.75, standardError: expect.closeTo(0.25) });
    const { value, standardError } = aggregate('perplexity', [-1, -3]);
    expect([value, standardError]).toEqual([expect.closeTo(Math.exp(2)), expect.closeTo(Math.exp(2))]);
    expect(
      aggregate('bits_per_byte', [
        [-4, 4],
        [-2, 2],
      ]).standardError,
    ).toBeCloseTo(0);
    expect(aggregate('acc', [1]).standardError).toBeUndefined();
  });

  it('differs from itself by nothing, and from another as the pairs do', () => {
    const parts = fc.array(fc.double({ min: -5, max: 0, noNaN: true }), { minLength: 2, maxLength: 30 });
    fc.assert(
      fc.property(parts, (values) => {
        const { value, standardError } = comparePaired('perplexity', values, values);
        expect([value, standardError]).toEqual([0, 0]);
        const shifted = values.map((one) => one - 1);
        expect(comparePaired('acc', values, shifted).value).toBeCloseTo(1);
        expect(comparePaired('acc', values, shifted).standardError).toBeCloseTo(0);
      }),
    );
  });
});
