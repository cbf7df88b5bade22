// The demo's page: installed and built where it is not, then served on this machine: npm run demo [-- --port N]
import { installAndBuild, runStep } from './run-step.mjs';

console.log('Builds the page, and the compressed models that it ships: a minute or two, once');
const code =
  installAndBuild('build:demo') || runStep('node', ['apps/cli/dist/main.js', 'demo', ...process.argv.slice(2)]);
process.exit(code);
