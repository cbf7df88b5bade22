/**
 * A value method of one's own: of the values of a group's heads, the coordinates with most energy are kept as they are, and
 * the others are left out. Any method's keys go with it.
 *
 *     kvlr compress CKPT -o OUT --keep 50% --keys rope-averaged --values ./examples/values/strongest-coordinates.mjs
 *
 * It is called once per layer and group with ({ shape, layer, weights, statistics }, heads, width) and returns factors of the
 * values: `encoder`, [width, heads.length * headDim], which makes what is cached of the heads' values side by side, and one of
 * `decoders`, [headDim, width], for each head, which makes its value of it. `width` is headDim, unless the module also says
 * `export const valueSlots = 'head'`: then each head keeps a narrower value of its own.
 *
 * @type {import('@kvlr/compression').ValueMethod}
 */
export default ({ shape: { headDim, numKeyValueHeads }, statistics }, heads, width) => {
  const side = numKeyValueHeads * headDim;
  const coordinates = heads.flatMap((head, place) =>
    Array.from({ length: headDim }, (_, offset) => ({
      place,
      offset,
      energy: statistics.valueSecondMoment[(head * headDim + offset) * (side + 1)],
    })),
  );
  const kept = coordinates.sort((a, b) => b.energy - a.energy).slice(0, width);
  const matrix = (rows, cols) => ({ rows, cols, data: new Float64Array(rows * cols) });
  const encoder = matrix(width, heads.length * headDim);
  const decoders = heads.map(() => matrix(headDim, width));
  kept.forEach(({ place, offset }, slot) => {
    encoder.data[slot * encoder.cols + place * headDim + offset] = 1;
    decoders[place].data[offset * width + slot] = 1;
  });
  return { encoder, decoders };
};
