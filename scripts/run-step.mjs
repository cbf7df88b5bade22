import { spawn, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

const settings = (environment = {}) => ({
  cwd: root,
  env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1', ...environment },
  shell: process.platform === 'win32',
});

/** Runs a program in the workspace root with its output shown, and returns its exit code. */
export function runStep(command, argumentList, environment) {
  const result = spawnSync(command, argumentList, {
    ...settings(environment),
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (result.error) console.error(`${command}: ${result.error.message}`);
  return result.status ?? 1;
}

/**
 * Runs a program in the workspace root, or in `cwd`, beside others; its output is kept back: { code, output, answer, seconds }, the
 * answer without what went to stderr.
 */
export function runBeside(command, argumentList, { cwd = root } = {}) {
  const started = performance.now();
  return new Promise((settle) => {
    const child = spawn(command, argumentList, { ...settings(), cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    let [output, answer] = ['', ''];
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => (output += text));
    child.stdout.on('data', (text) => (answer += text));
    const end = (code) => settle({ code, output, answer, seconds: (performance.now() - started) / 1000 });
    child.on('error', (error) => {
      output += `${command}: ${error.message}\n`;
      end(1);
    });
    child.on('close', (code) => end(code ?? 1));
  });
}

/** Does the work of every item, as many at a time as there are processors, in order of the items. */
export async function eachInParallel(items, work) {
  const waiting = items.values();
  const take = async () => {
    for (const item of waiting) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, take));
}

/** pnpm 10 through npx, so that Node and npm are all a machine needs. */
export const pnpm = (argumentList) => ['npx', ['--yes', 'pnpm@10', ...argumentList]];

/**
 * Installs exactly what the lock file names and builds: 'build' every package, 'build:code' the command line alone, without
 * types and without the demo's page, which are the slow parts.
 */
export function installAndBuild(script = 'build') {
  return (
    runStep(...pnpm(['install', '--frozen-lockfile', '--reporter=append-only'])) || runStep(...pnpm(['run', script]))
  );
}
