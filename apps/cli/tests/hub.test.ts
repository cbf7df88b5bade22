import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type LocalHub, startLocalHub } from '@kvlr/testkit';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { runCli, TinyRun } from './support/tiny-run.ts';

const tiny = await TinyRun.create();
const { directory, model, recipe } = tiny;
let hub: LocalHub;
beforeAll(async () => {
  const files = (await readdir(model)).map(async (name) => [name, await readFile(join(model, name))] as const);
  hub = await startLocalHub(Object.fromEntries(await Promise.all(files)));
});
beforeEach(() => {
  vi.stubEnv('HF_ENDPOINT', hub.url);
  vi.stubEnv('HF_HUB_CACHE', join(directory, 'cache'));
  vi.stubEnv('HF_TOKEN', '');
});
afterEach(() => {
  vi.unstubAllEnvs();
  hub.refuse = undefined;
});
afterAll(async () => {
  await hub.close();
  await tiny.remove();
});

describe('a hub id as CKPT', () => {
  it('works as a directory does, and says what it loads', async () => {
    const { exitCode, out, error } = await runCli(['inspect', 'team/tiny', '--json']);
    expect(exitCode).toBe(0);
    expect(error).toContain('Loading team/tiny');
    const { name, id } = JSON.parse(out);
    expect(name).toBe('team/tiny');
    expect(JSON.parse((await runCli(['inspect', model, '--json'])).out).id).toBe(id);
    for (const command of [
      ['generate', 'team/tiny', '--prompt', 'The sea', '-n', '2', '--backend', 'cpu'],
      ['export', 'team/tiny', '--onnx', join(directory, 'onnx')],
      ['compress', 'team/tiny', '--dry-run', '--recipe', recipe],
    ]) {
      const again = await runCli(command);
      expect([command[0], again.exitCode, again.error]).toEqual([command[0], 0, again.error]);
      expect(again.error).not.toContain('Loading');
    }
  });

  it('may name one of several GGUF files by its quantisation', async () => {
    for (const dtype of ['F32', 'Q8_0']) {
      const path = join(directory, `tiny-${dtype}.gguf`);
      await runCli(['export', model, '--gguf', path, '--dtype', dtype]);
      hub.files[`tiny-${dtype}.gguf`] = await readFile(path);
    }
    const inspected = await runCli(['inspect', 'team/tiny:F32', '--json']);
    expect(inspected.error).toContain('Loading team/tiny:F32: tiny-F32.gguf into the cache');
    expect(JSON.parse(inspected.out)).toMatchObject({ name: 'team/tiny:F32', dtype: 'F32' });
    delete hub.files['model.safetensors'];
    const unclear = await runCli(['inspect', 'team/tiny']);
    expect([unclear.exitCode, unclear.error]).toEqual([2, expect.stringContaining('tiny-F32.gguf, tiny-Q8_0.gguf')]);
  });

  it('says how to go on after a refusal', async () => {
    hub.refuse = { status: 401, message: 'Invalid credentials' };
    const { exitCode, error } = await runCli(['eval', 'team/tiny']);
    expect(exitCode).toBe(1);
    expect(error).toContain('HF_TOKEN');
    expect(error).toContain('code   access-denied');
  });
});
