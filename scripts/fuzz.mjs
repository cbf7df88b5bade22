// Tries wrong files of every kind that kvlr reads: `npm run fuzz [-- INPUTS [SEED]]`. The seed is printed; what fails is kept in
// apps/cli/tests/fuzz/failed, and tried again by every `npm test`.
import { spawn } from 'node:child_process';

const [inputs = '10000', seed = String(Date.now() % 1e9)] = process.argv.slice(2);
console.log(`${inputs} inputs from seed ${seed}`);
const child = spawn('npx', ['vitest', 'run', 'apps/cli/tests/fuzz/fuzz.test.ts'], {
  stdio: 'inherit',
  shell: process.platform === 'win32',
  env: { ...process.env, KVLR_FUZZ_INPUTS: inputs, KVLR_FUZZ_SEED: seed },
});
child.on('exit', (code) => process.exit(code ?? 1));
