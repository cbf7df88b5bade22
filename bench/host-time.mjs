// Processor time of the main thread for a token, with recorded steps and without, on Dawn's null backend, which computes nothing.
import { readFileSync } from 'node:fs';
import { measureHostTime, percentile } from '@kvlr/benchmark';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { describeMachine } from './lib/describe-machine.mjs';
import { markdownFooter } from './lib/markdown-footer.mjs';
import { readOptions } from './lib/read-options.mjs';
import { writeResults } from './lib/write-results.mjs';

const options = readOptions(
  `node bench/host-time.mjs [--layers 30] [--capacity 2048] [--tokens 64] [--lot 4] [--rounds 5] [--note TEXT] [--output PATH]
For Linux: the main thread's time is read from /proc.`,
  { layers: 30, capacity: 2048, tokens: 64, lot: 4, rounds: 5, note: undefined, output: undefined },
);

const environment = describeMachine();
await prepareNodeRuntime({ dawn: ['backend=null'] });
const { layers, capacity, tokens, lot, rounds, note, output } = options;
const times = await measureHostTime({
  ...{ layers, capacity, tokens, rounds, tokensPerReadback: lot },
  threadTime: () => Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6,
});
const report = {
  title: 'Main-thread processor time of a token on a device that computes nothing',
  rounds,
  ...times,
  environment: { ...environment, backend: "Dawn's null backend" },
  notes: [
    ...(note === undefined ? [] : [note]),
    `${layers} layers, a cache of ${capacity} places, ${tokens} tokens a round, ${lot} read together; medians over ${rounds} rounds, in which both take turns.`,
    "A driver's own time is not in it.",
  ],
};
await writeResults(output, report, toMarkdown);
// Dawn would keep the process.
process.exit(0);

function toMarkdown({ title, recorded, stepByStep, ratios, environment, notes }) {
  const row = (name, { milliseconds, ...counts }) =>
    `| ${[name, milliseconds.toFixed(3), ...Object.values(counts).map((count) => count.toFixed(2))].join(' | ')} |`;
  return [
    `# ${title}`,
    '',
    `| a token | ms | ${Object.keys(recorded).slice(1).join(' | ')} |`,
    `| :-- | ${Object.keys(recorded).fill('--:').join(' | ')} |`,
    row('recorded', recorded),
    row('step by step', stepByStep),
    '',
    `Step by step takes ${percentile(ratios, 0.5).toFixed(1)} times as long (${Math.min(...ratios).toFixed(1)} to ${Math.max(...ratios).toFixed(1)}).`,
    ...markdownFooter(environment, notes),
  ].join('\n');
}
