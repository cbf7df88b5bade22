// Writes a checkpoint of a real model's shape with random weights, to measure time and memory where the real weights are not at hand:
//   node scripts/synthetic-checkpoint.mjs SHAPE DIRECTORY [SEED]
// Entry (i, j) of a matrix is normal with standard deviation c (1 + p(j))^-0.4, p a random order of the columns: singular values
// fall as those of trained weights do, and no factorisation is needed. The tokenizer is the embedded model's, whose ids every
// vocabulary here contains.
import { copyFile, mkdir, open, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const llama3Rope = {
  rope_type: 'llama3',
  ...{ factor: 32, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 },
};

/** The sizes as the config.json of each model states them. */
const shapes = {
  'smollm2-135m': {
    ...{ hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30, vocab_size: 49152 },
    ...{ num_attention_heads: 9, num_key_value_heads: 3, max_position_embeddings: 8192 },
    ...{ rope_theta: 100000, tie_word_embeddings: true },
  },
  'qwen2.5-0.5b': {
    ...{ model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'] },
    ...{ hidden_size: 896, intermediate_size: 4864, num_hidden_layers: 24, vocab_size: 151936 },
    ...{ num_attention_heads: 14, num_key_value_heads: 2, max_position_embeddings: 32768 },
    ...{ rope_theta: 1000000, tie_word_embeddings: true },
  },
  'llama-3.2-1b': {
    ...{ hidden_size: 2048, intermediate_size: 8192, num_hidden_layers: 16, vocab_size: 128256 },
    ...{ num_attention_heads: 32, num_key_value_heads: 8, max_position_embeddings: 131072 },
    ...{ rope_theta: 500000, rope_scaling: llama3Rope, tie_word_embeddings: true },
  },
  'tinyllama-1.1b-mha': {
    ...{ hidden_size: 2048, intermediate_size: 5632, num_hidden_layers: 22, vocab_size: 32000 },
    ...{ num_attention_heads: 32, num_key_value_heads: 32, max_position_embeddings: 2048 },
    ...{ rope_theta: 10000, tie_word_embeddings: false },
  },
  'llama-2-7b': {
    ...{ hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 32, vocab_size: 32000 },
    ...{ num_attention_heads: 32, num_key_value_heads: 32, max_position_embeddings: 4096 },
    ...{ rope_theta: 10000, tie_word_embeddings: false },
  },
};

const [name, directory, seed = '0'] = process.argv.slice(2);
if (shapes[name] === undefined || directory === undefined) {
  console.error(`usage: node scripts/synthetic-checkpoint.mjs ${Object.keys(shapes).join('|')} DIRECTORY [SEED]`);
  process.exit(2);
}
const config = {
  ...{ model_type: 'llama', architectures: ['LlamaForCausalLM'], hidden_act: 'silu', rms_norm_eps: 1e-5 },
  ...{ torch_dtype: 'float16', bos_token_id: 0, eos_token_id: 0 },
  ...shapes[name],
};

const shardBytes = 2e9;
const poolSize = 2 ** 20 + 7;
const random = createRandom(Number(seed));
const normals = Float32Array.from({ length: poolSize }, () => {
  const radius = Math.sqrt(-2 * Math.log(1 - random()));
  return radius * Math.cos(2 * Math.PI * random());
});

const shards = planShards(listTensors(config));
await mkdir(directory, { recursive: true });
for (const shard of shards) await writeShard(join(directory, shard.file), shard.tensors);
await writeJson('config.json', config);
const weightMap = shards.flatMap(({ file, tensors }) => tensors.map((tensor) => [tensor.name, file]));
const total = shards.flatMap(({ tensors }) => tensors).reduce((sum, { count }) => sum + 2 * count, 0);
if (shards.length > 1) {
  await writeJson('model.safetensors.index.json', {
    metadata: { total_size: total },
    weight_map: Object.fromEntries(weightMap),
  });
}
const embedded = join(dirname(fileURLToPath(import.meta.url)), '../packages/reference-model/model');
for (const file of ['tokenizer.json', 'tokenizer_config.json'])
  await copyFile(join(embedded, file), join(directory, file));
console.log(`${directory}: ${name}, ${(total / 1e9).toFixed(2)} GB of F16 in ${shards.length} files`);

function writeJson(file, value) {
  return writeFile(join(directory, file), `${JSON.stringify(value, undefined, 2)}\n`);
}

/** Every tensor in the order of the layers, with the size that its product with a normed input is to have. */
function listTensors(model) {
  const { hidden_size: hidden, intermediate_size: inner, num_hidden_layers: layers, vocab_size: vocab } = model;
  const headDim = hidden / model.num_attention_heads;
  const keyWidth = model.num_key_value_heads * headDim;
  const matrix = (name, rows, columns, size) => ({ name, shape: [rows, columns], count: rows * columns, size });
  const vector = (name, length, value) => ({ name, shape: [length], count: length, value });
  const residual = 0.3 / Math.sqrt(layers);
  const ofLayer = (layer) => {
    const [at, attention] = [`model.layers.${layer}`, `model.layers.${layer}.self_attn`];
    const biases = model.model_type === 'qwen2' ? { q: hidden, k: keyWidth, v: keyWidth } : {};
    return [
      vector(`${at}.input_layernorm.weight`, hidden, 1),
      matrix(`${attention}.q_proj.weight`, hidden, hidden, 1),
      matrix(`${attention}.k_proj.weight`, keyWidth, hidden, 1),
      matrix(`${attention}.v_proj.weight`, keyWidth, hidden, 1),
      matrix(`${attention}.o_proj.weight`, hidden, hidden, residual),
      ...Object.entries(biases).map(([side, length]) => vector(`${attention}.${side}_proj.bias`, length, 0.1)),
      vector(`${at}.post_attention_layernorm.weight`, hidden, 1),
      matrix(`${at}.mlp.gate_proj.weight`, inner, hidden, 1),
      matrix(`${at}.mlp.up_proj.weight`, inner, hidden, 1),
      matrix(`${at}.mlp.down_proj.weight`, hidden, inner, residual),
    ];
  };
  return [
    matrix('model.embed_tokens.weight', vocab, hidden, 1),
    ...Array.from({ length: layers }, (_, layer) => ofLayer(layer)).flat(),
    vector('model.norm.weight', hidden, 1),
    ...(model.tie_word_embeddings ? [] : [matrix('lm_head.weight', vocab, hidden, 1)]),
  ];
}

function planShards(tensors) {
  const parts = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    if (bytes > 0 && bytes + 2 * tensor.count > shardBytes) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1).push(tensor);
    bytes += 2 * tensor.count;
  }
  const digits = (number) => String(number).padStart(5, '0');
  return parts.map((part, index) => ({
    file:
      parts.length === 1 ? 'model.safetensors' : `model-${digits(index + 1)}-of-${digits(parts.length)}.safetensors`,
    tensors: part,
  }));
}

