export { complexKeyMoments, fromComplexHeads, toComplexHeads } from './complex-keys.ts';
export { formatRopeScaling, parseRopeParameters } from './rope-config.ts';
export {
  frequenciesGoByLength,
  type RopeFrequencies,
  type RopeFrequencySettings,
  ropeFrequencies,
} from './rope-frequencies.ts';
export {
  type HeadRowsShape,
  type RopeTables,
  type RotationSettings,
  ropeTables,
  rotate,
  unrotate,
} from './rotate.ts';
export { halfSplitRowOrder, interleavedRowOrder, permuteRows } from './row-order.ts';
export { repeatFrequencies, widenHeads } from './wide-heads.ts';
