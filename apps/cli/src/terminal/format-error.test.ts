import { KvlrError } from '@kvlr/core';
import pc from 'picocolors';
import { describe, expect, it } from 'vitest';
import { errorToJson, exitCodeOf, formatError } from './format-error.ts';

const colors = pc.createColors(false);
const missing = new KvlrError('file-missing', {
  message: 'open: expected config.json in ./model, found none',
  hint: 'Give a checkpoint directory.',
  data: { file: 'config.json' },
});

describe('errors', () => {
  it('say what happened, how to mend it, and their code', () => {
    expect(formatError(missing, false, colors)).toBe(
      'error  expected config.json in ./model, found none\nmend   Give a checkpoint directory.\ncode   file-missing\n',
    );
  });

  it('show their stack only when asked for', () => {
    expect(formatError(missing, true, colors)).toContain('format-error.test.ts');
  });

  it('of no known kind are called a defect', () => {
    expect(formatError(new TypeError('x is not a function'), false, colors)).toContain('defect of kvlr');
  });

  it('are told to machines with their data', () => {
    expect(errorToJson(missing)).toEqual({
      error: {
        code: 'file-missing',
        message: 'open: expected config.json in ./model, found none',
        hint: 'Give a checkpoint directory.',
        data: { file: 'config.json' },
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
