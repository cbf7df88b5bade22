// The packages as users install them: packed, installed by npm into an empty project, imported, type-checked with every example of
// the documents, and served and built by Vite with its default settings, as pages that Chromium opens.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, sep } from 'node:path';
import { chromium } from 'playwright-core';
import ts from 'typescript';
import { build, createServer, preview } from 'vite';
import { codeBlocks } from './code-blocks.mjs';
import { findChromium } from './find-chromium.mjs';
import { packInto, publishedPackages } from './packages.mjs';
import { root, runBeside } from './run-step.mjs';

const project = mkdtempSync(join(tmpdir(), 'kvlr-installed-'));
const installed = join(project, 'node_modules');
let problems = 0;

function report(label, output) {
  problems += 1;
  console.error(`FAILED ${label}\n${output}`);
}

async function check(label, work) {
  const started = performance.now();
  const found = problems;
  await work().catch((error) => report(label, error.stack));
  if (problems === found) console.log(`${label} (${((performance.now() - started) / 1000).toFixed(0)} s)`);
}

/** A program in the project: its answer, or an error with its output. npm has warnings of its own beside an answer. */
async function run(command, argumentList) {
  const { code, output, answer } = await runBeside(command, argumentList, { cwd: project });
  if (code !== 0) throw new Error(`${command} ${argumentList.join(' ')} ended with ${code}\n${output}`);
  return answer;
}

async function install() {
  const packages = join(project, 'tarballs');
  mkdirSync(packages);
  const { code, output, tarballs } = await packInto(packages);
  if (code !== 0) throw new Error(output);
  writeFileSync(join(project, 'package.json'), '{ "name": "empty-project", "private": true, "type": "module" }\n');
  const settings = ['--no-audit', '--no-fund', '--prefer-offline', '--ignore-scripts'];
  await run('npm', ['install', ...settings, ...tarballs.values()]);
  if (existsSync(join(installed, 'webgpu')))
    report('install', 'expected webgpu to be installed only by who asks for it');
  const weights = readdirSync(installed, { recursive: true }).filter((name) =>
    name.endsWith(`${sep}model.safetensors`),
  );
  const copies = weights.concat(
    readdirSync(join(installed, 'kvlr/dist/demo/assets')).filter((name) => /^model-/.test(name)),
  );
  if (copies.length !== 1) report('install', `expected one copy of the embedded model, found ${copies.join(', ')}`);
}

/** Every entry of every package, in Node, and the command line. */
async function importEntries() {
  const entries = publishedPackages.flatMap(({ name, exports = {} }) =>
    Object.keys(exports)
      .filter((entry) => !/\*|json$|worker$/.test(entry))
      .map((entry) => name + entry.slice(1)),
  );
  const script = entries.map((entry) => `await import('${entry}');`).join('\n');
  writeFileSync(join(project, 'import-entries.mjs'), script);
  await run('node', ['import-entries.mjs']);
  const { version } = publishedPackages.find(({ name }) => name === 'kvlr');
  const answer = await run('npx', ['kvlr', '--version']);
  if (answer.trim() !== version) report('kvlr --version', `expected ${version}, got ${answer}`);
  await run('npx', ['kvlr', 'inspect', 'node_modules/@kvlr/reference-model/model']);
}

/**
 * The examples of the documents, strictly, as TypeScript resolves modules in Node and for bundlers; the types of the packages
 * themselves are checked as well.
 */
async function checkTypes() {
  const folder = join(project, 'examples');
  mkdirSync(folder, { recursive: true });
  // The packages that examples ask their readers to install beside kvlr's.
  symlinkSync(join(root, 'packages/engine-onnx/node_modules/onnxruntime-node'), join(installed, 'onnxruntime-node'));
  const transformers = '@huggingface/transformers';
  symlinkSync(join(root, 'apps/cli/node_modules', transformers), join(installed, transformers));
  const places = new Map();
  for (const [n, block] of codeBlocks().entries()) {
    const file = join(folder, `example-${n}.ts`);
    // Without an import or export TypeScript takes a file for a script, whose names are global.
    writeFileSync(file, `${block.code}\nexport {};\n`);
    places.set(file, block);
  }
  const { Node16, ESNext } = ts.ModuleKind;
  const found = new Set();
  for (const [module, moduleResolution] of [
    [Node16, ts.ModuleResolutionKind.Node16],
    [ESNext, ts.ModuleResolutionKind.Bundler],
  ]) {
    const program = ts.createProgram([...places.keys()], {
      module,
      moduleResolution,
      target: ts.ScriptTarget.ES2022,
      lib: ['lib.es2023.d.ts', 'lib.dom.d.ts', 'lib.dom.asynciterable.d.ts', 'lib.dom.iterable.d.ts'],
      types: ['node'],
      typeRoots: [join(root, 'node_modules/@types')],
      strict: true,
      noEmit: true,
      skipLibCheck: false,
    });
    for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
      if (counts(diagnostic, places)) found.add(`${placeOf(diagnostic, places)}: ${messageOf(diagnostic)}`);
    }
  }
  for (const problem of found) report('types', problem);
  console.log(`${places.size} examples type-checked`);
}

