// The main job on the embedded model: install, build, compress to half of the KV heads, evaluate, report.
import { installAndBuild, runStep } from './run-step.mjs';

const code =
  installAndBuild('build:code') ||
  runStep('node', [
    'apps/cli/dist/main.js',
    'compress',
    '--output',
    'out/kvlr-reference-6m-half',
    '--recipe',
    'quick',
    '--overwrite',
    ...process.argv.slice(2),
  ]);
if (code === 0) {
  console.log(
    '\nNext: npm run demo    the page that shows both models side by side; the first time it is built, in a minute or two',
  );
}
process.exit(code);
