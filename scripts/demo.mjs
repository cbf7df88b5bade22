// The demo's page: built where it is not, then served on this machine: npm run demo [-- --port N]
import { pnpm, runStep } from './run-step.mjs';

console.log('Builds the page, and the compressed models that it ships: a minute or two, once');
const code =
  runStep(...pnpm(['--silent', 'run', 'build:demo', '--output-logs=errors-only'])) ||
  runStep('node', ['apps/cli/dist/main.js', 'demo', ...process.argv.slice(2)]);
process.exit(code);