/** "Implicitly has an 'any' type": JavaScript has no place to name the types of parameters. */
const IMPLICIT_ANY = [7006, 7031];

/** TensorFlow.js 4.22 and the types of WebGPU that it brings are not free of errors against today's libraries: not counted. */
function counts({ file, start, code }, places) {
  const example = file && places.get(file.fileName);
  // What is continued is an example of its own.
  if (example && lineOf(file, start) < example.ownFrom) return false;
  if (example) return example.language.startsWith('t') || !IMPLICIT_ANY.includes(code);
  return !file || file.fileName.includes('/node_modules/@kvlr/');
}

const messageOf = ({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n');

function placeOf({ file, start }, places) {
  if (!file) return 'settings';
  const line = lineOf(file, start);
  const place = places.get(file.fileName);
  return place ? `${place.document}:${place.line + line - place.ownFrom}` : `${file.fileName}:${line + 1}`;
}

const lineOf = (file, start) => file.getLineAndCharacterOfPosition(start).line;

const PAGE = `<!doctype html><meta charset="utf-8"><title>kvlr</title><link rel="icon" href="data:,"><p></p>
<script type="module" src="/main.js"></script>`;

const MAIN = `import { loadModel } from '@kvlr/runtime';
const address = new URL('/model/', location.href).href;
const model = await loadModel(address);
const text = await model.complete('And God said unto', { maxNewTokens: 8 });
await model.dispose();
const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
worker.onmessage = ({ data }) => (document.querySelector('p').textContent = text + data);
worker.postMessage(address);
`;

/** Compresses in the page, in a worker, and runs the result. */
const WORKER = `import { readTexts } from '@kvlr/calibration';
import { openSource } from '@kvlr/checkpoint';
import { compress } from '@kvlr/pipeline';
import { loadModel } from '@kvlr/runtime';
onmessage = async ({ data: address }) => {
  const text = await (await fetch('/texts/validation.jsonl')).text();
  const documents = readTexts([{ name: 'validation.jsonl', text }]);
  const run = await compress({
    model: await openSource(address),
    texts: { calibration: documents, evaluation: documents },
    recipe: {
      keyValueHeads: 2,
      headWidth: 1,
      calibration: { windows: 4, windowLength: 128 },
      recovery: { preset: 'none' },
      evaluation: { windowsPerSource: 1, windowLength: 33 },
    },
  });
  const model = await loadModel(run.writtenModel);
  const { length } = await model.logits(Int32Array.of(1, 2, 3));
  postMessage(\`; \${run.writtenModel.shape.numKeyValueHeads} heads, \${length / 3 === model.vocabSize}\`);
  model.dispose();
};
`;

/** A page that Vite makes without a word of configuration, in Chromium: it generates and compresses, and nothing complains. */
async function openPages() {
  const files = { 'index.html': PAGE, 'main.js': MAIN, 'worker.js': WORKER };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(project, name), text);
  mkdirSync(join(project, 'public'));
  for (const folder of ['model', 'texts'])
    symlinkSync(join(installed, '@kvlr/reference-model', folder), join(project, 'public', folder));
  const settings = { root: project, configFile: false, logLevel: 'warn' };
  const development = await createServer({ ...settings, server: { port: 0 } });
  await development.listen();
  // While it develops, Vite reloads a page whose worker names packages that it has not prepared yet; requests under way are told so.
  await openPage('vite dev', development, [OUTDATED]);
  await build(settings);
  await openPage('vite build, vite preview', await preview({ ...settings, preview: { port: 0 } }), []);
}

/** HTTP status of Vite's "Outdated Optimize Dep". */
const OUTDATED = 504;

async function openPage(label, server, expected) {
  const browser = await chromium.launch({ executablePath: findChromium(), args: ['--no-sandbox'] });
  const isExpected = (status) => expected.includes(status);
  try {
    const page = await browser.newPage();
    page.on('console', (message) => {
      const isAnnounced = expected.some((status) => message.text().includes(`status of ${status}`));
      if (message.type() === 'error' && !isAnnounced) report(`${label}: console`, message.text());
    });
    page.on('pageerror', (error) => report(label, error.stack));
    page.on('response', (response) => {
      if (!response.ok() && !isExpected(response.status())) report(label, `${response.status()} ${response.url()}`);
    });
    await page.goto(server.resolvedUrls.local[0]);
    await page.waitForFunction("document.querySelector('p')?.textContent", undefined, { timeout: 120_000 });
    const text = await page.textContent('p');
    if (text !== ' him, Behold, I will send thee; 2 heads, true') report(label, `unexpected text: ${text}`);
  } finally {
    await browser.close();
    await server.close();
  }
}

await check('packed, and installed by npm', install);
if (problems === 0) {
  await check('every entry is imported, kvlr runs', importEntries);
  await check('types with node16 and bundler', checkTypes);
  if (findChromium()) await check('pages by Vite, in Chromium', openPages);
  else report('pages by Vite', 'expected Chromium, found none: set CHROMIUM_PATH');
}
rmSync(project, { recursive: true, force: true });
console.log(`${problems} problems with ${publishedPackages.length} packages as they are installed`);
process.exit(problems === 0 ? 0 : 1);
