import { type ChildProcess, spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { TinyRun } from './support/tiny-run.ts';

/** The program as it is installed, in processes of its own. */
const program = fileURLToPath(new URL('../dist/main.js', import.meta.url));

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());

/** A grouping that is never done, and hears nothing: what a long step is to signals. It says who it is first. */
const endless = tiny.path('inputs', 'endless.mjs');
const pidFile = (output: string) => tiny.path('inputs', `${output}.pid`);
await writeFile(
  endless,
  `import { writeFileSync } from 'node:fs';
export default () => {
  writeFileSync(process.env.KVLR_TEST_PID, String(process.pid));
  process.stderr.write('a step without an end\\n');
  for (;;);
};
`,
);

interface Started {
  child: ChildProcess;
  said(): string;
  printed(): string;
  ended: Promise<number | NodeJS.Signals | null>;
}

function start(argumentList: readonly string[], environment: NodeJS.ProcessEnv = {}): Started {
  const child = spawn(process.execPath, [program, ...argumentList], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let [said, printed] = ['', ''];
  child.stderr!.on('data', (text) => {
    said += text;
  });
  child.stdout!.on('data', (text) => {
    printed += text;
  });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.once('close', (code, signal) => resolve(code ?? signal));
  });
  return { child, said: () => said, printed: () => printed, ended };
}

/** A run that is in a step without an end, and the process that works in it. */
async function startEndless(output: string, ...more: string[]): Promise<Started & { worker: number }> {
  const started = start(tiny.compress(output, '--grouping', endless, ...more), { KVLR_TEST_PID: pidFile(output) });
  await new Promise<void>((resolve, reject) => {
    started.child.stderr!.on('data', () => started.said().includes('without an end') && resolve());
    started.child.once('exit', () => reject(new Error(started.said())));
  });
  return { ...started, worker: Number(await readFile(pidFile(output), 'utf8')) };
}

function isAlive(processId: number): boolean {
  try {
    return process.kill(processId, 0);
  } catch {
    return false;
  }
}

describe('a signal', () => {
  it.each(['SIGINT', 'SIGTERM'] as const)('ends a step that hears nothing: %s', async (signal) => {
    const { child, said, ended, worker } = await startEndless(signal);
    child.kill(signal);
    expect(await ended).toBe(130);
    expect(isAlive(worker)).toBe(false);
    expect(said()).toContain('code   aborted');
    expect(said()).toContain('Run the same command again');
  });

  it('leaves one document with --json', async () => {
    const { child, printed, ended } = await startEndless('json', '--json');
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    expect(JSON.parse(printed()).error).toMatchObject({ code: 'aborted' });
  });

  it('ends what only waits, as it ends any program', async () => {
    const { child, printed, ended } = start(['demo', '--port', '0']);
    await new Promise<void>((resolve) => child.stdout!.on('data', () => printed().includes('http') && resolve()));
    child.kill('SIGINT');
    expect(await ended).toBe('SIGINT');
  });
});

describe('a run whose worker ends otherwise', () => {
  it('says by what, and how to go on', async () => {
    const { said, ended, worker } = await startEndless('killed');
    process.kill(worker, 'SIGKILL');
    expect(await ended).toBe(1);
    expect(said()).toContain('SIGKILL');
    expect(said()).toContain('code   worker-failed');
  });
});

describe('what native code writes to stderr', () => {
  /** A module that does as drivers do: to the descriptor, behind Node's back. */
  const noisy = tiny.path('inputs', 'noisy.mjs');
  const write = (then: string) =>
    writeFile(noisy, `import { writeSync } from 'node:fs';\nwriteSync(2, 'Warning: a driver speaks\\n');\n${then}\n`);
  const groups = 'export default ({ wanted }) => Array.from({ length: wanted }, (_, g) => [2 * g, 2 * g + 1]);';

  it('is not shown where all goes well', async () => {
    await write(groups);
    const { said, ended } = start(tiny.compress('quiet', '--grouping', noisy, '--recover', 'none'));
    expect(await ended, said()).toBe(0);
    expect(said()).toContain('Which KV heads');
    expect(said()).not.toContain('driver');
  });

  it('is shown where the process does not come to its end', async () => {
    await write("process.kill(process.pid, 'SIGKILL');");
    const { said, ended } = start(tiny.compress('loud', '--grouping', noisy));
    expect(await ended).toBe(1);
    expect(said()).toContain('Warning: a driver speaks');
  });
});
