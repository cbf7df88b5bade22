import { type LayerCacheLayout, layerRope, type ModelSource, type RopeParameters, type TensorRole } from '@kvlr/core';

/**
 * Next-token logits [T, vocabSize] of a LLaMA decoder in Float64, written as plain loops from the published equations
 * (RMSNorm: Zhang and Sennrich 2019; RoPE: Su et al. 2021; GQA: Ainslie et al. 2023; SwiGLU: Shazeer 2020). It shares
 * no code with the packages it checks and recomputes everything per token, without a cache.
 */
export async function oracleLogits(model: ModelSource, tokenIds: ArrayLike<number>): Promise<Float64Array> {
  const { shape } = model;
  const tokens = tokenIds.length;
  const read = async (role: TensorRole, layer?: number): Promise<Float64Array<ArrayBuffer>> =>
    Float64Array.from(await model.tensors.readFloat32(model.tensorName(role, layer)));
  const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = shape;
  const embedding = await read('embedding');
  let stream = Array.from(tokenIds, (id) => embedding.slice(id * hiddenSize, (id + 1) * hiddenSize));
  for (let layer = 0; layer < shape.numLayers; layer++) {
    const layout = shape.layers[layer]!.cache;
    const bias = async (role: TensorRole, present: boolean) => (present ? await read(role, layer) : undefined);
    const normed = stream.map(rmsNorm(await read('attentionNorm', layer), shape.blocks.norm.epsilon));
    const project = async (weight: TensorRole, biasRole: TensorRole, present: boolean) => {
      const matrix = await read(weight, layer);
      const offset = await bias(biasRole, present);
      return (row: Float64Array) => affine(matrix, row, offset);
    };
    const toQuery = await project('queryWeight', 'queryBias', shape.attention.inputBias);
    const toKey = await project('keyWeight', 'keyBias', shape.attention.inputBias);
    const toValue = await project('valueWeight', 'valueBias', shape.attention.inputBias);
    const toOutput = await project('outputWeight', 'outputBias', shape.attention.outputBias);
    const keyHeads = layout.keys === 'stock' ? layout.keySlots : numKeyValueHeads;
    const angles = oracleFrequencies(layerRope(shape, layer)!.rope, headDim);
    const queries = normed.map((row, position) => rotateHeads(toQuery(row), numAttentionHeads, angles, position));
    const rebuild = layout.keys === 'rebuilt' ? rebuilder(await read('rebuiltKeyDecoder', layer), layout) : undefined;
    let keys = normed.map((row, position) => {
      const key = toKey(row);
      return rotateHeads(rebuild?.(key) ?? key, keyHeads, angles, position);
    });
    let readQuery = (query: Float64Array, head: number) => query.slice(head * headDim, (head + 1) * headDim);
    if (layout.keys === 'latent') {
      const encoder = await read('latentKeyEncoder', layer);
      const queryEncoder = await read('latentQueryEncoder', layer);
      keys = keys.map((key) => affine(encoder, key));
      const size = layout.keySlotWidth * headDim;
      readQuery = (query, head) =>
        affine(queryEncoder.slice(head * size, (head + 1) * size), query.slice(head * headDim, (head + 1) * headDim));
    }
    const values = normed.map(toValue);
    stream = stream.map((row, position) => {
      const attended = new Float64Array(numAttentionHeads * layout.valueSlotWidth);
      for (let head = 0; head < numAttentionHeads; head++) {
        const query = readQuery(queries[position]!, head);
        const [slots, slotWidth] = rebuild ? [keyHeads, headDim] : [layout.keySlots, layout.keySlotWidth];
        const keyStart = Math.floor((head * slots) / numAttentionHeads) * slotWidth;
        const valueStart = Math.floor((head * layout.valueSlots) / numAttentionHeads) * layout.valueSlotWidth;
        const scores = keys.slice(0, position + 1).map((key) => {
          let sum = 0;
          for (let c = 0; c < query.length; c++) sum += query[c]! * key[keyStart + c]!;
          return sum / Math.sqrt(headDim);
        });
        const highest = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - highest));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        weights.forEach((weight, n) => {
          for (let c = 0; c < layout.valueSlotWidth; c++) {
            attended[head * layout.valueSlotWidth + c]! += (weight / total) * values[n]![valueStart + c]!;
          }
        });
      }
      return add(row, toOutput(attended));
    });
    const gate = await project('gateWeight', 'gateBias', shape.feedForward.bias);
    const up = await project('upWeight', 'upBias', shape.feedForward.bias);
    const down = await project('downWeight', 'downBias', shape.feedForward.bias);
    const norm = rmsNorm(await read('feedForwardNorm', layer), shape.blocks.norm.epsilon);
    stream = stream.map((row) => {
      const input = norm(row);
      const upper = up(input);
      return add(row, down(gate(input).map((g, i) => (g / (1 + Math.exp(-g))) * upper[i]!)));
    });
  }
  const finalNorm = rmsNorm(await read('finalNorm'), shape.blocks.norm.epsilon);
  const head = await read('languageModelHead');
  const logits = new Float64Array(tokens * shape.vocabSize);
  stream.forEach((row, position) => {
    logits.set(affine(head, finalNorm(row)), position * shape.vocabSize);
  });
  return logits;
}

