import { type ChildProcess, spawn } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRandom } from '@kvlr/core';
import { formatRecipeYaml, parseRecipe } from '@kvlr/pipeline';
import { tinyDistillation, tinyRecipe } from '@kvlr/testkit';
import { afterAll, describe, expect, it } from 'vitest';
import { TinyRun } from './support/tiny-run.ts';

/** The program as it is installed, in processes of its own, which can be killed together. */
const program = fileURLToPath(new URL('../dist/main.js', import.meta.url));

/** What the program says when a stage begins, from the first to the last. */
const stages = [
  'Checks',
  'Second moments',
  'How much',
  'Which KV heads',
  'Low-rank factors',
  'Block reconstruction',
  'Distillation',
  'Perplexity',
  'Report',
  'The checkpoint',
];
const kills = 20;

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const recipe = { ...tinyRecipe, recovery: { ...tinyRecipe.recovery, distillation: tinyDistillation } };
await writeFile(tiny.recipe, formatRecipeYaml(parseRecipe(recipe)));

function start(output: string): ChildProcess {
  const settings = ['--max-shard-size', '10KB', '--budget', 'measured'];
  return spawn(process.execPath, [program, ...tiny.compress(join(output, 'out'), ...settings)], {
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
}

const ended = (child: ChildProcess) => new Promise<number | null>((resolve) => child.once('close', resolve));

/** The process that was started, and the one that works for it. */
function killAll({ pid }: ChildProcess): void {
  try {
    process.kill(-pid!, 'SIGKILL');
  } catch (error) {
    // It has ended meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Kills the program so many milliseconds after a stage began; what it said until then. */
async function kill(output: string, stage: string, milliseconds: number): Promise<string> {
  const child = start(output);
  let said = '';
  child.stderr!.on('data', (bytes) => {
    const before = said.includes(stage);
    said += bytes;
    if (!before && said.includes(stage)) setTimeout(() => killAll(child), milliseconds);
  });
  await ended(child);
  return said;
}

/** What a run leaves: all bytes of the result, and of the artefacts but for the times in them. */
async function leftBy(output: string): Promise<Record<string, string>> {
  const names = (await readdir(tiny.path(output), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  const numbers = names.filter((name) => name.endsWith('.safetensors'));
  const contents = await Promise.all(numbers.map(async (name) => [name, tensorsOf(await readFile(name))] as const));
  return {
    names: names
      .map((name) => name.slice(tiny.path(output).length))
      .sort()
      .join('\n'),
    ...Object.fromEntries(contents.map(([name, content]) => [name.slice(tiny.path(output).length), content])),
  };
}

/** The part of a safetensors file behind its header, which says how long the work took. */
function tensorsOf(file: Buffer): string {
  return file.subarray(8 + Number(file.readBigUInt64LE(0))).toString('base64');
}

describe('a run that is killed', () => {
  it('goes on to the same bytes, whenever that was, and leaves nothing else', async () => {
    expect(await ended(start('whole'))).toBe(0);
    const whole = await leftBy('whole');
    const random = createRandom(1);
    const said: string[] = [];
    for (let series = 0; series < 2; series++) {
      const output = `killed-${series}`;
      for (let round = 0; round < kills / 2; round++) {
        const stage = stages[Math.min(round, stages.length - 1)]!;
        said.push(await kill(output, stage, Math.floor(40 * random())));
      }
      const code = await ended(start(output));
      // The last kill may have come after the end.
      expect([0, 1]).toContain(code);
      expect(await leftBy(output)).toEqual(whole);
    }
    expect(stages.filter((stage) => !said.join('').includes(stage))).toEqual([]);
  }, 600_000);
});
