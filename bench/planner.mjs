// What `kvlr compress --cache-bytes` chooses from few measurements, beside the best of everything that `kvlr compare --bytes` measured.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readTextFiles } from '@kvlr/calibration';
import { openSource } from '@kvlr/checkpoint/node';
import { comparePerplexities } from '@kvlr/evaluation';
import { cacheEngines, headsRows, parseRecipe } from '@kvlr/pipeline';
import { createWorkerPool, planCacheToDirectory } from '@kvlr/pipeline/node';
import { referenceModelDirectory, referenceTextPaths } from '@kvlr/reference-model/node';
import { bestWithin } from '@kvlr/report';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { describeMachine } from './lib/describe-machine.mjs';
import { markdownFooter } from './lib/markdown-footer.mjs';
import { readOptions } from './lib/read-options.mjs';
import { writeResults } from './lib/write-results.mjs';

const options = readOptions(
  `node bench/planner.mjs --comparison DIR [--model CKPT] [--calibration FILE] [--text FILE] [--engines kvlr,llama.cpp]
  [--budgets 50,25,12,6] [--windows 4] [--note TEXT] [--output PATH]
DIR is the output of \`kvlr compare --bytes\` of the same model and texts; DIR.plan keeps what the plans measure. Budgets in percent of f16.`,
  {
    comparison: undefined,
    model: 'embedded',
    calibration: referenceTextPaths.calibration,
    text: referenceTextPaths.validation,
    engines: ['kvlr', 'llama.cpp'],
    budgets: ['50', '25', '12.5', '6.25'],
    windows: 4,
    note: undefined,
    output: undefined,
  },
);

const environment = describeMachine();
await prepareNodeRuntime();
const measured = JSON.parse(await readFile(join(options.comparison, 'frontier.json'), 'utf8'));
const model = await openSource(options.model === 'embedded' ? referenceModelDirectory : options.model);
const workers = createWorkerPool(2);
const rows = [];
for (const engine of options.engines) {
  for (const budget of options.budgets.map((percent) => Number(percent) / 100))
    rows.push(await planOne(engine, budget));
}
await workers.close();
await model.close();
const report = {
  title: 'What the planner chooses, and the best there is',
  rows,
  environment,
  notes: [
    ...(options.note === undefined ? [] : [options.note]),
    `Plans from ${options.windows} windows of each source. Both columns: change of perplexity on the ${measured.base.windowCount} windows of the comparison, whose measurements chose the best. Apart: perplexity of the plan over that of the best, paired over windows.`,
  ],
};
await writeResults(options.output, report, toMarkdown);

async function planOne(engine, budget) {
  const { numKeyValueHeads } = model.shape;
  const recipe = parseRecipe({
    headWidth: 'auto',
    recovery: { preset: 'none' },
    evaluation: { windowsPerSource: options.windows },
  });
  const ratios = Array.from({ length: numKeyValueHeads - 1 }, (_, i) => (i + 1) / numKeyValueHeads)
    .filter((share) => Number.isInteger(1 / share))
    .reverse();
  const context = measured.contexts[0];
  const { plan } = await planCacheToDirectory({
    ...{ model, modelLocation: options.model, recipe, engine, context, budget: { share: budget } },
    rows: headsRows({ model, recipe, ratios }),
    texts: { calibration: await documentsOf(options.calibration), evaluation: await documentsOf(options.text) },
    runtime: { backend: 'wasm', workers },
    output: `${options.comparison.replace(/\/+$/, '')}.plan`,
    onEvent: (event) => event.type === 'stage-started' && console.error(event.title),
  });
  const { heads, headsTitle, cache } = plan.chosen;
  const chosen = measured.points.find((point) => point.heads === heads && point.cache === cache);
  const best = bestWithin(measured, budget, 0, engine);
  const row = { engine, budget, chosen: `${headsTitle}, ${cache}`, best: best && `${best.headsTitle}, ${best.cache}` };
  if (chosen === undefined) return { ...row, missing: 'not in the comparison', own: plan.chosen.measured };
  const tokensPerWindow = chosen.perplexity.tokenCount / chosen.windows.sources.length;
  const { perplexityRatio: apart } = comparePerplexities(chosen.windows, best.windows, tokensPerWindow);
  return { ...row, chosenRatio: chosen.perplexityRatio, bestRatio: best.perplexityRatio, apart };
}

async function documentsOf(path) {
  return readTextFiles([{ name: path, bytes: await readFile(path) }]);
}

function toMarkdown({ title, rows: all, environment, notes }) {
  const percent = (value) => (100 * value).toFixed(2);
  const change = ({ value, standardError }) => {
    const error = standardError === undefined ? '' : ` ± ${percent(standardError)}`;
    return `${value >= 1 ? '+' : ''}${percent(value - 1)}${error} %`;
  };
  return [
    `# ${title}`,
    '',
    '| engine | budget | chosen | its change | best | its change | apart |',
    '| :-- | --: | :-- | --: | :-- | --: | --: |',
    ...all.map((row) => {
      const { engine, budget, chosen, best, missing } = row;
      const cells = [cacheEngines[engine].title, `${100 * budget} %`, chosen];
      const rest = missing
        ? [`${missing}; its own: ${change(row.own)}`, best ?? 'none', '', '']
        : [change(row.chosenRatio), best, change(row.bestRatio), chosen === best ? 'the same' : change(row.apart)];
      return `| ${[...cells, ...rest].join(' | ')} |`;
    }),
    ...markdownFooter(environment, notes),
  ].join('\n');
}
