// Prints what the stages of a compression cost for large shapes: the table of docs/scale.md. Operations and bytes follow from the
// shapes; seconds from the speeds below, of which only the first two were measured (bench/results, docs/log.md).
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { windows: { type: 'string', default: '48' }, length: { type: 'string', default: '512' } },
});
const tokens = Number(values.windows) * Number(values.length);

/** Sizes as the config.json of each model states them. */
const shapes = {
  '7B (Llama-2)': { layers: 32, hidden: 4096, inner: 11008, heads: 32, keyValueHeads: 32, vocabulary: 32000 },
  '13B (Llama-2)': { layers: 40, hidden: 5120, inner: 13824, heads: 40, keyValueHeads: 40, vocabulary: 32000 },
  '70B (Llama-3.1)': { layers: 80, hidden: 8192, inner: 28672, heads: 64, keyValueHeads: 8, vocabulary: 128256 },
};

/** Products a second of large matrices, in float32. */
const speeds = { 'one core, WASM': 15e9, 'one core, native': 150e9, 'laptop GPU': 5e12, 'server GPU': 50e12 };

const rows = Object.entries(shapes).map(([name, shape]) => ({ name, ...costs(shape) }));
const columns = [
  'Model',
  'Weights, F16',
  'One layer, F32',
  'Statistics on disk',
  'Operations, calibration',
  ...Object.keys(speeds),
];
console.log(`Calibration on ${tokens.toLocaleString('en-US')} tokens:\n`);
console.log(
  `| ${columns.join(' | ')} |\n| :-- | ${columns
    .slice(1)
    .map(() => '--:')
    .join(' | ')} |`,
);
for (const { name, weights, layer, statistics, operations } of rows) {
  const times = Object.values(speeds).map((speed) => duration(operations / speed));
  const cells = [
    name,
    gigabytes(weights),
    gigabytes(layer),
    gigabytes(statistics),
    `${(operations / 1e12).toFixed(0)} T`,
  ];
  console.log(`| ${[...cells, ...times].join(' | ')} |`);
}

function costs({ layers, hidden, inner, heads, keyValueHeads, vocabulary }) {
  const headDim = hidden / heads;
  const keyWidth = keyValueHeads * headDim;
  const ofLayer = hidden * (2 * hidden + 2 * keyWidth + 3 * inner);
  const parameters = layers * ofLayer + 2 * vocabulary * hidden;
  const moments = layers * (2 * hidden ** 2 + 3 * keyWidth ** 2 + 2 * heads * headDim ** 2);
  return {
    weights: 2 * parameters,
    layer: 4 * ofLayer,
    statistics: 8 * moments,
    // A forward pass without the head, and the sums of products, of which one half is computed.
    operations: tokens * (2 * layers * ofLayer + moments),
  };
}

function gigabytes(bytes) {
  return `${(bytes / 1e9).toPrecision(3)} GB`;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toPrecision(2)} h`;
}
