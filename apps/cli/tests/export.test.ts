import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runCli, TinyRun } from './support/tiny-run.ts';

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const { directory, model } = tiny;

describe('kvlr export --gguf', () => {
  it('takes the types of the model, says how much it wrote and what to do with it', async () => {
    const [file, packed] = [tiny.path('as-it-is.gguf'), tiny.path('packed.gguf')];
    const { out } = await runCli(['export', model, '--gguf', file]);
    expect(out).toMatch(/as-it-is\.gguf: F32, [\d.]+ KiB\.\nNext: {2}llama-server -m /);
    await runCli(['export', model, '--gguf', packed, '--dtype', 'Q8_0']);
    const again = await runCli(['export', packed, '--gguf', tiny.path('again.gguf'), '--json']);
    expect(JSON.parse(again.out)).toMatchObject({ dtype: 'Q8_0', bytes: (await stat(packed)).size });
  });
});

describe('kvlr export --onnx', () => {
  it.each([
    ['F32', 'model.onnx'],
    ['F16', 'model_fp16.onnx'],
  ])('writes a directory for transformers.js in %s', async (dtype, file) => {
    const onnx = join(directory, dtype);
    const { exitCode, out } = await runCli(['export', model, '--onnx', onnx, '--dtype', dtype, '--json']);
    expect(exitCode).toBe(0);
    expect(JSON.parse(out)).toEqual({ onnx, dtype, bytes: expect.any(Number) });
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
