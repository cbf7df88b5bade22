// The main job on the embedded model: install, build, compress to half of the KV heads, evaluate, report.
import { installAndBuild, runStep } from './run-step.mjs';

const code =
  installAndBuild() ||
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
if (code === 0) console.log('\nNext: npx kvlr demo    the two models side by side, in the browser');
process.exit(code);
