import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, expect, it, vi } from 'vitest';
import { supervise } from './supervise.ts';

const directory = await mkdtemp(join(tmpdir(), 'kvlr-supervise-'));
afterAll(() => rm(directory, { recursive: true }));

async function program(name: string, code: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, code);
  return path;
}

it('gives back the exit code of the program', async () => {
  expect(await supervise(await program('three.mjs', 'process.exit(3);'), [])).toBe(3);
});

it('lets malloc give large arrays back, unless the user has settings of their own', async () => {
  const path = await program(
    'malloc.mjs',
    'process.exit(Number(process.env.MALLOC_MMAP_THRESHOLD_) === 2 ** 20 ? 5 : 6);',
  );
  expect(await supervise(path, [])).toBe(5);
  vi.stubEnv('MALLOC_MMAP_THRESHOLD_', '4096');
  expect(await supervise(path, [])).toBe(6);
  vi.unstubAllEnvs();
});

it('lets a step end by itself after the first signal', async () => {
  const path = await program('stops.mjs', "process.on('message', () => process.exit(7));\n");
  const ended = supervise(path, [], 1e9);
  process.emit('SIGINT');
  expect(await ended).toBe(7);
});

it('ends the program at once by the second signal, however patient it is', async () => {
  const started = join(directory, 'started');
  const path = await program(
    'endless.mjs',
    `import { writeFileSync } from 'node:fs';\nwriteFileSync(${JSON.stringify(started)}, 'now');\nfor (;;);\n`,
  );
  const ended = supervise(path, [], 2 ** 30);
  while ((await readFile(started, 'utf8').catch(() => '')) !== 'now') await setTimeout(10);
  process.emit('SIGINT');
  process.emit('SIGTERM');
  expect(await ended).toBe(130);
});
