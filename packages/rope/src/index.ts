export { fromComplexHeads, toComplexHeads } from './complex-heads.ts';
export { complexKeyMoments } from './complex-key-moments.ts';
export type { HeadRowsShape } from './head-rows.ts';
export { parseRopeParameters } from './parse-rope-parameters.ts';
export { permuteRows } from './permute-rows.ts';
export { ropeFrequencies } from './rope-frequencies.ts';
export { type RopeTables, ropeTables } from './rope-tables.ts';
export { type RotationSettings, rotate, unrotate } from './rotate.ts';
export { halfSplitRowOrder, interleavedRowOrder } from './row-order.ts';