/** Keys of all heads from the latents of one token, slot by slot. */
function rebuilder(decoder: Float64Array, { keySlots, keySlotWidth }: LayerCacheLayout) {
  const size = decoder.length / keySlots;
  return (latents: Float64Array): Float64Array<ArrayBuffer> =>
    Float64Array.from(
      Array.from({ length: keySlots }, (_, slot) => [
        ...affine(
          decoder.slice(slot * size, (slot + 1) * size),
          latents.slice(slot * keySlotWidth, (slot + 1) * keySlotWidth),
        ),
      ]).flat(),
    );
}

function affine(matrix: Float64Array, row: Float64Array, bias?: Float64Array): Float64Array<ArrayBuffer> {
  const inputs = row.length;
  const outputs = matrix.length / inputs;
  const result = new Float64Array(outputs);
  for (let o = 0; o < outputs; o++) {
    let sum = bias ? bias[o]! : 0;
    for (let i = 0; i < inputs; i++) sum += matrix[o * inputs + i]! * row[i]!;
    result[o] = sum;
  }
  return result;
}

function add(a: Float64Array, b: Float64Array): Float64Array<ArrayBuffer> {
  return a.map((value, i) => value + b[i]!);
}

function rmsNorm(weight: Float64Array, epsilon: number): (row: Float64Array) => Float64Array<ArrayBuffer> {
  return (row) => {
    const meanSquare = row.reduce((sum, value) => sum + value * value, 0) / row.length;
    return row.map((value, i) => (value / Math.sqrt(meanSquare + epsilon)) * weight[i]!);
  };
}

function rotateHeads(
  row: Float64Array,
  heads: number,
  frequencies: number[],
  position: number,
): Float64Array<ArrayBuffer> {
  const half = frequencies.length;
  const result = new Float64Array(row.length);
  for (let head = 0; head < heads; head++) {
    frequencies.forEach((frequency, j) => {
      const first = head * 2 * half + j;
      const second = first + half;
      const cosine = Math.cos(position * frequency);
      const sine = Math.sin(position * frequency);
      result[first] = row[first]! * cosine - row[second]! * sine;
      result[second] = row[second]! * cosine + row[first]! * sine;
    });
  }
  return result;
}

/**
 * Radians per position of each pair, for kinds of RoPE that do not go by the length of the text (llama3: Meta's reference code;
 * longrope: its list of short texts, without a factor of its own).
 */
function oracleFrequencies(rope: RopeParameters, headDim: number): number[] {
  return Array.from({ length: headDim / 2 }, (_, j) => {
    const frequency = rope.theta ** ((-2 * j) / headDim);
    if (rope.type === 'default') return frequency;
    if (rope.type === 'longrope' && rope.attentionFactor === 1) return frequency / rope.shortFactor[j]!;
    const { factor } = rope;
    if (rope.type === 'linear') return frequency / factor;
    if (rope.type !== 'llama3') throw new Error(`oracleFrequencies: RoPE of type ${rope.type}`);
    const { originalMaxPositionEmbeddings: trained, lowFrequencyFactor: low, highFrequencyFactor: high } = rope;
    const turns = (trained * frequency) / (2 * Math.PI);
    if (turns > high) return frequency;
    if (turns < low) return frequency / factor;
    const blend = (turns - low) / (high - low);
    return (1 - blend) * (frequency / factor) + blend * frequency;
  });
}
