// Decode attention alone against context length, KV heads and cache dtype, beside the bandwidth of copying.
import { benchmarkAttention } from '@kvlr/benchmark';
import { attentionMarkdown } from '@kvlr/report';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { describeMachine } from './lib/describe-machine.mjs';
import { readOptions } from './lib/read-options.mjs';
import { writeResults } from './lib/write-results.mjs';

const options = readOptions(
  `node bench/attention.mjs [--backend auto] [--heads 8] [--head-dim 72] [--kv-heads 8,4,2,1]
  [--contexts 512,2048,8192,32768] [--dtypes f32,f16,int8] [--rounds 5] [--turn-ms 50] [--note TEXT] [--output PATH]`,
  {
    backend: 'auto',
    heads: 8,
    'head-dim': 72,
    'kv-heads': [8, 4, 2, 1],
    contexts: [512, 2048, 8192, 32768],
    dtypes: ['f32', 'f16', 'int8'],
    rounds: 5,
    'turn-ms': 50,
    note: undefined,
    output: undefined,
  },
);

const environment = describeMachine();
await prepareNodeRuntime();
const report = await benchmarkAttention({
  backend: options.backend,
  numAttentionHeads: options.heads,
  headDim: options['head-dim'],
  keyValueHeads: options['kv-heads'],
  contexts: options.contexts,
  dtypes: options.dtypes,
  rounds: options.rounds,
  turnMilliseconds: options['turn-ms'],
  onEvent: ({ message }) => console.error(message),
});
const notes = options.note === undefined ? report.notes : [options.note, ...report.notes];
await writeResults(
  options.output,
  { ...report, notes, environment: { ...environment, ...report.environment } },
  attentionMarkdown,
);
