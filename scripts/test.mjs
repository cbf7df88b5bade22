// Everything that must hold: build, types, lint, import directions, package files, unit and browser tests.
// The last line is "N passed, N failed"; each check before the tests counts as one.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureChromium } from './find-chromium.mjs';
import { eachInParallel, installAndBuild, pnpm, runBeside, runStep } from './run-step.mjs';

let passed = 0;
let failed = 0;
let skipped = 0;

function count(title, code, seconds) {
  if (code === 0) passed += 1;
  else failed += 1;
  console.log(`== ${title}: ${code === 0 ? 'passed' : 'FAILED'} (${seconds.toFixed(0)} s)`);
}

function finish() {
  if (skipped > 0) console.log(`${skipped} skipped: their names above say why`);
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}

const started = performance.now();
console.log('== install and build');
count('install and build', installAndBuild(), (performance.now() - started) / 1000);
if (failed) finish();
const chromium = ensureChromium();

// The longest first.
const checks = [
  ['packages as they are installed', 'installed'],
  ['package files', 'packages'],
  ['types', 'typecheck'],
  ['import directions', 'imports'],
  ['unused code', 'unused'],
  ['lint', 'lint'],
];
await eachInParallel(checks, async ([title, script]) => {
  const { code, output, seconds } = await runBeside(...pnpm(['run', script]));
  console.log(`\n== ${title}\n${output}`);
  count(title, code, seconds);
});

const results = mkdtempSync(join(tmpdir(), 'kvlr-test-'));
const resultFile = join(results, 'results.json');
console.log('\n== tests');
const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${resultFile}`];
runStep(...pnpm(['exec', 'vitest', 'run', ...reporters]), chromium ? { CHROMIUM_PATH: chromium } : {});
try {
  const report = JSON.parse(readFileSync(resultFile, 'utf8'));
  passed += report.numPassedTests;
  skipped += report.numPendingTests + report.numTodoTests;
  // A file that could not be loaded fails as a suite without a failed test.
  const brokenFiles = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  ).length;
  failed += report.numFailedTests + brokenFiles;
} catch (error) {
  console.error(`The tests left no result: ${error.message}`);
  failed += 1;
}
rmSync(results, { recursive: true, force: true });
finish();
