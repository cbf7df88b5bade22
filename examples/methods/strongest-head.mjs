/**
 * A compression method of one's own: each group keeps the head that is strongest in its weights, for keys and for values
 * apart, and the other heads of the group read it as it is.
 *
 *     kvlr compress CKPT -o OUT --keep 50% --method ./examples/methods/strongest-head.mjs
 *
 * `keyFactors` and `values` are called once per layer and group with ({ shape, layer, weights, statistics }, heads). They
 * return `encoder`, [headDim, heads.length * headDim], which makes the shared head of the heads side by side, and one of
 * `decoders`, [headDim, headDim], for each head, which makes it of the shared one. Matrices are { rows, cols, data }, row-major.
 *
 * `keys` or `values` may also be the name of a method of kvlr, whose part is then taken: values: 'rope-averaged'.
 *
 * @type {import('@kvlr/compression').MethodPlugin}
 */
export default {
  title: 'Strongest head',
  description: 'Each group keeps its strongest head',
  needsStatistics: false,
  keyFactors: ({ shape, weights }, heads) => keepStrongest(shape, weights.key, heads),
  values: ({ shape, weights }, heads) => keepStrongest(shape, weights.value, heads),
};

function keepStrongest({ headDim, hiddenSize }, weight, heads) {
  const width = heads.length * headDim;
  const encoder = { rows: headDim, cols: width, data: new Float64Array(headDim * width) };
  const chosen = strongest(headDim * hiddenSize, weight, heads);
  for (let row = 0; row < headDim; row++) encoder.data[row * width + chosen * headDim + row] = 1;
  return { encoder, decoders: heads.map(() => identity(headDim)) };
}

/** Place within the group of the head whose rows of the projection, `size` numbers, have the largest norm. */
function strongest(size, weight, heads) {
  let place = 0;
  let most = -1;
  heads.forEach((head, index) => {
    const energy = weight.subarray(head * size, (head + 1) * size).reduce((sum, value) => sum + value * value, 0);
    if (energy > most) [place, most] = [index, energy];
  });
  return place;
}

function identity(size) {
  const data = new Float64Array(size * size);
  for (let index = 0; index < size; index++) data[index * (size + 1)] = 1;
  return { rows: size, cols: size, data };
}
