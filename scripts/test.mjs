// Everything that must hold: build, types, lint, import directions, package files, unit and browser tests.
// The last line is "N passed, N failed"; each check before the tests counts as one.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureChromium } from './find-chromium.mjs';
import { installAndBuild, runPnpm } from './run-step.mjs';

let passed = 0;
let failed = 0;
let skipped = 0;

function check(title, work) {
  console.log(`\n== ${title}`);
  const good = work() === 0;
  if (good) passed += 1;
  else failed += 1;
  console.log(`== ${title}: ${good ? 'passed' : 'FAILED'}`);
}

function finish() {
  if (skipped > 0) console.log(`${skipped} skipped: their names above say why`);
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}

check('install and build', installAndBuild);
if (failed) finish();
const chromium = ensureChromium();
check('types', () => runPnpm(['run', 'typecheck']));
check('lint', () => runPnpm(['run', 'lint']));
check('import directions', () => runPnpm(['run', 'imports']));
check('unused code', () => runPnpm(['run', 'unused']));
check('package files', () => runPnpm(['run', 'packages']));

const results = mkdtempSync(join(tmpdir(), 'kvlr-test-'));
const resultFile = join(results, 'results.json');
console.log('\n== tests');
runPnpm(['exec', 'vitest', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${resultFile}`], {
  ...(chromium ? { CHROMIUM_PATH: chromium } : {}),
});
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
