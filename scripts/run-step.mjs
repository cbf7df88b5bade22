import { spawnSync } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

/** Runs a program in the workspace root with its output shown, and returns its exit code. */
export function runStep(command, argumentList, environment = {}) {
  const result = spawnSync(command, argumentList, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1', ...environment },
    shell: process.platform === 'win32',
  });
  if (result.error) console.error(`${command}: ${result.error.message}`);
  return result.status ?? 1;
}

/** pnpm 10 through npx, so that Node and npm are all a machine needs. */
export function runPnpm(argumentList, environment) {
  return runStep('npx', ['--yes', 'pnpm@10', ...argumentList], environment);
}

/** Installs exactly what the lock file names and builds every package. */
export function installAndBuild() {
  return runPnpm(['install', '--frozen-lockfile', '--reporter=append-only']) || runPnpm(['run', 'build']);
}
