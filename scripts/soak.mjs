// Lets the runtime work for long, on every backend that this machine has: 1,000 tokens, 20 loads, 200 requests that are aborted. What
// the process holds (tensors, bytes, open files) is printed half-way and at the end, and must not differ: `npm run soak`.
import { spawn } from 'node:child_process';

const child = spawn('npx', ['vitest', 'run', 'packages/runtime/src/node/soak.test.ts', ...process.argv.slice(2)], {
  stdio: 'inherit',
  shell: process.platform === 'win32',
  env: { ...process.env, KVLR_SOAK: 'full' },
});
child.on('exit', (code) => process.exit(code ?? 1));
