/**
 * A RoPE strategy of one's own: of all rotated keys of a layer, the coordinates with most energy are cached as they are, and
 * queries skip the others. No coordinate is changed after RoPE, so what is kept is exact at every distance; but the result is
 * no ordinary attention, and only kvlr's runtime runs it.
 *
 *     kvlr compress CKPT -o OUT --keep 50% --rope-strategy ./examples/rope-strategies/strongest-coordinates.mjs --values svd-a
 *
 * It is called once per layer with ({ shape, layer, weights, statistics }, groups) and says how the keys of the whole layer lie
 * in the cache. Here keys of the kind 'latent': one slot of groups.length * headDim numbers, which is `encoder` times the rotated
 * keys of all heads side by side; the score of a query head is its row of `queryEncoder`, [slot width, headDim], times the
 * rotated query, times the slot. `query` holds the query heads group by group, each group's in their own order. The other kinds
 * are 'stock', folded into the projections, and 'rebuilt', whose `decoder` makes keys before RoPE of the slots.
 *
 * @type {import('@kvlr/compression').RopeStrategy}
 */
export default ({ shape, weights, statistics }, groups) => {
  const { headDim, hiddenSize, numAttentionHeads, numKeyValueHeads } = shape;
  const width = numKeyValueHeads * headDim;
  const kept = Array.from({ length: width }, (_, coordinate) => coordinate)
    .sort((a, b) => energyOf(statistics, b, width) - energyOf(statistics, a, width))
    .slice(0, groups.length * headDim);

  const perHead = numAttentionHeads / numKeyValueHeads;
  const queryOrder = groups.flatMap((heads) =>
    [...heads].sort((a, b) => a - b).flatMap((head) => Array.from({ length: perHead }, (_, i) => head * perHead + i)),
  );
  const encoder = new Float64Array(kept.length * width);
  const queryEncoder = new Float64Array(numAttentionHeads * kept.length * headDim);
  kept.forEach((coordinate, slot) => {
    encoder[slot * width + coordinate] = 1;
    queryOrder.forEach((queryHead, place) => {
      const offset = coordinate - Math.floor(queryHead / perHead) * headDim;
      if (offset >= 0 && offset < headDim) queryEncoder[(place * kept.length + slot) * headDim + offset] = 1;
    });
  });

  const reorder = (rows, rowLength) => {
    const blocks = queryOrder.map((head) =>
      rows.subarray(head * headDim * rowLength, (head + 1) * headDim * rowLength),
    );
    return Float64Array.from(blocks.flatMap((block) => [...block]));
  };
  return {
    kind: 'latent',
    encoder,
    queryEncoder,
    query: reorder(weights.query, hiddenSize),
    queryBias: weights.queryBias && reorder(weights.queryBias, 1),
    key: weights.key,
    keyBias: weights.keyBias,
    keySlots: 1,
    keySlotWidth: kept.length,
  };
};

/** Whether any engine can run the result: false where keys are latent or rebuilt, which only kvlr's runtime reads. */
export const portable = false;

function energyOf({ rotatedKeySecondMoment }, coordinate, width) {
  return rotatedKeySecondMoment[coordinate * (width + 1)];
}
