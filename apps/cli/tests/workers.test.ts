import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { TinyRun } from './support/tiny-run.ts';

/** The program as it is installed, in a process of its own: what threads do to the end of a process shows only there. */
const program = fileURLToPath(new URL('../dist/main.js', import.meta.url));

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const { model, evaluation } = tiny;

function evaluate(workers: number, engine: string): Promise<{ exitCode: number; out: string }> {
  const options = ['--eval-text', evaluation, '--windows', '2', '--window-length', '33', '--json'];
  const compute = ['--backend', 'wasm', '--engine', engine, '--workers', String(workers)];
  const argumentList = [program, 'eval', model, ...options, ...compute];
  return new Promise((resolve) => {
    const child = execFile(process.execPath, argumentList, (_, out) =>
      resolve({ exitCode: child.exitCode ?? -1, out }),
    );
  });
}

it.each(['tfjs', 'onnx'])('says the same with one worker and with two, and ends well: %s', async (engine) => {
  const alone = await evaluate(1, engine);
  expect(alone.exitCode).toBe(0);
  const { date: _, ...expected } = JSON.parse(alone.out);
  // An end that loses the answer would depend on which thread is done first.
  for (let round = 0; round < 2; round++) {
    const together = await evaluate(2, engine);
    expect(together.exitCode).toBe(0);
    const { date, ...received } = JSON.parse(together.out);
    expect(date).toEqual(expect.anything());
    expect(received).toEqual(expected);
  }
});
