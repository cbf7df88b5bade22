import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runCli, TinyRun } from './support/tiny-run.ts';

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const { directory, model } = tiny;

describe('kvlr export --onnx', () => {
  it.each([
    ['F32', 'model.onnx'],
    ['F16', 'model_fp16.onnx'],
  ])('writes a directory for transformers.js in %s', async (dtype, file) => {
    const onnx = join(directory, dtype);
    const { exitCode, out } = await runCli(['export', model, '--onnx', onnx, '--dtype', dtype, '--json']);
    expect(exitCode).toBe(0);
    expect(JSON.parse(out)).toEqual({ onnx, dtype });
    expect(await readdir(join(onnx, 'onnx'))).toEqual([file]);
    expect((await runCli(['export', model, '--onnx', onnx])).error).toContain('--overwrite');
  });

  it.each([
    [[], 'neither'],
    [['--gguf', 'a.gguf', '--onnx', 'a'], 'both'],
    [['--onnx', 'a', '--dtype', 'BF16'], 'BF16'],
  ])('refuses %j before it reads the model', async (options, expected) => {
    const { exitCode, error } = await runCli(['export', 'no-such-model', ...options]);
    expect(exitCode).toBe(2);
    expect(error).toContain(expected);
  });
});
