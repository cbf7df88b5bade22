import { KvlrError } from '@kvlr/core';
import pc from 'picocolors';
import { describe, expect, it } from 'vitest';
import { errorToJson, exitCodeOf, formatError } from './errors.ts';

const settings = { command: 'compress', verbose: false, colors: pc.createColors(false) };
const missing = new KvlrError('file-missing', {
  message: 'expected config.json, found none',
  hint: 'Give a checkpoint directory.',
  where: { file: './model', layer: 3 },
  data: { name: 'config.json' },
});

describe('errors', () => {
  it('say where and what happened, how to go on, and their code', () => {
    expect(formatError(missing, settings)).toBe(
      'error  ./model, layer 3: expected config.json, found none\nhint   Give a checkpoint directory.\ncode   file-missing\n',
    );
  });

  it('show their stack only when asked for', () => {
    expect(formatError(missing, { ...settings, verbose: true })).toContain('errors.test.ts');
  });

  it('of no known kind are called a defect', () => {
    expect(formatError(new TypeError('x is not a function'), settings)).toContain('defect of kvlr');
  });

  it('are told to machines with their fields', () => {
    expect(errorToJson(missing, 'compress')).toEqual({
      error: {
        code: 'file-missing',
        message: './model, layer 3: expected config.json, found none',
        reason: 'expected config.json, found none',
        where: { file: './model', layer: 3 },
        hint: 'Give a checkpoint directory.',
        data: { name: 'config.json' },
      },
    });
  });

  it.each([
    ['usage', 2],
    ['heads-not-divisible', 2],
    ['file-missing', 1],
    ['aborted', 130],
    ['disk-full', 1],
  ] as const)('of code %s end with exit code %i', (code, exitCode) => {
    expect(exitCodeOf(new KvlrError(code, { message: '' }))).toBe(exitCode);
  });
});

describe('hints', () => {
  const hintOf = (
    code: KvlrError['code'],
    details: Partial<ConstructorParameters<typeof KvlrError>[1]>,
    command = 'compress',
  ) => formatError(new KvlrError(code, { message: '', ...details }), { ...settings, command }).split('\n')[1];

  it.each([
    [
      'file-exists',
      { data: { replaceable: true } },
      'compress',
      'Add --overwrite to replace it, or choose another place with -o.',
    ],
    [
      'file-exists',
      { data: { replaceable: false } },
      'compress',
      'Choose another place with -o: --overwrite replaces only what kvlr has written.',
    ],
    ['file-exists', {}, 'export', 'Add --overwrite to replace it, or choose another name.'],
    ['run-mismatch', {}, 'recover', 'Choose another run directory with --run, or add --overwrite to let it go.'],
    ['run-mismatch', { data: { replaceable: false } }, 'compare', 'Choose another directory with -o.'],
    [
      'tokenizer-mismatch',
      { where: { argument: 'teacher' } },
      'recover',
      'Name the model that this checkpoint was compressed from with --teacher.',
    ],
    ['tokenizer-mismatch', { hint: 'Compare with its base.' }, 'eval', 'Compare with its base.'],
    [
      'text-too-short',
      { where: { argument: 'evaluation text' }, hint: 'Pass more text.' },
      'eval',
      'Pass more text. --eval-text names other texts.',
    ],
  ] as const)('of %s %j in kvlr %s name its options', (code, details, command, hint) => {
    expect(hintOf(code, details, command)).toBe(`hint   ${hint}`);
  });

  it('of a count of heads that does not divide name the nearest one that does', () => {
    const details = {
      hint: 'Possible: 1, 2, 4 KV heads; nearest is 2, 50 %.',
      where: { argument: 'keyValueHeads' },
      data: { nearest: 2 },
    };
    expect(hintOf('heads-not-divisible', details)).toBe(
      'hint   Possible: 1, 2, 4 KV heads; nearest is --kv-heads 2, 50 % (keyValueHeads in a recipe).',
    );
  });

  it('of a run that was stopped say that it resumes, where it does', () => {
    expect(hintOf('aborted', {})).toContain('Run the same command again');
    expect(hintOf('aborted', {}, 'generate')).toBe('code   aborted');
  });
});
