/**
 * A key method of one's own: at each frequency of RoPE a group keeps the key pair of the head that has most energy there, and
 * the other heads of the group read it as it is. Any method's values go with it.
 *
 *     kvlr compress CKPT -o OUT --keep 50% --keys ./examples/keys/strongest-pairs.mjs --values svd-a
 *
 * It is called once per layer and group with ({ shape, layer, weights, statistics }, heads) and returns factors of the keys
 * before RoPE: `encoder`, [headDim, heads.length * headDim], which makes the shared key of the heads' keys side by side, and
 * one of `decoders`, [headDim, headDim], for each head, which makes its key of the shared one. Matrices are { rows, cols, data },
 * row-major. They are folded into ordinary grouped-query attention. RoPE rotates the coordinates j and j + headDim / 2 together:
 * what treats both alike, as here, loses nothing to it.
 *
 * @type {import('@kvlr/compression').KeyMethod}
 */
export default ({ shape: { headDim, numKeyValueHeads }, statistics }, heads) => {
  const width = numKeyValueHeads * headDim;
  const energy = (coordinate) => statistics.keySecondMoment[coordinate * (width + 1)];
  const encoder = { rows: headDim, cols: heads.length * headDim, data: new Float64Array(heads.length * headDim ** 2) };
  const half = headDim / 2;
  for (let pair = 0; pair < half; pair++) {
    const energies = heads.map((head) => energy(head * headDim + pair) + energy(head * headDim + pair + half));
    const strongest = energies.indexOf(Math.max(...energies));
    for (const row of [pair, pair + half]) encoder.data[row * encoder.cols + strongest * headDim + row] = 1;
  }
  const unchanged = new Float64Array(headDim ** 2);
  for (let row = 0; row < headDim; row++) unchanged[row * (headDim + 1)] = 1;
  return { encoder, decoders: heads.map(() => ({ rows: headDim, cols: headDim, data: unchanged })) };
};
