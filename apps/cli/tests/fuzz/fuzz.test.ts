import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KvlrError } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { Dice, type Input, type Target } from './mutate.ts';
import { createTargets } from './targets.ts';

/** Inputs in all: `npm run fuzz` asks for more, and for others. */
const inputs = Number(process.env.KVLR_FUZZ_INPUTS ?? 2000);
const firstSeed = Number(process.env.KVLR_FUZZ_SEED ?? 1);
/** An input may take so long, on processors that are busy; most take milliseconds. */
const mostMilliseconds = 20_000;
/** By so much the process may grow, all inputs together. */
const mostBytes = 600_000_000;

/** Inputs that failed once: they are tried first, every time. */
const failedDirectory = fileURLToPath(new URL('./failed', import.meta.url));
const targets = await createTargets();
const names = Object.keys(targets);

/** Why an outcome is not right; undefined for a value and for a typed error, within bounds. */
async function faultOf(target: string, input: Input): Promise<string | undefined> {
  const started = performance.now();
  try {
    await targets[target]!.read(input);
  } catch (error) {
    if (!KvlrError.isInstance(error)) return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  const milliseconds = performance.now() - started;
  return milliseconds > mostMilliseconds ? `took ${milliseconds} ms` : undefined;
}

/** Keeps a failing input as data, to be tried again until it fails no more, and then for good. */
async function keep(target: string, seed: number, input: Input): Promise<void> {
  const files = Object.entries(input).map(([name, bytes]) => [name, Buffer.from(bytes).toString('base64')]);
  await mkdir(failedDirectory, { recursive: true });
  const text = JSON.stringify({ target, files: Object.fromEntries(files) }, undefined, 2);
  await writeFile(join(failedDirectory, `${target}-${seed}.json`), `${text}\n`);
}

const kept = (await readdir(failedDirectory).catch(() => [])).filter((name) => name.endsWith('.json'));

describe('an input that failed once', () => {
  it.each(['none', ...kept].slice(kept.length > 0 ? 1 : 0))('ends well: %s', async (name) => {
    const { target, files } =
      name === 'none'
        ? { target: 'recipe', files: { 'recipe.yaml': '' } }
        : JSON.parse(await readFile(join(failedDirectory, name), 'utf8'));
    const input = Object.fromEntries(
      Object.entries<string>(files).map(([file, content]) => [file, Uint8Array.from(Buffer.from(content, 'base64'))]),
    );
    expect(await faultOf(target, input)).toBeUndefined();
  });
});

describe('files from strangers', () => {
  const before = process.memoryUsage().rss;
  const share = ({ cost = 1 }: Target) => 1 / cost;
  const shares = Object.values(targets).reduce((sum, target) => sum + share(target), 0);

  it.each(names)(
    '%s: every input ends in a value or a typed error, in bounds',
    async (target) => {
      const faults: string[] = [];
      const each = Math.ceil((inputs * share(targets[target]!)) / shares);
      for (let seed = firstSeed; seed < firstSeed + each && faults.length < 20; seed++) {
        const input = targets[target]!.make(new Dice(seed * names.length + names.indexOf(target)));
        const fault = await faultOf(target, input);
        if (fault === undefined) continue;
        faults.push(`seed ${seed}: ${fault}`);
        await keep(target, seed, input);
      }
      expect(faults.join('\n')).toBe('');
      expect(process.memoryUsage().rss - before).toBeLessThan(mostBytes);
    },
    600_000,
  );
});
