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
process.exit(code);