async function writeShard(path, tensors) {
  const header = {};
  let end = 0;
  for (const { name: tensor, shape, count } of tensors) {
    header[tensor] = { dtype: 'F16', shape, data_offsets: [end, end + 2 * count] };
    end += 2 * count;
  }
  const text = JSON.stringify(header);
  const bytes = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  const file = await open(path, 'w');
  try {
    await file.write(Buffer.concat([length, bytes]));
    for (const tensor of tensors) {
      for (const piece of pieces(tensor)) await file.writeFile(piece);
    }
  } finally {
    await file.close();
  }
}

/** The bytes of a tensor, some rows at a time. */
function* pieces({ shape, value, size }) {
  const [rows, columns] = shape.length === 1 ? [1, shape[0]] : shape;
  const scales = columnScales(columns, size);
  const rowsAtOnce = Math.max(1, Math.floor(2 ** 22 / columns));
  for (let start = 0; start < rows; start += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, rows - start);
    const values = new Float32Array(count * columns);
    if (value !== undefined) values.fill(value);
    else fillNormal(values, columns, scales);
    yield toFloat16(values);
  }
}

/** Standard deviations by column: of such a size that products with inputs of mean square 1 have mean square size^2. */
function columnScales(columns, size) {
  const order = Array.from({ length: columns }, (_, column) => column);
  for (let last = columns - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  const scales = Float32Array.from(order, (place) => (1 + place) ** -0.4);
  const energy = scales.reduce((sum, scale) => sum + scale * scale, 0);
  return scales.map((scale) => (scale * size) / Math.sqrt(energy));
}

/** Rows are stretches of one pool of normal numbers, each from a random place. */
function fillNormal(values, columns, scales) {
  for (let start = 0; start < values.length; start += columns) {
    let place = Math.floor(random() * poolSize);
    for (let column = 0; column < columns; column++) {
      values[start + column] = normals[place] * scales[column];
      place = place + 1 === poolSize ? 0 : place + 1;
    }
  }
}

/** Numbers of moderate size as float16, cut and not rounded; those below its normal range become zero. */
function toFloat16(values) {
  const words = new Uint32Array(values.buffer);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < halves.length; i++) {
    const magnitude = (words[i] & 0x7fffffff) - 0x38000000;
    halves[i] = magnitude < 0x00800000 ? 0 : ((words[i] >>> 16) & 0x8000) | (magnitude >>> 13);
  }
  return new Uint8Array(halves.buffer);
}

/** Mulberry32. */
function createRandom(start) {
  let state = start >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
